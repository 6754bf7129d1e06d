"""Trained networks on disk: Keras' own files of weights, which hold arrays and no code."""

import warnings
from pathlib import Path

from lmk.errors import LmkError
from lmk.files import atomic_path
from lmk.models.network import Network


def save_network(network: Network, path: Path) -> None:
    """Write the weights that training changed to `path`, which ends in `.weights.h5`: a frozen backbone stays out."""
    with atomic_path(path) as draft:
        _trained(network).save_weights(draft)


def load_network(network: Network, path: Path) -> None:
    """Read what `save_network` wrote into a network of the same recipe and number of landmarks.

    Raises:
        LmkError: The file is damaged or holds another network.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of another network: raised below
            _trained(network).load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")  # Keras goes on with every layer's numbers
        raise LmkError(
            f"{path} holds no weights of {network.recipe.name} ({reason}). Remove it to train anew."
        ) from error


def _trained(network: Network):
    return network.top if network.recipe.frozen else network.whole()
