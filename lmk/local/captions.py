"""Captions, date stamps and watermarks: what two photos share because of who published them, not of what they show."""

import numpy as np

from lmk.local.features import LocalFeatures

BAND = 0.12
"""Captions lie within this share of the photo's shorter side from its border."""
TOLERANCE = 0.005
"""Two photos have a feature at the same place if it is within this share of the longer side."""
OCTAVES = 0.25
"""The same caption has features of the same size within this many octaves."""


def in_captions(query: LocalFeatures, index: LocalFeatures, matches: np.ndarray) -> np.ndarray:
    """Which matches lie at the same place near the border of both photos, at the same size and unturned.

    A place is the same if it is as far from one and the same corner, either in pixels (a stamp put on
    photos of any size) or as a share of the longer side (a stamp that was resized with its photo).
    Two takes of one view from one place lose such matches too, but keep those away from the border.

    Args:
        query, index: The local features of the photos.
        matches: (m, 2) int, rows of query and of index.

    Returns:
        (m,) bool.
    """
    start, end = query.locations[matches[:, 0]], index.locations[matches[:, 1]]
    near = _near_border(start, query.size) & _near_border(end, index.size)
    octaves = np.log2(index.scales[matches[:, 1]] / query.scales[matches[:, 0]])
    turn = index.angles[matches[:, 1]] - query.angles[matches[:, 0]]
    near &= np.cos(turn) > np.cos(np.deg2rad(10))
    if not near.any():
        return near
    tolerance = TOLERANCE * max(index.size)
    same = np.zeros(len(matches), bool)
    for zoom in {1.0, max(index.size) / max(query.size)}:
        same_size = np.abs(octaves - np.log2(zoom)) < OCTAVES
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            from_start, from_end = start - np.multiply(corner, query.size), end - np.multiply(corner, index.size)
            same |= same_size & (np.abs(from_end - zoom * from_start).max(axis=1) < tolerance)
    return near & same


def _near_border(places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(m,) bool: within the band along the border of a photo of that (width, height)."""
    inside = np.minimum(places, np.asarray(size) - places).min(axis=1)
    return inside < BAND * min(size)
