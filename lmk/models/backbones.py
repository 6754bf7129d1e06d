"""Backbones: pretrained networks without their classifiers, from pixels to a feature map.

The pixel range is the model's own business: callers pass RGB in [0, 255].
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from keras import ops

from lmk.errors import LmkError
from lmk.files import digest_of_file
from lmk.models import efficientnet_provider
from lmk.models.device import full_precision
from lmk.models.weights import assign_layers, find_weights, is_normalization, layers_of, load_published, load_weights

Scaling = Literal["tf", "caffe", "torch", "included"]
"""How a network wants its pixels: in [-1, 1]; BGR less the mean; standardised; or raw, as it scales itself."""

Provider = Literal["keras", "efficientnet"]
"""Whose code builds the network: `keras.applications`, or the package `efficientnet`."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], RGB."""


@dataclass(frozen=True)
class Backbone:
    """A network by name.

    Attributes:
        name: As recipes and the command line say it.
        build: Its constructor in `keras.applications`.
        image_size: Side in pixels that its weights were trained at.
        scaling: How it wants its pixels.
        channels: Of its feature map.
        published: The name of Keras' own file of ImageNet weights without the classifier.
        stride: Pixels a cell of the feature map.
        smallest: The least side in pixels it can take.
    """

    name: str
    build: str
    image_size: int
    scaling: Scaling
    channels: int
    published: str
    stride: int = 32
    smallest: int = 32

    @property
    def weights_files(self) -> tuple[str, ...]:
        """Names under which a folder may hold its weights, in the order in which they are tried."""
        names = [f"{self.name}_1.0_imagenet_notop.weights.h5"] if self.name.startswith("mobilenet") else []
        names += [f"{self.name}_imagenet_notop.weights.h5", self.published]
        if self.name in efficientnet_provider.PACKAGE_NAMES:
            package = self.name.replace("netb", "net-b")
            names += [f"{package}_noisy-student_notop.h5"]
            names += [f"{package}_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5"]
        return (*names, f"{self.name}.weights.h5", f"{self.name}.h5", f"{self.name}.keras")


def _backbones() -> list[Backbone]:
    kernels = "weights_tf_dim_ordering_tf_kernels_notop.h5"
    found = [
        Backbone("vgg16", "VGG16", 224, "caffe", 512, f"vgg16_{kernels}"),
        Backbone("vgg19", "VGG19", 224, "caffe", 512, f"vgg19_{kernels}"),
        Backbone("xception", "Xception", 299, "tf", 2048, f"xception_{kernels}", smallest=71),
        Backbone("inceptionv3", "InceptionV3", 299, "tf", 2048, f"inception_v3_{kernels}", smallest=75),
        Backbone(
            "inceptionresnetv2", "InceptionResNetV2", 299, "tf", 1536, f"inception_resnet_v2_{kernels}", smallest=75
        ),
        Backbone("mobilenet", "MobileNet", 224, "tf", 1024, "mobilenet_1_0_224_tf_no_top.h5"),
        Backbone(
            "mobilenetv2",
            "MobileNetV2",
            224,
            "tf",
            1280,
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        ),
    ]
    for depth in (50, 101, 152):
        found.append(Backbone(f"resnet{depth}", f"ResNet{depth}", 224, "caffe", 2048, f"resnet{depth}_{kernels}"))
        found.append(Backbone(f"resnet{depth}v2", f"ResNet{depth}V2", 224, "tf", 2048, f"resnet{depth}v2_{kernels}"))
    for depth, channels in ((121, 1024), (169, 1664), (201, 1920)):
        name = f"densenet{depth}"
        found.append(Backbone(name, f"DenseNet{depth}", 224, "torch", channels, f"{name}_{kernels}"))
    for size, channels in (("Small", 576), ("Large", 960)):
        name, file = f"mobilenetv3{size.lower()}", f"weights_mobilenet_v3_{size.lower()}_224_1.0_float_no_top_v2.h5"
        found.append(Backbone(name, f"MobileNetV3{size}", 224, "included", channels, file))
    sides, widths = (224, 240, 260, 300, 380, 456, 528, 600), (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)
    for step, (side, channels) in enumerate(zip(sides, widths, strict=True)):
        name = f"efficientnetb{step}"
        found.append(Backbone(name, f"EfficientNetB{step}", side, "included", channels, f"{name}_notop.h5"))
    for size, side, channels in (
        ("B0", 224, 1280),
        ("B1", 240, 1280),
        ("B2", 260, 1408),
        ("B3", 300, 1536),
        ("S", 384, 1280),
        ("M", 480, 1280),
        ("L", 480, 1280),
    ):
        name, file = f"efficientnetv2{size.lower()}", f"efficientnetv2-{size.lower()}_notop.h5"
        found.append(Backbone(name, f"EfficientNetV2{size}", side, "included", channels, file))
    for size, channels in (("Tiny", 768), ("Small", 768), ("Base", 1024), ("Large", 1536), ("XLarge", 2048)):
        name, file = f"convnext{size.lower()}", f"convnext_{size.lower()}_notop.h5"
        found.append(Backbone(name, f"ConvNeXt{size}", 224, "included", channels, file))
    return found


BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _backbones()}
"""Every backbone by name."""


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
        if self.scaling == "caffe":
            return ops.flip(images, axis=-1) - ops.convert_to_tensor((103.939, 116.779, 123.68), dtype=images.dtype)
        mean, deviation = (ops.convert_to_tensor(values, dtype=images.dtype) for values in (MEAN, DEVIATION))
        return (images / 255 - mean) / deviation

    def get_config(self):
        return super().get_config() | {"scaling": self.scaling}


def backbone_named(name: str) -> Backbone:
    """The backbone `name`.

    Raises:
        LmkError: There is none; the text names the nearest.
    """
    if name not in BACKBONES:
        near = difflib.get_close_matches(name.lower(), BACKBONES, n=1, cutoff=0)[0]
        raise LmkError(f"No backbone is named '{name}'. Did you mean '{near}'? There are {', '.join(BACKBONES)}.")
    return BACKBONES[name]


def build_backbone(
    name: str, weights: str = "none", image_size: int | None = None, provider: Provider = "keras"
) -> keras.Model:
    """A backbone with its weights.

    Args:
        name: A key of `BACKBONES`.
        weights: `imagenet` (downloaded by Keras, or found in its cache), `none` (drawn from Keras' seed), a file, or
            a folder that holds one of the backbone's `weights_files`.
        image_size: Side of the images in pixels, None for any height and width.
        provider: `keras`, or `efficientnet` for the package's EfficientNets, which are the same networks.

    Returns:
        A model from RGB (batch, height, width, 3) in [0, 255], integers or floats, to the feature map
        (batch, height / stride, width / stride, channels). The network is one layer of it: see `network_of`.

    Raises:
        LmkError: The backbone is unknown, the image is too small for it, or the weights cannot be had.
    """
    backbone = backbone_named(name)
    if image_size is not None and image_size < backbone.smallest:
        raise LmkError(f"{name} needs images of {backbone.smallest} pixels a side at least, not {image_size}.")
    if provider == "efficientnet" and name not in efficientnet_provider.PACKAGE_NAMES:
        raise LmkError(
            f"The package efficientnet has no {name}; it has {', '.join(efficientnet_provider.PACKAGE_NAMES)}."
        )
    path = None if weights in ("none", "imagenet") else find_weights(name, backbone.weights_files, weights)
    network = _network(backbone, image_size, provider)
    if path is not None:
        load_weights(network, path, name, backbone.weights_files[0])
    elif weights == "imagenet":
        published = load_published(lambda: _published(backbone), name, backbone.weights_files)
        assign_layers(network, layers_of(published))
    for layer in filter(is_normalization, network.layers):
        _standardise(layer)
    images = keras.Input((image_size, image_size, 3), name="images")
    scaling = "torch" if provider == "efficientnet" else backbone.scaling
    pixels = images if scaling == "included" else PixelScaling(scaling, name="pixels")(images)
    return keras.Model(images, network(pixels), name=name)


def weights_digest(name: str, weights: str) -> str:
    """What names the weights in a store's key: `none`, `imagenet`, or the digest of the file's content.

    Raises:
        LmkError: As `build_backbone`.
    """
    if weights in ("none", "imagenet"):
        return weights
    return digest_of_file(weights_file(name, weights))


def weights_file(name: str, weights: str) -> Path:
    """The file that `weights`, a file or a folder, names for a backbone.

    Raises:
        LmkError: The backbone is unknown, or there is no such file.
    """
    return find_weights(name, backbone_named(name).weights_files, weights)


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
    build = getattr(keras.applications, backbone.build)
    return build(include_top=False, weights=None, input_shape=(image_size, image_size, 3))


def _published(backbone: Backbone) -> keras.Model:
    shape = (backbone.image_size, backbone.image_size, 3)
    return getattr(keras.applications, backbone.build)(include_top=False, weights="imagenet", input_shape=shape)


def _standardise(layer: keras.layers.Normalization) -> None:
    """Set mean and deviation exactly, whatever a file said: Keras' own EfficientNet files hold the deviation as the
    variance, which only its own constructor mends, and a network without weights would not standardise at all."""
    if layer.weights:
        layer.set_weights([np.asarray(MEAN), np.square(DEVIATION), np.asarray(1)])
        layer.finalize_state()
