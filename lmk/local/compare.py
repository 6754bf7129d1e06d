"""Two photos compared by their local features."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from lmk.local.captions import in_captions, in_stamp
from lmk.local.features import LocalFeatures
from lmk.local.kinds import LOCAL_FEATURES
from lmk.local.matching import putative_matches
from lmk.local.ransac import Fit, fit
from lmk.local.settings import PHOTO_SIDE, Settings
from lmk.local.spatial import Points

STAMPS = 3
"""Stamps that one pair of photos is searched for, at the most."""


SETTINGS: Mapping[str, Settings] = {name: kind.comparison for name, kind in LOCAL_FEATURES.items()}
"""How two photos are compared, by the kind of their features."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two photos compared: putative matches (m, 2), rows of query and index, the surest first, and their fit."""

    matches: np.ndarray
    fit: Fit

    @property
    def inliers(self) -> np.ndarray:
        """(i, 2) int, the matches that the transform brings together."""
        return self.matches[self.fit.inliers]


def compare(query: LocalFeatures, index: LocalFeatures, settings: Settings) -> Comparison:
    """Match the local features of two photos and fit one transform to the matches."""
    matches = putative_matches(
        query.descriptors, index.descriptors, settings.ratio, settings.mutual, settings.max_distance
    )
    if not settings.captions:
        return _fitted(query, index, matches, settings)
    comparison = _fitted(query, index, matches[~in_captions(query, index, matches)], settings)
    for _ in range(STAMPS):
        inliers = comparison.inliers
        stamp = in_stamp(query, index, comparison.matches, inliers, covered(query, inliers))
        if not stamp.any():
            break
        comparison = _fitted(query, index, comparison.matches[~stamp], settings)
    return comparison


def _fitted(query: LocalFeatures, index: LocalFeatures, matches: np.ndarray, settings: Settings) -> Comparison:
    found = fit(
        _ends(query, matches[:, 0]),
        _ends(index, matches[:, 1]),
        settings.residual * max(index.size) / PHOTO_SIDE,
        settings.model,
        settings.method,
        np.deg2rad(settings.max_turn),
        settings.trials,
        settings.seed,
    )
    return Comparison(matches, found)


def _ends(photo: LocalFeatures, rows: np.ndarray) -> Points:
    return Points(photo.locations[rows], photo.scales[rows], photo.angles[rows])


def covered(query: LocalFeatures, inliers: np.ndarray) -> float:
    """Area of the convex hull of a query's places in inliers (m, 2), as a share of the photo, in [0, 1]."""
    if len(inliers) < 3:
        return 0.0
    width, height = query.size
    return float(cv2.contourArea(cv2.convexHull(query.locations[inliers[:, 0]])) / (width * height))
