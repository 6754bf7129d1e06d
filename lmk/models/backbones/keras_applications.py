"""Backbones of `keras.applications`: the provider `keras`."""

from pathlib import Path

import keras
import numpy as np

from lmk.models.backbones import weights
from lmk.models.backbones.catalogue import Backbone
from lmk.models.backbones.scaling import DEVIATION, MEAN

SCALING = None
"""The catalogue says how a network wants its pixels."""


def build_network(backbone: Backbone, image_size: int | None) -> keras.Model:
    """The untrained network without its classifier."""
    return _standardised(_from_keras(backbone, weights=None, input_shape=(image_size, image_size, 3)))


def load_weights(network: keras.Model, path: Path, backbone: Backbone) -> None:
    """Read a file of weights, see `weights.load_weights`."""
    weights.load_weights(network, path, backbone.name, backbone.weights_files[0])
    _standardised(network)


def download_weights(network: keras.Model, backbone: Backbone) -> None:
    """Give the network the ImageNet weights that Keras downloads, or has in its cache.

    Raises:
        LmkError: They cannot be downloaded.
    """
    shape = (backbone.image_size, backbone.image_size, 3)
    published = weights.load_published(
        lambda: _from_keras(backbone, weights="imagenet", input_shape=shape), backbone.name, backbone.weights_files
    )
    weights.assign_layers(network, weights.layers_of(published))


def _from_keras(backbone: Backbone, **options) -> keras.Model:
    width = {} if backbone.alpha == 1 else {"alpha": backbone.alpha}  # only MobileNets have it
    return getattr(keras.applications, backbone.build)(include_top=False, **width, **options)


def _standardised(network: keras.Model) -> keras.Model:
    """Set mean and deviation of pixels exactly, whatever a file said: Keras' own EfficientNet files hold the deviation
    as the variance, which only its own constructor corrects, and without weights nothing would be standardised."""
    for layer in network.layers:
        if weights.is_normalization(layer) and layer.weights:
            layer.set_weights([np.asarray(MEAN), np.square(DEVIATION), np.asarray(1)])
            layer.finalize_state()
    return network
