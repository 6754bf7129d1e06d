"""Captions, date stamps and watermarks: what two photos share because of who published them, not of what they show.

A stamp keeps its place from a corner, or the middle, of the photo. The photos may have been resized
since, each by its own factor; so the matches of one stamp agree on a zoom about that point.
"""

import numpy as np

from lmk.local.features import LocalFeatures

BAND = 0.15
"""Captions lie within this share of the photo's shorter side from its border."""
STAMP = 0.2
"""A stamp elsewhere covers less than this share of the photo."""
TOLERANCE = 0.006
"""A stamp's features lie where they should to within this share of the longer side."""
OCTAVES = 0.4
"""A feature's change of size agrees with the stamp's within this many octaves."""
TURN = np.deg2rad(15)
"""A feature of a stamp is turned less than this."""
LARGEST = 2.0
"""The most that one photo's stamp is larger than the other's."""
FEWEST = 3
"""Matches that make a stamp: fewer may lie so by chance."""
MARGIN = 0.03
"""Letters of a caption match one another wrongly, too: within this share of the longer side around it."""
CORNERS = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
ANCHORS = np.array([*CORNERS, (0.5, 0.5)])


def in_captions(query: LocalFeatures, index: LocalFeatures, matches: np.ndarray) -> np.ndarray:
    """Which matches belong to a caption: a stamp near the border of both photos.

    Two takes of one view from one place lose matches by this, too, but keep those away from the border.

    Args:
        query, index: The local features of the photos.
        matches: (m, 2) int, rows of query and of index.

    Returns:
        (m,) bool.
    """
    near = _near_border(query.locations[matches[:, 0]], query.size)
    near &= _near_border(index.locations[matches[:, 1]], index.size)
    found = np.zeros(len(matches), bool)
    if np.count_nonzero(near) < FEWEST:
        return found
    stamped = _stamped(query, index, matches[near], CORNERS)
    found[near] = _around(query, index, matches[near], matches[near][stamped])
    return found


def in_stamp(
    query: LocalFeatures, index: LocalFeatures, matches: np.ndarray, inliers: np.ndarray, covered: float
) -> np.ndarray:
    """Which matches belong to a stamp anywhere in the photos, such as a logo in the middle, that a fit fell for.

    A stamp that covers the photos cannot be distinguished from two takes of one view, and is none.

    Args:
        query, index: The local features of the photos.
        matches: (m, 2) int, rows of query and of index.
        inliers: (i, 2) int, those of the fit.
        covered: Share of the query that the inliers cover.

    Returns:
        (m,) bool, none if the fit found no stamp.
    """
    if covered < STAMP:
        stamped = _stamped(query, index, inliers, ANCHORS)
        if stamped.sum() > 0.5 * len(inliers):
            return _around(query, index, matches, inliers[stamped])
    return np.zeros(len(matches), bool)


def _near_border(places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(m,) bool: within the band along the border of a photo of that (width, height)."""
    inside = np.minimum(places, np.asarray(size) - places).min(axis=1)
    return inside < BAND * min(size)


def _around(query: LocalFeatures, index: LocalFeatures, matches: np.ndarray, stamp: np.ndarray) -> np.ndarray:
    """(m,) bool: both ends lie in the rectangle, with a margin, around those ends of the stamp's matches (s, 2)."""
    found = np.full(len(matches), len(stamp) > 0)
    for photo, end in ((query, 0), (index, 1)):
        if len(stamp):
            places, margin = photo.locations[stamp[:, end]], MARGIN * max(photo.size)
            ends = photo.locations[matches[:, end]]
            inside = (ends >= places.min(axis=0) - margin) & (ends <= places.max(axis=0) + margin)
            found &= inside.all(axis=1)
    return found


def _stamped(query: LocalFeatures, index: LocalFeatures, matches: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """(m,) bool: the matches that one zoom about one of the anchors (shares of width and height) brings together."""
    found = np.zeros(len(matches), bool)
    octaves = np.log2(index.scales[matches[:, 1]] / query.scales[matches[:, 0]])
    unturned = np.cos(index.angles[matches[:, 1]] - query.angles[matches[:, 0]]) > np.cos(TURN)
    rows = np.flatnonzero(unturned & (np.abs(octaves) < np.log2(LARGEST) + OCTAVES))
    if len(rows) < FEWEST:
        return found
    start, end = query.locations[matches[rows, 0]], index.locations[matches[rows, 1]]
    tolerance = TOLERANCE * max(index.size)
    for anchor in anchors:
        found[rows] |= _zoomed(start - anchor * query.size, end - anchor * index.size, octaves[rows], tolerance)
    return found


def _zoomed(start: np.ndarray, end: np.ndarray, octaves: np.ndarray, tolerance: float) -> np.ndarray:
    """(m,) bool: the most matches that agree with one zoom about the origin; none if they are too few.

    start and end are (m, 2), in pixels from the origin; each match proposes its own zoom.
    """
    found = np.zeros(len(start), bool)
    square = np.maximum(np.square(start).sum(axis=1), 1e-9)
    aside = start[:, 0] * end[:, 1] - start[:, 1] * end[:, 0]
    aligned = np.flatnonzero(np.square(aside) <= 2 * tolerance**2 * square)  # no zoom brings others near enough
    if len(aligned) < FEWEST:
        return found
    zooms = (start * end).sum(axis=1) / square
    zooms = zooms[(zooms > 1 / LARGEST) & (zooms < LARGEST)]
    if len(zooms) == 0:
        return found
    apart = np.abs(end[aligned] - zooms[:, None, None] * start[aligned]).max(axis=2)
    sizes = np.abs(octaves[aligned] - np.log2(zooms)[:, None])
    agree = (apart < tolerance) & (sizes < OCTAVES)
    best = agree[agree.sum(axis=1).argmax()]
    found[aligned[best]] = best.sum() >= FEWEST
    return found
