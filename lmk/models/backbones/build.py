"""Backbones: pretrained networks without their classifiers, from pixels to a feature map.

The pixel range is the model's own business: callers pass RGB in [0, 255].
"""

import keras
import numpy as np
from keras import ops

from lmk.models.backbones import efficientnet as efficientnet_provider
from lmk.models.backbones.catalogue import PACKAGE_NAMES, Backbone, Provider, Scaling, backbone_named, find_weights
from lmk.models.backbones.weights import assign_layers, is_normalization, layers_of, load_published, load_weights
from lmk.models.device import full_precision
from lmk.util.errors import LmkError

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], RGB."""


@keras.saving.register_keras_serializable("lmk")
class PixelScaling(keras.layers.Layer):
    """RGB in [0, 255], (batch, height, width, 3), to the range that a network was trained on, in full precision."""

    def __init__(self, scaling: Scaling, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)
        self.scaling = scaling

    def call(self, images):
        images = ops.cast(images, self.compute_dtype)
        if self.scaling == "tf":
            return images / 127.5 - 1
        if self.scaling == "unit":
            return images / 255
        if self.scaling == "caffe":
            return ops.flip(images, axis=-1) - ops.convert_to_tensor((103.939, 116.779, 123.68), dtype=images.dtype)
        mean, deviation = (ops.convert_to_tensor(values, dtype=images.dtype) for values in (MEAN, DEVIATION))
        return (images / 255 - mean) / deviation

    def get_config(self):
        return super().get_config() | {"scaling": self.scaling}


def build_backbone(
    name: str,
    weights: str = "none",
    image_size: int | None = None,
    provider: Provider = "keras",
    pixels: Scaling | None = None,
) -> keras.Model:
    """A backbone with its weights.

    Args:
        name: A key of `BACKBONES`.
        weights: `imagenet` (downloaded by Keras, or found in its cache), `tiny` (the file that comes with lmk),
            `none` (drawn from Keras' seed), a file, or a folder that holds one of the backbone's `weights_files`.
        image_size: Side of the images in pixels, None for any height and width.
        provider: `keras`, or `efficientnet` for the package's EfficientNets, which are the same networks.
        pixels: How pixels are scaled in place of how its weights were trained.

    Returns:
        A model from RGB (batch, height, width, 3) in [0, 255], integers or floats, to the feature map
        (batch, height / stride, width / stride, channels). The network is one layer of it: see `network_of`.

    Raises:
        LmkError: The backbone is unknown, the image is too small for it, or the weights cannot be had.
    """
    backbone = backbone_named(name)
    if image_size is not None and image_size < backbone.smallest:
        raise LmkError(f"{name} needs images of {backbone.smallest} pixels a side at least, not {image_size}.")
    if provider == "efficientnet" and name not in PACKAGE_NAMES:
        raise LmkError(f"The package efficientnet has no {name}; it has {', '.join(PACKAGE_NAMES)}.")
    path = None if weights in ("none", "imagenet") else find_weights(name, backbone.weights_files_of(provider), weights)
    network = _network(backbone, image_size, provider)
    if path is not None:
        load_weights(network, path, name, backbone.weights_files[0])
    elif weights == "imagenet":
        published = load_published(lambda: _published(backbone), name, backbone.weights_files)
        assign_layers(network, layers_of(published))
    for layer in filter(is_normalization, network.layers):
        _standardise(layer)
    images = keras.Input((image_size, image_size, 3), name="images")
    scaling = pixels or ("torch" if provider == "efficientnet" else backbone.scaling)
    scaled = images if scaling == "included" else PixelScaling(scaling, name="pixels")(images)
    return keras.Model(images, network(scaled), name=name)


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


def _network(backbone: Backbone, image_size: int | None, provider: Provider) -> keras.Model:
    if provider == "efficientnet":
        return efficientnet_provider.build_network(backbone.name, image_size)
    return _from_keras(backbone, weights=None, input_shape=(image_size, image_size, 3))


def _published(backbone: Backbone) -> keras.Model:
    shape = (backbone.image_size, backbone.image_size, 3)
    return _from_keras(backbone, weights="imagenet", input_shape=shape)


def _from_keras(backbone: Backbone, **options) -> keras.Model:
    width = {} if backbone.alpha == 1 else {"alpha": backbone.alpha}  # only MobileNets have it
    return getattr(keras.applications, backbone.build)(include_top=False, **width, **options)


def _standardise(layer: keras.layers.Normalization) -> None:
    """Set mean and deviation exactly, whatever a file said: Keras' own EfficientNet files hold the deviation as the
    variance, which only its own constructor mends, and a network without weights would not standardise at all."""
    if layer.weights:
        layer.set_weights([np.asarray(MEAN), np.square(DEVIATION), np.asarray(1)])
        layer.finalize_state()
