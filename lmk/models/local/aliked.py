"""ALIKED: keypoints with places between pixels, and descriptors sampled where the network itself points to.

Zhao et al., IEEE Transactions on Instrumentation and Measurement 2023 (arXiv:2304.03608); deformable convolutions: Dai
et al., ICCV 2017 (arXiv:1703.06211). Weights are those that its authors publish, PyTorch files: `aliked-t16` has 64
numbers a descriptor, `aliked-n16` 128. Everything deformable is a gather, of a whole batch at once.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import ops

from lmk.local.learned import Detector
from lmk.models.local.passes import detector_of
from lmk.models.local.sampling import Enlarge, gather, local_maxima, sample
from lmk.models.torch_weights import assign_tensors
from lmk.util.errors import LmkError
from lmk.util.torch_files import read_torch

WIDTHS = {"aliked-t16": (8, 16, 32, 64), "aliked-n16": (16, 32, 64, 128)}
"""Channels of the four blocks; the last is the descriptors' dimensions, too."""
SAMPLES = 16
"""Places that a descriptor is made of."""
SMALLEST_SCORE = 0.2
"""Score from which on a local maximum counts, as published."""
RADIUS = 2
"""Pixels in which a keypoint is the maximum, as published."""
TEMPERATURE = 0.1
"""Temperature of the softmax that places a keypoint between pixels, as published."""
EPSILON = 1e-5
"""Epsilon of batch normalization: PyTorch's default."""
SIDE = 3
"""Side of all kernels that are larger than a cell."""


def detector(weights: Path, most: int) -> Detector:
    """Detector of the `most` strongest keypoints of images with sides of a multiple of 32.

    Raises:
        LmkError: The weights are damaged or of another network.
    """
    tensors = read_torch(weights)
    widths = next((own for own in WIDTHS.values() if _first_width(tensors) == own[0]), None)
    if widths is None:
        raise LmkError(f"{weights} holds no ALIKED that lmk knows; there are {', '.join(WIDTHS)}.")
    model = build_network(widths, most)
    assign_tensors({layer.name: layer for layer in model.layers if layer.weights}, _flattened(tensors), weights)
    return detector_of(model)


def build_network(widths: tuple[int, ...], most: int) -> keras.Model:
    """The untrained network: RGB (b, h, w, 3) in [0, 255] to scores (b, k), places (b, k, 2) and L2-normalised
    descriptors (b, k, widths[3]) of the strongest keypoints; h and w are multiples of 32."""
    images = keras.Input((None, None, 3), name="images")
    score_map, features = dense_maps(images, widths)
    scores, places = Keypoints(most, name="keypoints")(score_map)
    return keras.Model(images, [scores, places, _describe(features, places, widths[3])], name="aliked")


def dense_maps(images, widths: tuple[int, ...]):
    """Images (b, h, w, 3) to keypoint scores (b, h, w, 1) in [0, 1] and L2-normalised features (b, h, w, widths[3])."""
    first, second, third, fourth = widths
    x = keras.layers.Rescaling(1 / 255, name="pixels")(images)
    x = _gate(_normalize(_convolve(x, first, "block1.conv1"), "block1.bn1"), "block1.gate1")
    x1 = _gate(_normalize(_convolve(x, first, "block1.conv2"), "block1.bn2"), "block1.gate2")
    x2 = _residual(keras.layers.AveragePooling2D(2, name="pool2")(x1), second, "block2", deformable=False)
    x3 = _residual(keras.layers.AveragePooling2D(4, name="pool8")(x2), third, "block3", deformable=True)
    x4 = _residual(keras.layers.AveragePooling2D(4, name="pool32")(x3), fourth, "block4", deformable=True)
    maps = []
    for place, (level, factor) in enumerate(((x1, 1), (x2, 2), (x3, 8), (x4, 32)), start=1):
        narrow = keras.layers.Conv2D(fourth // 4, 1, use_bias=False, name=f"conv{place}")(level)
        narrow = _gate(narrow, f"gate{place}")
        maps.append(narrow if factor == 1 else Enlarge(factor, corners=True, name=f"up{factor}")(narrow))
    joined = keras.layers.Concatenate(name="levels")(maps)
    y = keras.layers.Conv2D(8, 1, use_bias=False, name="score_head.0")(joined)
    for place, channels in ((2, 4), (4, 4), (6, 1)):
        y = _convolve(_gate(y, f"score_head.{place - 1}"), channels, f"score_head.{place}")
    scores = keras.layers.Activation("sigmoid", name="scores")(y)
    return scores, keras.layers.UnitNormalization(name="features")(joined)


def _residual(x, channels: int, name: str, deformable: bool):
    """Two convolutions with a shortcut; deformable ones sample each cell of the kernel where an offset moves it."""
    convolve = _convolve_deformed if deformable else _convolve
    y = _gate(_normalize(convolve(x, channels, f"{name}.conv1"), f"{name}.bn1"), f"{name}.gate1")
    y = _normalize(convolve(y, channels, f"{name}.conv2"), f"{name}.bn2")
    shortcut = keras.layers.Conv2D(channels, 1, name=f"{name}.downsample")(x)
    return _gate(keras.layers.Add(name=f"{name}.add")([y, shortcut]), f"{name}.gate2")


def _convolve(x, channels: int, name: str, use_bias: bool = False):
    return keras.layers.Conv2D(channels, SIDE, padding="same", use_bias=use_bias, name=name)(x)


def _convolve_deformed(x, channels: int, name: str):
    """A deformable convolution: offsets by one convolution, a gather, and a product with the kernel."""
    offsets = _convolve(x, 2 * SIDE**2, f"{name}.offset_conv", use_bias=True)
    columns = DeformedColumns(name=f"{name}.columns")([x, offsets])
    return keras.layers.Dense(channels, use_bias=False, name=f"{name}.regular_conv")(columns)


def _normalize(x, name: str):
    return keras.layers.BatchNormalization(epsilon=EPSILON, name=name)(x)


def _gate(x, name: str):
    return keras.layers.Activation("selu", name=name)(x)


def _describe(features, places, dimensions: int):
    """Descriptors (b, k, d): features at 16 places around each keypoint, which its 3 x 3 patch points to."""
    patches = Patches(name="desc_head.patches")([features, places])
    offsets = _gate(keras.layers.Dense(2 * SAMPLES, name="desc_head.offset_conv.0")(patches), "desc_head.offset_conv.1")
    offsets = keras.layers.Dense(2 * SAMPLES, name="desc_head.offset_conv.2")(offsets)
    sampled = OffsetSamples(name="desc_head.samples")([features, places, offsets])
    sampled = keras.layers.Dense(dimensions, use_bias=False, name="desc_head.sf_conv")(sampled)
    joined = keras.layers.Reshape((-1, SAMPLES * dimensions), name="desc_head.join")(_gate(sampled, "desc_head.gate"))
    descriptors = keras.layers.Dense(dimensions, use_bias=False, name="desc_head.agg_weights")(joined)
    return keras.layers.UnitNormalization(name="descriptors")(descriptors)


@keras.saving.register_keras_serializable("lmk")
class DeformedColumns(keras.layers.Layer):
    """Maps (b, h, w, c) and offsets (b, h, w, 18), (y, x) for each cell of a 3 x 3 kernel row by row, to what each
    kernel sees, (b, h, w, 9 c). Offsets are limited to a quarter of the longer side, as published."""

    def call(self, inputs):
        maps, offsets = inputs
        batch, height, width, _ = ops.shape(maps)
        offsets = ops.reshape(_limited(offsets, height, width), (batch, height, width, SIDE**2, 2))
        steps = ops.arange(SIDE, dtype=maps.dtype) - SIDE // 2
        rows, columns = (ops.arange(side, dtype=maps.dtype) for side in (height, width))
        kernel_rows, kernel_columns = ops.repeat(steps, SIDE), ops.tile(steps, (SIDE,))
        y = offsets[..., 0] + ops.reshape(rows, (-1, 1, 1)) + kernel_rows
        x = offsets[..., 1] + ops.reshape(columns, (-1, 1)) + kernel_columns
        places = ops.reshape(ops.stack([x, y], axis=-1), (batch, height * width * SIDE**2, 2))
        return ops.reshape(sample(maps, places), (batch, height, width, SIDE**2 * maps.shape[-1]))

    def compute_output_shape(self, input_shape):
        maps, _ = input_shape
        return *maps[:3], SIDE**2 * maps[3]


@keras.saving.register_keras_serializable("lmk")
class Keypoints(keras.layers.Layer):
    """Scores (b, h, w, 1) to those of the strongest keypoints (b, k), 0 for none, and their places (b, k, 2).

    A keypoint is a local maximum at least `RADIUS` pixels from the border; a softmax over the 5 x 5 scores around it
    places it between pixels, and its score is read there. k is `most`, or the number of pixels.
    """

    def __init__(self, most: int, **kwargs):
        super().__init__(**kwargs)
        self.most = most

    def call(self, scores):
        batch, height, width, _ = ops.shape(scores)
        row = ops.reshape(ops.arange(height), (-1, 1, 1))
        column = ops.reshape(ops.arange(width), (-1, 1))
        inner = (row >= RADIUS) & (row < height - RADIUS) & (column >= RADIUS) & (column < width - RADIUS)
        kept = ops.where(_suppressed(scores) & inner & (scores > SMALLEST_SCORE), scores, 0.0)
        values, flat = ops.top_k(ops.reshape(kept, (batch, height * width)), ops.minimum(height * width, self.most))
        row, column = flat // width, flat % width
        # Around a keypoint, relative to its pixel: (b, k, 25) scores, of 0 beyond the map, which no keypoint reaches.
        steps = ops.arange(-RADIUS, RADIUS + 1)
        down, right = ops.repeat(steps, 2 * RADIUS + 1), ops.tile(steps, (2 * RADIUS + 1,))
        rows = ops.reshape(ops.expand_dims(row, -1) + down, (batch, -1))
        columns = ops.reshape(ops.expand_dims(column, -1) + right, (batch, -1))
        pixels = ops.reshape(scores, (batch, height * width, 1))
        around = gather(pixels, rows, columns, height, width)
        share = ops.softmax(ops.reshape(around, (batch, -1, (2 * RADIUS + 1) ** 2)) / TEMPERATURE, axis=-1)
        moved = [ops.sum(share * ops.cast(step, scores.dtype), axis=-1) for step in (right, down)]
        places = [ops.cast(pixel, scores.dtype) + move for pixel, move in zip((column, row), moved, strict=True)]
        places = ops.stack(places, axis=-1)
        return ops.where(values > 0, sample(scores, places)[..., 0], 0.0), places

    def get_config(self):
        return super().get_config() | {"most": self.most}


@keras.saving.register_keras_serializable("lmk")
class Patches(keras.layers.Layer):
    """Features (b, h, w, c) and places (b, k, 2) to the 3 x 3 cells around each, (b, k, 9 c).

    Patches stay inside the map, and one cell more from the right and lower border, as published.
    """

    def call(self, inputs):
        features, places = inputs
        batch, height, width, channels = ops.shape(features)
        whole = ops.cast(places, "int32") - SIDE // 2  # places are not negative: this rounds down
        left = ops.clip(whole[..., 0], 0, width - 1 - SIDE)
        top = ops.clip(whole[..., 1], 0, height - 1 - SIDE)
        steps = ops.arange(SIDE)
        rows = ops.reshape(ops.expand_dims(top, -1) + ops.repeat(steps, SIDE), (batch, -1))
        columns = ops.reshape(ops.expand_dims(left, -1) + ops.tile(steps, (SIDE,)), (batch, -1))
        found = gather(ops.reshape(features, (batch, height * width, channels)), rows, columns, height, width)
        return ops.reshape(found, (batch, -1, SIDE**2 * features.shape[-1]))


@keras.saving.register_keras_serializable("lmk")
class OffsetSamples(keras.layers.Layer):
    """Features (b, h, w, c), places (b, k, 2) and offsets (b, k, 32), all x before all y, to what lies at the places
    moved by each offset, (b, k, 16, c)."""

    def call(self, inputs):
        features, places, offsets = inputs
        batch, height, width, _ = ops.shape(features)
        offsets = _limited(offsets, height, width)
        x = places[..., :1] + offsets[..., :SAMPLES]
        y = places[..., 1:] + offsets[..., SAMPLES:]
        found = sample(features, ops.reshape(ops.stack([x, y], axis=-1), (batch, -1, 2)))
        return ops.reshape(found, (batch, -1, SAMPLES, features.shape[-1]))


def _limited(offsets, height, width):
    """Offsets of no more than a quarter of a map's longer side."""
    most = ops.cast(ops.maximum(height, width), offsets.dtype) / 4
    return ops.clip(offsets, -most, most)


def _suppressed(scores):
    """Local maxima of (b, h, w, 1), bool, in three rounds: those of a round make way for others beyond their reach."""
    maxima = local_maxima(scores, RADIUS)
    for _ in range(2):
        near = ops.max_pool(ops.cast(maxima, scores.dtype), 2 * RADIUS + 1, strides=1, padding="same") > 0
        left = ops.where(near, 0.0, scores)
        maxima = maxima | (local_maxima(left, RADIUS) & ~near)
    return maxima


def _first_width(tensors: dict[str, np.ndarray]) -> int:
    """Channels of the first convolution, 0 where there is none."""
    return len(tensors.get("block1.conv1.weight", ()))


def _flattened(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors, with kernels that multiply gathered cells as matrices (out, cells x channels)."""
    found = dict(tensors)
    for name, values in tensors.items():
        if name.endswith("regular_conv.weight") or name == "desc_head.offset_conv.0.weight":
            found[name] = values.transpose(0, 2, 3, 1).reshape(len(values), -1)
        elif name in ("desc_head.offset_conv.2.weight", "desc_head.sf_conv.weight"):
            found[name] = values[:, :, 0, 0]
        elif name == "desc_head.agg_weights":
            found[f"{name}.weight"] = values.reshape(-1, values.shape[-1]).T
    return found
