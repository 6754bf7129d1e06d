"""EfficientNet-Lite 0, 1 and 2: the provider `efficientnet-lite`.

EfficientNets (Tan and Le, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6, as published for mobile
processors: https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html. Stem and
head have one width whatever the size, and the first and last stage are not made deeper.

Their ImageNet weights are PyTorch files that installed packages hold; nothing of PyTorch or of these packages is
loaded. Pixels are (x - 127) / 128.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras

from lmk.models.backbones import weights
from lmk.models.backbones.catalogue import Backbone
from lmk.models.torch_weights import assign_tensors
from lmk.util.torch_files import read_torch

SCALING = None
"""The catalogue says how a network wants its pixels."""

SIZES = {"efficientnetlite0": (1.0, 1.0), "efficientnetlite1": (1.0, 1.1), "efficientnetlite2": (1.1, 1.2)}
"""Factors of width and depth."""

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Stages of EfficientNet-B0: blocks, side of the depthwise kernel, stride of the first, expansion, channels."""
STEM, HEAD = 32, 1280
EPSILON = 1e-3
"""Epsilon of batch normalization, as the weights were trained."""


@dataclass(frozen=True)
class Block:
    """An inverted residual block: kernel side, stride, expansion, and channels that come in and go out."""

    kernel: int
    stride: int
    expansion: int
    channels_in: int
    channels: int


def blocks(width: float, depth: float) -> Iterator[Block]:
    """The blocks of a network of so much width and depth."""
    channels_in = STEM
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
        if 0 < stage < len(STAGES) - 1:
            repeats = math.ceil(repeats * depth)
        channels = _rounded(channels * width)
        for repeat in range(repeats):
            yield Block(kernel, stride if repeat == 0 else 1, expansion, channels_in, channels)
            channels_in = channels


def build_network(backbone: Backbone, image_size: int | None) -> keras.Model:
    """The untrained network without its classifier: scaled pixels (b, h, w, 3) to (b, h / 32, w / 32, 1280)."""
    images = keras.Input((image_size, image_size, 3), name="pixels_scaled")
    x = _convolve(images, "stem", STEM, kernel=3, stride=2)
    for place, block in enumerate(blocks(*SIZES[backbone.name])):
        x = _block(x, f"block{place}", block)
    return keras.Model(images, _convolve(x, "head", HEAD), name=backbone.name)


def load_weights(network: keras.Model, path: Path, backbone: Backbone) -> None:
    """Read the published PyTorch file, or a file that Keras wrote.

    Raises:
        LmkError: The file is damaged or holds another network.
    """
    if path.suffix != ".pth":
        weights.load_weights(network, path, backbone.name, backbone.weights_files[0])
        return
    layers = {_published_name(layer.name): layer for layer in network.layers if layer.weights}
    assign_tensors(layers, read_torch(path), path)


def _block(x, name: str, block: Block):
    """Expand, convolve each channel by itself, project; around it a shortcut where shapes allow."""
    y = x
    if block.expansion > 1:
        y = _convolve(y, f"{name}_expand", block.channels_in * block.expansion)
    y = keras.layers.DepthwiseConv2D(
        block.kernel, block.stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )(y)
    y = _normalize(y, f"{name}_depthwise")
    y = keras.layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = keras.layers.Conv2D(block.channels, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = _normalize(y, f"{name}_project")
    if block.stride == 1 and block.channels_in == block.channels:
        return keras.layers.Add(name=f"{name}_add")([x, y])
    return y


def _convolve(x, name: str, channels: int, kernel: int = 1, stride: int = 1):
    """A convolution, batch normalization and ReLU6."""
    convolution = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(_normalize(convolution(x), name))


def _normalize(x, name: str):
    return keras.layers.BatchNormalization(epsilon=EPSILON, momentum=0.99, name=f"{name}_bn")(x)


def _rounded(channels: float, multiple: int = 8) -> int:
    """The nearest multiple of 8, which processors like, but not less than nine tenths of what was asked."""
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded if rounded >= 0.9 * channels else rounded + multiple


def _published_name(layer: str) -> str:
    """The PyTorch module of a layer: `_blocks.3._bn0` for `block3_expand_bn`."""
    part, _, kind = layer.rpartition("_")
    if part in ("stem", "head"):
        return f"_conv_{part}" if kind == "conv" else {"stem": "_bn0", "head": "_bn1"}[part]
    block, _, step = part.partition("_")
    place = block.removeprefix("block")
    if kind == "conv":
        return f"_blocks.{place}._{step}_conv"
    return f"_blocks.{place}.{ {'expand': '_bn0', 'depthwise': '_bn1', 'project': '_bn2'}[step] }"
