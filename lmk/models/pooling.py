"""Pooling: a feature map (batch, height, width, channels) to one vector (batch, channels)."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from lmk.models.device import full_precision

SMALLEST = 1e-6
"""Activations below are raised to it: at 0 the gradient of the root is infinite."""


@keras.saving.register_keras_serializable("lmk")
class GeM(keras.layers.Layer):
    """Generalized-mean pooling: the average at p = 1, the maximum as p grows.

    (batch, height, width, channels), activations >= 0, to (batch, channels) in full precision. `p` > 0 is the
    exponent before training; it is learned, one for all channels or one for each. Radenović et al., arXiv:1711.02512.
    """

    def __init__(self, p: float = 3.0, per_channel: bool = False, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)  # powers overflow half precision
        self.initial_p, self.per_channel = p, per_channel

    def build(self, input_shape):
        shape = (input_shape[-1],) if self.per_channel else ()
        self.p = self.add_weight(shape=shape, initializer=keras.initializers.Constant(self.initial_p), name="p")

    def call(self, features):
        return generalized_mean(features, self.p)

    def get_config(self):
        return super().get_config() | {"p": self.initial_p, "per_channel": self.per_channel}


@keras.saving.register_keras_serializable("lmk")
class SignedGeM(GeM):
    """Generalized-mean pooling of features of both signs, such as a transformer's: powers keep the sign.

    The mean over the cells of sign(x) |x|^p, of which the root keeps the sign, too; as AnyLoc pools DINOv2's patches by
    odd powers (Keetha et al., arXiv:2308.00688).
    """

    def call(self, features):
        p = ops.maximum(self.p, SMALLEST)
        sizes = ops.maximum(ops.abs(features), SMALLEST)
        largest = ops.stop_gradient(ops.max(sizes, axis=(1, 2), keepdims=True))  # as in `generalized_mean`
        mean = ops.mean(ops.sign(features) * (sizes / largest) ** p, axis=(1, 2))
        return ops.squeeze(largest, axis=(1, 2)) * ops.sign(mean) * ops.maximum(ops.abs(mean), SMALLEST) ** (1 / p)


@keras.saving.register_keras_serializable("lmk")
class RMAC(keras.layers.Layer):
    """Regional maxima: square windows at three scales, each one's maxima normalized to length 1, then summed.

    (batch, height, width, channels) of known height and width to (batch, channels). Tolias et al., arXiv:1511.05879.
    """

    def __init__(self, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)

    def call(self, features):
        height, width = features.shape[1:3]
        if height is None or width is None:
            raise ValueError("RMAC needs a feature map of known height and width.")
        regions = [
            ops.normalize(ops.max(features[:, top : top + side, left : left + side], axis=(1, 2)), axis=-1)
            for top, left, side in rmac_regions(height, width)
        ]
        return ops.sum(ops.stack(regions), axis=0)


def rmac_regions(height: int, width: int) -> list[tuple[int, int, int]]:
    """Top, left and side of R-MAC's square windows: at scale l = 1, 2, 3 of side 2 min(height, width) / (l + 1).

    The longer side takes as many more windows as bring the overlap of the largest ones nearest to 40 %.
    """
    short, long = min(height, width), max(height, width)
    extra = 0
    if long > short:
        extra = min(range(1, 7), key=lambda more: abs(1 - (long - short) / more / short - 0.4))
    regions = []
    for scale in (1, 2, 3):
        side = max(1, 2 * short // (scale + 1))
        rows, columns = (scale, scale + extra) if width >= height else (scale + extra, scale)
        regions += [(top, left, side) for top in _starts(height, side, rows) for left in _starts(width, side, columns)]
    return regions


def _starts(length: int, side: int, count: int) -> list[int]:
    return [int(start) for start in np.linspace(0, length - side, count)] if count > 1 else [(length - side) // 2]


def generalized_mean(features, p):
    """The generalized mean of (batch, height, width, channels) over height and width: (batch, channels).

    `p` > 0, a scalar or (channels,). Each channel is divided by its maximum first, so that no power overflows
    or vanishes however large p grows.
    """
    features = ops.maximum(features, SMALLEST)
    p = ops.maximum(p, SMALLEST)
    largest = ops.stop_gradient(ops.max(features, axis=(1, 2), keepdims=True))  # the result does not depend on it
    mean = ops.mean((features / largest) ** p, axis=(1, 2))
    return ops.squeeze(largest, axis=(1, 2)) * mean ** (1 / p)


def window_gem(features, windows: np.ndarray, p):
    """GeM of several windows of one feature map, so that many views cost one pass of the backbone.

    Args:
        features: (batch, height, width, channels), activations >= 0.
        windows: (m, 4) float, left, top, right, bottom as shares of the image in [0, 1]. A cell that a window
            covers in part counts with the part that is covered.
        p: The exponent, a scalar or (channels,); a trained `GeM.p`.

    Returns:
        (batch, m, channels).
    """
    features = ops.maximum(ops.convert_to_tensor(features), SMALLEST)
    height, width, channels = features.shape[1:]
    weights = ops.convert_to_tensor(window_weights(windows, height, width), dtype=features.dtype)
    largest = ops.max(features, axis=(1, 2), keepdims=True)
    powers = ops.reshape((features / largest) ** p, (-1, height * width, channels))
    mean = ops.maximum(ops.matmul(weights, powers), 1e-30)  # a window may lie where the channel is dead
    return largest[:, 0] * mean ** (1 / p)


def window_weights(windows: np.ndarray, height: int, width: int) -> np.ndarray:
    """(m, height * width) float64, the share of each cell in the mean over each window; rows sum to 1.

    windows: (m, 4) as for `window_gem`.

    Raises:
        ValueError: A window is empty or leaves the image.
    """
    windows = np.asarray(windows, dtype=float).reshape(-1, 4)
    left, top, right, bottom = windows.T
    if (windows < 0).any() or (windows > 1).any() or (left >= right).any() or (top >= bottom).any():
        raise ValueError("Windows are left, top, right, bottom in [0, 1] with left < right and top < bottom.")
    rows, columns = _overlap(top, bottom, height), _overlap(left, right, width)
    weights = (rows[:, :, None] * columns[:, None, :]).reshape(len(windows), -1)
    return weights / weights.sum(axis=1, keepdims=True)


def _overlap(start: np.ndarray, end: np.ndarray, cells: int) -> np.ndarray:
    """(m, cells), how much of each cell the intervals [start, end] in [0, 1] cover, in cells."""
    edges = np.arange(cells)
    return np.clip(np.minimum(end[:, None] * cells, edges + 1) - np.maximum(start[:, None] * cells, edges), 0, 1)


POOLINGS: dict[str, Callable[..., keras.layers.Layer]] = {
    "average": lambda dtype=None, **kwargs: keras.layers.GlobalAveragePooling2D(
        dtype=dtype or full_precision(), **kwargs
    ),
    "max": keras.layers.GlobalMaxPooling2D,
    "gem": GeM,
    "gem-channels": lambda **kwargs: GeM(per_channel=True, **kwargs),
    "gem-signed": SignedGeM,
    "rmac": RMAC,
}
"""Pooling layers by name; each takes the keyword arguments of a Keras layer, GeMs also `p`."""
