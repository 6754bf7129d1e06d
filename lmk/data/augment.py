"""Training augmentation: one random affine look at a photo, and a shift of its colours."""

from dataclasses import dataclass

import cv2
import numpy as np

from lmk.data.images import resize


@dataclass(frozen=True)
class Ranges:
    """How far each change goes at the most; each is drawn evenly from [-range, range].

    Attributes:
        rotation: Degrees.
        shift: Part of the side, along x and y each.
        shear: Degrees.
        zoom: Range of a factor around 1, along x and y each; below 1 the photo appears larger.
        channel: Added to all values of a channel, each channel its own, of 255.
    """

    rotation: float
    shift: float
    shear: float
    zoom: float
    channel: float


WHOLE = Ranges(rotation=4, shift=0.2, shear=0.2, zoom=0.5, channel=25)
CROP = Ranges(rotation=4, shift=0, shear=0.2, zoom=0.1, channel=20)
CROP_SHARE = 0.5
"""Share of photos of which a random window is shown rather than the whole."""
CLOSEST = 1 / (1 - WHOLE.zoom)
"""Sides of a look that a whole photo's side takes at the most: a photo of so many times the pixels loses nothing."""


def augment(photo: np.ndarray, side: int, rng: np.random.Generator, out: np.ndarray | None = None) -> np.ndarray:
    """A random square look at a photo: half the time of the whole, half the time of a window.

    The whole is changed by `WHOLE`. The window has `side` pixels of the photo resized to side * (1 + c),
    c in [0.01, 0.51), and is changed by `CROP`. Both are mirrored half the time. Beyond the photo its edge goes on.

    Whole or window is drawn for each photo, not for each batch as in the published code: batches are then
    alike, and what a photo looks like does not depend on the size of the batch it happens to be in. A turned
    window shows the photo beyond its corners, where the published code, cropping first, repeats pixels.

    Args:
        photo: (h, w, 3) uint8.
        side: Side of the result, in pixels.
        rng: Equal states give equal results.
        out: (side, side, 3) uint8 to write into.

    Returns:
        (side, side, 3) uint8; `out` where it was given.

    Reference: the 19th place of the 2018 edition, https://github.com/jandaldrop/landmark-recognition-challenge.
    """
    if rng.random() < CROP_SHARE:
        ranges, window = CROP, _random_window(side, rng)
    else:
        ranges, window = WHOLE, np.eye(3)
    matrix = _to_photo(photo, side) @ window @ _random_change(ranges, side, rng)
    warped = _warp(photo, matrix, side)
    shift = rng.uniform(-ranges.channel, ranges.channel, size=3)
    shifted = cv2.add(warped, np.array([*np.rint(shift), 0.0]))  # a number a channel; the sum keeps to [0, 255]
    if out is None:
        return shifted
    out[...] = shifted
    return out


def _random_window(side: int, rng: np.random.Generator) -> np.ndarray:
    """(3, 3), from pixels of a random window to pixels of the whole square, both of `side`."""
    larger = int(side * (1 + 0.5 * rng.random() + 0.01))
    left, top = rng.integers(0, max(larger - side, 1), size=2)
    scale = side / larger
    # A pixel's centre lies half a pixel from its corner, whatever the scale.
    return np.array([[scale, 0, (left + 0.5) * scale - 0.5], [0, scale, (top + 0.5) * scale - 0.5], [0, 0, 1.0]])


def _random_change(ranges: Ranges, side: int, rng: np.random.Generator) -> np.ndarray:
    """(3, 3), from pixels of the result to pixels of the unchanged square, about its centre."""
    angle = np.deg2rad(rng.uniform(-ranges.rotation, ranges.rotation))
    shear = np.deg2rad(rng.uniform(-ranges.shear, ranges.shear))
    shift_x, shift_y = rng.uniform(-ranges.shift, ranges.shift, size=2) * side
    zoom_x, zoom_y = rng.uniform(1 - ranges.zoom, 1 + ranges.zoom, size=2)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    rotate = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    move = np.array([[1, 0, shift_x], [0, 1, shift_y], [0, 0, 1]])
    skew = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    zoom = np.diag([zoom_x * mirror, zoom_y, 1])
    centre = (side - 1) / 2
    to_centre = np.array([[1, 0, -centre], [0, 1, -centre], [0, 0, 1]])
    from_centre = np.array([[1, 0, centre], [0, 1, centre], [0, 0, 1]])
    return from_centre @ rotate @ move @ skew @ zoom @ to_centre


def _to_photo(photo: np.ndarray, side: int) -> np.ndarray:
    """(3, 3), from pixels of the square to pixels of the photo that it shows whole."""
    height, width = photo.shape[:2]
    return _scaling(width / side, height / side)


def _scaling(x: float, y: float) -> np.ndarray:
    """(3, 3), from pixels of an image to pixels of one x times as wide and y times as high."""
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _warp(photo: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """The look that `matrix` (3, 3), from the result's pixels to the photo's, takes at a photo.

    Linear interpolation reads two pixels a side, so a photo that shrinks is first resized, antialiased, to the
    scale at which it is seen.
    """
    step_x, step_y = np.hypot(matrix[0, 0], matrix[0, 1]), np.hypot(matrix[1, 0], matrix[1, 1])
    height, width = photo.shape[:2]
    seen = max(1, round(width / max(step_x, 1))), max(1, round(height / max(step_y, 1)))
    if seen != (width, height):
        photo = resize(photo, *seen)
        matrix = _scaling(seen[0] / width, seen[1] / height) @ matrix
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(photo, matrix[:2], (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
