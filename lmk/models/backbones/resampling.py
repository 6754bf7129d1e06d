"""Bicubic resampling along one axis, as a matrix, equal to PyTorch's `interpolate` without aligned corners."""

import math

import numpy as np

CUBIC = -0.75
"""Slope of the cubic (Keys, 1981) that PyTorch takes where it only interpolates."""
CUBIC_SMOOTHED = -0.5
"""Slope that it takes where it smooths (`antialias`), as Pillow does."""


def bicubic(old: int, new: int, antialias: bool = False) -> np.ndarray:
    """(new, old) float32, the weights of `old` cells in each of `new` cells over the same length; rows sum to 1.

    Args:
        old: Cells that there are.
        new: Cells that are wanted.
        antialias: Whether fewer cells are means over all cells that they cover, and not points between four of them.
            At the ends cells beyond are then left out; without it the last one stands for them.
    """
    scale = old / new
    width = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(new) + 0.5) * scale - 0.5
    weights = np.zeros((new, old))
    for row, centre in enumerate(centres):
        cells = np.arange(math.floor(centre - 2 * width), math.ceil(centre + 2 * width) + 1)
        parts = _cubic((cells - centre) / width, CUBIC_SMOOTHED if antialias else CUBIC)
        if antialias:
            parts[(cells < 0) | (cells >= old)] = 0
        np.add.at(weights[row], np.clip(cells, 0, old - 1), parts / parts.sum())
    return weights.astype(np.float32)


def _cubic(x: np.ndarray, slope: float) -> np.ndarray:
    """The cubic kernel at distances x in cells; 0 from 2 on."""
    x = np.abs(x)
    near = ((slope + 2) * x - (slope + 3)) * x**2 + 1
    far = slope * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))
