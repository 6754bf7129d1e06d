"""Dense views: one pass of the backbone over the whole photo, and GeM over windows of its feature map.

22 crops cost 22 passes, though neighbouring crops show nearly the same pixels. Windows of one map see them once;
mirrored windows need a second pass.
"""

import keras
import numpy as np

from lmk.models.device import full_precision
from lmk.models.pooling import window_gem

_SHARES = {12: (0.7,), 22: (0.87, 0.7)}
"""Sides of the windows beside the whole photo, as shares of its own, by the number of views with their mirrors."""


def dense_windows(views: int) -> np.ndarray:
    """(views / 2, 4) float, left, top, right, bottom as shares of the photo: the whole, then corners and centre.

    Raises:
        ValueError: There are no dense views of that number.
    """
    if views not in _SHARES:
        raise ValueError(f"There are 12 or 22 dense views, not {views}.")
    windows = [(0.0, 0.0, 1.0, 1.0)]
    for share in _SHARES[views]:
        end, middle = 1 - share, (1 - share) / 2
        for top, left in ((0.0, 0.0), (end, 0.0), (0.0, end), (end, end), (middle, middle)):
            windows.append((left, top, left + share, top + share))
    return np.minimum(np.array(windows), 1.0)


@keras.saving.register_keras_serializable("lmk")
class WindowGeM(keras.layers.Layer):
    """GeM of windows: (batch, height, width, channels) to (batch, windows, channels) in full precision."""

    def __init__(self, windows, p: float = 3.0, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)  # powers overflow half precision
        self.windows, self.p = np.asarray(windows, dtype=float), p

    def call(self, features):
        return window_gem(features, self.windows, self.p)

    def get_config(self):
        return super().get_config() | {"windows": self.windows.tolist(), "p": self.p}
