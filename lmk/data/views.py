"""The views of a photo that prediction votes over: whole, and windows of slightly larger sizes, each mirrored."""

from collections.abc import Iterator

import cv2
import numpy as np

from lmk.data.images import resize

VIEW_COUNTS = (1, 12, 22)
"""How many views `make_views` can make."""

_PERCENT_LARGER = {1: (), 12: (10,), 22: (5, 15)}  # in percent: 100 * 1.15 is below 115 in floating point


def make_views(photo: np.ndarray, side: int, count: int, out: np.ndarray | None = None) -> np.ndarray:
    """Square views of a photo, in a fixed order; the aspect ratio is ignored.

    The first is the whole photo; its mirror follows if `count` is not 1. Then, for the photo at side
    S = side * (1 + c) rounded down, with c = 0.1 (12 views) or 0.05 and 0.15 (22 views), come five
    windows, each followed by its mirror: top left, bottom left, top right, bottom right, centre.

    Args:
        photo: (h, w, 3) uint8.
        side: Side of a view, in pixels.
        count: One of `VIEW_COUNTS`.
        out: (count, side, side, 3) uint8, contiguous, to write into, so that a batch needs no copy.

    Returns:
        (count, side, side, 3) uint8; `out` where it was given.

    Raises:
        ValueError: No such count of views, or `out` is of another shape or not contiguous.

    Reference: the 19th place of the 2018 edition, https://github.com/jandaldrop/landmark-recognition-challenge.
    """
    if count not in VIEW_COUNTS:
        raise ValueError(f"There are 1, 12 or 22 views, not {count}.")
    if out is None:
        out = np.empty((count, side, side, 3), np.uint8)
    if out.shape != (count, side, side, 3) or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"`out` must be {(count, side, side, 3)} uint8 and contiguous, not {out.dtype} {out.shape}.")
    if count == 1:
        resize(photo, side, side, out[0])
        return out
    for number, window in enumerate(_windows(photo, side, count)):
        out[2 * number] = window
        cv2.flip(out[2 * number], 1, dst=out[2 * number + 1])
    return out


def larger_side(side: int, percent: int) -> int:
    """`side` enlarged by `percent`, rounded down: 313, 328 and 343 for 299 by 5, 10 and 15 percent."""
    return side * (100 + percent) // 100


def largest_side(side: int, count: int) -> int:
    """The largest side in pixels that a photo is resized to for `count` views: no more of a photo is seen."""
    return larger_side(side, max(_PERCENT_LARGER[count], default=0))


def _windows(photo: np.ndarray, side: int, count: int) -> Iterator[np.ndarray]:
    """The views without their mirrors, each (side, side, 3)."""
    yield resize(photo, side, side)
    for percent in _PERCENT_LARGER[count]:
        size = larger_side(side, percent)
        larger = resize(photo, size, size)
        end, middle = size - side, (size - side) // 2
        for top, left in ((0, 0), (end, 0), (0, end), (end, end), (middle, middle)):
            yield larger[top : top + side, left : left + side]
