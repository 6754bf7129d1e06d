"""Trained networks on disk: Keras' own files of weights, which hold arrays and no code."""

import warnings
from pathlib import Path

import keras

from lmk.models.network import Network
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path


def save_network(network: Network, path: Path) -> None:
    """Write the weights that training changed to `path`, which ends in `.weights.h5`: a frozen backbone stays out."""
    save_weights(_trained(network), path)


def load_network(network: Network, path: Path) -> None:
    """Read what `save_network` wrote into a network of the same recipe and number of landmarks.

    Raises:
        LmkError: The file is damaged or holds another network.
    """
    load_weights(_trained(network), path, network.recipe.name)


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights to `path`, which ends in `.weights.h5`: whole or not at all."""
    with atomic_path(path) as draft:
        model.save_weights(draft)


def load_weights(model: keras.Model, path: Path, name: str) -> None:
    """Read weights into a model of the same layers; `name` is what a person calls it.

    Raises:
        LmkError: The file is damaged or holds another network.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of another network: raised below
            model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")  # Keras goes on with every layer's numbers
        raise LmkError(f"{path} holds no weights of {name} ({reason}). Remove it to train anew.") from error


def _trained(network: Network):
    return network.top if network.recipe.frozen else network.whole()
