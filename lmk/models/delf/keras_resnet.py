"""ResNet-50 and ResNet-101 as the TensorFlow 2 scripts of DELF and DELG build them, to the end of their fourth stage.

tensorflow/models, research/delf/delf/python/training/model/resnet50.py. Unlike TF-Slim's, a stage halves the map in the
first 1 x 1 convolution of its first unit, convolutions have biases, the first pooling does not pad, and batch
normalization adds 1e-3 to the variance. Pixels come in as (value - 128) / 128. He et al., arXiv:1512.03385.
"""

from __future__ import annotations

import string

import keras

STAGES = ((2, 64, 3), (3, 128, 4), (4, 256, 6))
"""Number, channels of the bottleneck and units of each stage in ResNet-50; ResNet-101 has 23 units in the fourth."""
EPSILON = 1e-3


def keras_resnet(last_units: int = 6, halved: bool = True) -> keras.Model:
    """Pixels (b, h, w, 3) in [-1, 1] to the map after the fourth stage, (b, h / 32, w / 32, 1024).

    Args:
        last_units: Number of units of the fourth stage.
        halved: Whether every second cell alone is kept at the end, as TF-Slim's network has it; else the stride is 16.

    A layer's name is the way to it through the attributes of the scripts' model, with dots between: `l4a.conv2b`.
    """
    pixels = keras.Input((None, None, 3), name="pixels")
    x = keras.layers.Conv2D(64, 7, strides=2, padding="same", name="conv1")(pixels)
    x = keras.layers.BatchNormalization(epsilon=EPSILON, name="bn_conv1")(x)
    x = keras.layers.ReLU(name="conv1_relu")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="max_pool")(x)
    for stage, width, units in STAGES:
        for unit in range(last_units if stage == 4 else units):
            stride = 2 if unit == 0 and stage > 2 else 1
            x = _unit(x, width, stride, f"l{stage}{string.ascii_lowercase[unit]}", shortcut=unit == 0)
    if halved:
        x = keras.layers.MaxPooling2D(1, 2, name="subsampling_layer")(x)
    return keras.Model(pixels, x, name="backbone")


def _unit(x, width: int, stride: int, name: str, shortcut: bool):
    """A bottleneck; the first of a stage has a convolution in its shortcut."""
    beside = _normalized(x, 4 * width, 1, stride, f"{name}.conv_shortcut", f"{name}.bn_shortcut") if shortcut else x
    y = keras.layers.ReLU(name=f"{name}.relu2a")(_normalized(x, width, 1, stride, f"{name}.conv2a", f"{name}.bn2a"))
    y = keras.layers.ReLU(name=f"{name}.relu2b")(_normalized(y, width, 3, 1, f"{name}.conv2b", f"{name}.bn2b"))
    y = _normalized(y, 4 * width, 1, 1, f"{name}.conv2c", f"{name}.bn2c")
    return keras.layers.ReLU(name=f"{name}.relu")(keras.layers.Add(name=f"{name}.add")([y, beside]))


def _normalized(x, width: int, kernel: int, stride: int, convolution: str, normalization: str):
    x = keras.layers.Conv2D(width, kernel, strides=stride, padding="same", name=convolution)(x)
    return keras.layers.BatchNormalization(epsilon=EPSILON, name=normalization)(x)
