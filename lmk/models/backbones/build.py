"""Backbones: pretrained networks without their classifiers, from pixels to a feature map.

The pixel range is the model's own business: callers pass RGB in [0, 255].
"""

from importlib import import_module
from typing import Any

import keras

from lmk.models.backbones.catalogue import PROVIDERS, Scaling, backbone_named, is_downloaded, weights_file
from lmk.models.backbones.scaling import PixelScaling
from lmk.util.errors import LmkError


def build_backbone(
    name: str,
    weights: str = "none",
    image_size: int | None = None,
    provider: str | None = None,
    pixels: Scaling | None = None,
) -> keras.Model:
    """A backbone with its weights.

    Args:
        name: A key of `BACKBONES`.
        weights: `imagenet` (downloaded by Keras, or found in its cache or in an installed package), `tiny` (the file
            that comes with lmk), `none` (drawn from Keras' seed), a file, or a folder that holds one of the backbone's
            `weights_files`.
        image_size: Side of the images in pixels, None for any height and width; a transformer is of its own side then.
        provider: A key of `PROVIDERS`; None: the catalogue's. `efficientnet` builds the package's EfficientNets, which
            are the networks of `keras.applications`.
        pixels: How pixels are scaled in place of how its weights were trained.

    Returns:
        A model from RGB (batch, height, width, 3) in [0, 255], integers or floats, to the feature map
        (batch, height / stride, width / stride, channels). The network is one layer of it: see `network_of`.

    Raises:
        LmkError: The backbone is unknown, the image is too small for it, or the weights cannot be had.
    """
    backbone = backbone_named(name)
    if image_size is not None and (problem := backbone.side_problem(image_size)):
        raise LmkError(problem)
    builder = provider_named(provider or backbone.provider)
    downloaded = is_downloaded(name, weights)
    path = None if weights == "none" or downloaded else weights_file(name, weights, provider)
    network = builder.build_network(backbone, image_size)
    if path is not None:
        builder.load_weights(network, path, backbone)
    elif downloaded:
        builder.download_weights(network, backbone)
    images = keras.Input(network.input_shape[1:], name="images")
    scaling = pixels or builder.SCALING or backbone.scaling
    scaled = images if scaling == "included" else PixelScaling(scaling, name="pixels")(images)
    return keras.Model(images, network(scaled), name=name)


def provider_named(name: str) -> Any:
    """The module of a provider: `build_network`, `load_weights`, `SCALING`, and `download_weights` where Keras has the
    weights.

    Raises:
        LmkError: There is none of that name.
    """
    if name not in PROVIDERS:
        raise LmkError(f"No provider of backbones is named '{name}'; there are {', '.join(PROVIDERS)}.")
    return import_module(PROVIDERS[name])


def network_of(model: keras.Model) -> keras.Model:
    """The network inside a backbone, or inside a model that was built on one; its layers are those of its paper.

    Raises:
        ValueError: There is none.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            return layer
    raise ValueError(f"The model '{model.name}' holds no network.")


def set_trainable(model: keras.Model, first: int | None, batch_norm: bool = True) -> None:
    """Train the network's layers from index `first` on, none if it is None; compile the model afterwards.

    batch_norm: False keeps the statistics and scales of batch normalization as they are, which small batches need.
    """
    network = network_of(model)
    for index, layer in enumerate(network.layers):
        frozen = isinstance(layer, keras.layers.BatchNormalization) and not batch_norm
        layer.trainable = first is not None and index >= first and not frozen
