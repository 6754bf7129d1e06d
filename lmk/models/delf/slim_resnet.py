"""ResNet-50 and ResNet-101 as TF-Slim builds them, whose published weights are named by their scopes.

He et al., arXiv:1512.03385. They differ from `keras.applications.ResNet50`: a block halves the map in the 3 x 3
convolution of its last unit, and convolutions have no bias. Pixels come in as (value - 128) / 128.
"""

from __future__ import annotations

import keras

BLOCKS = ((64, 3), (128, 4), (256, 6))
"""Channels of the bottleneck and units of the first three blocks of ResNet-50, each of which halves the map; the third
of ResNet-101 has 23 units."""
EPSILON = 1e-5


def slim_resnet(last_units: int = 6, halved: tuple[bool, bool, bool] = (True, True, True)) -> keras.Model:
    """Pixels (b, h, w, 3) in [-1, 1] to the map after the third block, (b, h / 32, w / 32, 1024).

    Args:
        last_units: Number of units of the third block: 6 of ResNet-50, 23 of ResNet-101.
        halved: Whether each block halves the map; DELF as published in 2019 halves in all of them, stride 32.

    A layer's name is its scope with dots in place of slashes, such as `block1.unit_1.bottleneck_v1.conv1`; its batch
    normalization's ends in `.BatchNorm`.
    """
    pixels = keras.Input((None, None, 3), name="pixels")
    x = _convolved(pixels, 64, 7, 2, "conv1", relu=True)
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)
    for block, ((width, units), halves) in enumerate(zip(BLOCKS, halved, strict=True), 1):
        units = last_units if block == len(BLOCKS) else units
        for unit in range(1, units + 1):
            stride = 2 if halves and unit == units else 1
            x = _unit(x, width, stride, f"block{block}.unit_{unit}.bottleneck_v1")
    return keras.Model(pixels, x, name="slim_resnet")


def _unit(x, width: int, stride: int, name: str):
    """A bottleneck with its shortcut."""
    shortcut = x
    if x.shape[-1] != 4 * width:
        shortcut = _convolved(x, 4 * width, 1, stride, f"{name}.shortcut", relu=False)
    elif stride > 1:
        shortcut = keras.layers.MaxPooling2D(1, stride, name=f"{name}.subsample")(x)
    x = _convolved(x, width, 1, 1, f"{name}.conv1", relu=True)
    x = _convolved(x, width, 3, stride, f"{name}.conv2", relu=True)
    x = _convolved(x, 4 * width, 1, 1, f"{name}.conv3", relu=False)
    return keras.layers.ReLU(name=name)(keras.layers.Add(name=f"{name}.add")([shortcut, x]))


def _convolved(x, width: int, kernel: int, stride: int, name: str, relu: bool):
    """Convolution with as much padding on every side, whatever the stride, and batch normalization."""
    if kernel > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x)
    x = keras.layers.Conv2D(width, kernel, strides=stride, use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(epsilon=EPSILON, name=f"{name}.BatchNorm")(x)
    return keras.layers.ReLU(name=f"{name}.relu")(x) if relu else x
