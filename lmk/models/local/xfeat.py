"""XFeat: keypoints and 64-D descriptors by a network that is small enough for a processor.

Potje et al., CVPR 2024 (arXiv:2404.19174). Weights are those that its authors publish, a PyTorch file.
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import ops

from lmk.local.learned import Detector
from lmk.models.local.passes import detector_of
from lmk.models.local.sampling import Enlarge, local_maxima, sample
from lmk.models.torch_weights import assign_tensors
from lmk.util.torch_files import read_torch

CELL = 8
"""Side of a cell of the descriptor map, in pixels."""
SMALLEST_SCORE = 0.05
"""Keypoint probability from which on a local maximum counts, as published."""
RADIUS = 2
"""Cells in which a keypoint is the maximum, as published."""
EPSILON = 1e-5
"""Epsilon of batch and instance normalization: PyTorch's default."""

BLOCKS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "block1": ((4, 3, 1), (8, 3, 2), (8, 3, 1), (24, 3, 2)),
    "block2": ((24, 3, 1), (24, 3, 1)),
    "block3": ((64, 3, 2), (64, 3, 1), (64, 1, 1)),
    "block4": ((64, 3, 2), (64, 3, 1), (64, 3, 1)),
    "block5": ((128, 3, 2), (128, 3, 1), (128, 3, 1), (64, 1, 1)),
    "block_fusion": ((64, 3, 1), (64, 3, 1)),
    "heatmap_head": ((64, 1, 1), (64, 1, 1)),
    "keypoint_head": ((64, 1, 1), (64, 1, 1), (64, 1, 1)),
}
"""Channels, kernel side and stride of the convolutions of each part, under the names of the published weights."""
LAST = {"block_fusion": 64, "heatmap_head": 1, "keypoint_head": 65}
"""Channels of a plain convolution after them."""


def detector(weights: Path, most: int) -> Detector:
    """Detector of the `most` strongest keypoints of images with sides of a multiple of 32.

    Raises:
        LmkError: The weights are damaged or of another network.
    """
    network = build_network()
    load_weights(network, weights)
    images = keras.Input((None, None, 3), name="images")
    return detector_of(keras.Model(images, StrongestKeypoints(most)(network(images)), name="xfeat_keypoints"))


def build_network() -> keras.Model:
    """The untrained network: RGB (b, h, w, 3) in [0, 255] to maps of descriptors (b, h / 8, w / 8, 64), of keypoint
    logits (b, h / 8, w / 8, 65) and of reliability (b, h / 8, w / 8, 1) in [0, 1]; h and w are multiples of 32."""
    images = keras.Input((None, None, 3), name="images")
    grey = Grey(name="grey")(images)
    skipped = keras.layers.AveragePooling2D(4, name="skip1.0")(grey)
    skipped = keras.layers.Conv2D(24, 1, name="skip1.1")(skipped)
    x = keras.layers.Add(name="skip")([_part(grey, "block1"), skipped])
    eighth = _part(_part(x, "block2"), "block3")
    sixteenth = _part(eighth, "block4")
    thirty_second = _part(sixteenth, "block5")
    sixteenth = Enlarge(2, name="up2")(sixteenth)
    thirty_second = Enlarge(4, name="up4")(thirty_second)
    merged = keras.layers.Add(name="pyramid")([eighth, sixteenth, thirty_second])
    descriptors = _part(merged, "block_fusion")
    reliability = keras.layers.Activation("sigmoid", name="reliability")(_part(descriptors, "heatmap_head"))
    keypoints = _part(SpaceToDepth(name="unfold")(grey), "keypoint_head")
    return keras.Model(images, [descriptors, keypoints, reliability], name="xfeat")


def load_weights(network: keras.Model, path: Path) -> None:
    """Read the published PyTorch file.

    Raises:
        LmkError: The file is damaged or of another network.
    """
    layers = {layer.name: layer for layer in network.layers if layer.weights}
    assign_tensors(layers, read_torch(path), path)


def _part(x, name: str):
    """Convolutions with batch normalization and ReLU each, and a plain one after those that end in it."""
    for place, (channels, kernel, stride) in enumerate(BLOCKS[name]):
        layer = f"{name}.{place}.layer"
        if kernel > 1:  # PyTorch pads both sides, also with a stride of 2, where `same` would pad one
            x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{layer}.padding")(x)
        x = keras.layers.Conv2D(channels, kernel, stride, use_bias=False, name=f"{layer}.0")(x)
        x = keras.layers.BatchNormalization(epsilon=EPSILON, center=False, scale=False, name=f"{layer}.1")(x)
        x = keras.layers.ReLU(name=f"{layer}.2")(x)
    if name in LAST:
        x = keras.layers.Conv2D(LAST[name], 1, name=f"{name}.{len(BLOCKS[name])}")(x)
    return x


@keras.saving.register_keras_serializable("lmk")
class Grey(keras.layers.Layer):
    """RGB (b, h, w, 3) to the mean of its channels (b, h, w, 1), with mean 0 and variance 1 over each image."""

    def call(self, images):
        grey = ops.mean(ops.cast(images, self.compute_dtype) / 255, axis=-1, keepdims=True)
        mean, variance = ops.moments(grey, axes=(1, 2), keepdims=True)
        return (grey - mean) / ops.sqrt(variance + EPSILON)


@keras.saving.register_keras_serializable("lmk")
class SpaceToDepth(keras.layers.Layer):
    """The pixels of each cell as its channels, row by row: (b, h, w, 1) to (b, h / 8, w / 8, 64)."""

    def call(self, images):
        batch, height, width, _ = ops.shape(images)
        cells = ops.reshape(images, (batch, height // CELL, CELL, width // CELL, CELL))
        return ops.reshape(ops.transpose(cells, (0, 1, 3, 2, 4)), (batch, height // CELL, width // CELL, CELL**2))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return batch, height and height // CELL, width and width // CELL, CELL**2


@keras.saving.register_keras_serializable("lmk")
class StrongestKeypoints(keras.layers.Layer):
    """Maps to the strongest keypoints: scores (b, k), 0 for none, places (b, k, 2) in pixels, and L2-normalised
    descriptors (b, k, 64); k is `most`, or the number of pixels. A score is probability times reliability."""

    def __init__(self, most: int, **kwargs):
        super().__init__(**kwargs)
        self.most = most
        self.enlarge = Enlarge(CELL)

    def call(self, maps):
        descriptors, logits, reliability = maps
        heat = depth_to_space(ops.softmax(logits, axis=-1)[..., : CELL**2])
        batch, height, width, _ = ops.shape(heat)
        keypoint = local_maxima(heat, RADIUS) & (heat > SMALLEST_SCORE)
        scores = ops.reshape(ops.where(keypoint, heat * self.enlarge(reliability), 0.0), (batch, height * width))
        scores, flat = ops.top_k(scores, ops.minimum(height * width, self.most))
        places = ops.cast(ops.stack([flat % width, flat // width], axis=-1), heat.dtype)
        # As published: pixels 0 to w - 1 are spread over the whole width of the map.
        sides = ops.stack([ops.cast(side, heat.dtype) for side in (width, height)])
        cells = places / (sides - 1) * (sides / CELL) - 0.5
        found = sample(ops.normalize(descriptors, axis=-1), cells, cubic=True)
        return scores, places, ops.normalize(found, axis=-1)

    def get_config(self):
        return super().get_config() | {"most": self.most}


def depth_to_space(maps):
    """The channels of each cell as its pixels, row by row: (b, h, w, 64) to (b, 8 h, 8 w, 1)."""
    batch, height, width, _ = ops.shape(maps)
    pixels = ops.transpose(ops.reshape(maps, (batch, height, width, CELL, CELL)), (0, 1, 3, 2, 4))
    return ops.reshape(pixels, (batch, height * CELL, width * CELL, 1))
