"""The match picture: two photos side by side and a line for each inlier."""

import cv2
import numpy as np

from lmk.local.compare import Comparison
from lmk.local.features import LocalFeatures

HEIGHT = 480
"""Height of the picture, in pixels."""
GAP = 8
"""Width of the white strip between the photos, in pixels."""


def draw_matches(
    query_photo: np.ndarray,
    index_photo: np.ndarray,
    query: LocalFeatures,
    index: LocalFeatures,
    comparison: Comparison,
) -> np.ndarray:
    """Both photos at one height, grey dots for putative matches, a coloured line for each inlier.

    Args:
        query_photo, index_photo: RGB (h, w, 3) uint8.
        query, index: Their local features.
        comparison: What `compare` returned for them.

    Returns:
        RGB (480, w, 3) uint8, the query on the left.
    """
    left, left_zoom = _scaled(query_photo)
    right, right_zoom = _scaled(index_photo)
    offset = left.shape[1] + GAP
    picture = np.hstack([left, np.full((HEIGHT, GAP, 3), 255, np.uint8), right])
    starts = query.locations[comparison.matches[:, 0]] * left_zoom
    ends = index.locations[comparison.matches[:, 1]] * right_zoom + (offset, 0)
    inliers = comparison.fit.inliers
    for place in np.vstack([starts[~inliers], ends[~inliers]]):
        cv2.circle(picture, _pixel(place), 2, (150, 150, 150), cv2.FILLED, cv2.LINE_AA)
    heights = starts[inliers, 1] / HEIGHT
    for start, end, height in zip(starts[inliers], ends[inliers], heights, strict=True):
        colour = _colour(height)
        cv2.line(picture, _pixel(start), _pixel(end), colour, 1, cv2.LINE_AA)
        for place in (start, end):
            cv2.circle(picture, _pixel(place), 3, colour, cv2.FILLED, cv2.LINE_AA)
    return picture


def _scaled(photo: np.ndarray) -> tuple[np.ndarray, float]:
    zoom = HEIGHT / photo.shape[0]
    size = (max(1, round(photo.shape[1] * zoom)), HEIGHT)
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR), zoom


def _pixel(place: np.ndarray) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def _colour(height: float) -> tuple[int, int, int]:
    """Colours by height in the query, so that lines that keep their order keep their colours' order, too."""
    hue = np.array([[[round(120 * min(max(height, 0.0), 1.0)), 255, 255]]], np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue
