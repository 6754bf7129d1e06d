"""Two photos compared by their local features."""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from lmk.local.captions import in_captions, in_stamp
from lmk.local.features import LocalFeatures
from lmk.local.kinds import LOCAL_FEATURES
from lmk.local.matching import putative_matches
from lmk.local.published import MAX_DISTANCE, RESIDUAL, SQUARE, TRIALS, gallery_matches
from lmk.local.ransac import Fit, fit
from lmk.local.settings import PHOTO_SIDE, Settings
from lmk.local.spatial import Points

STAMPS = 3
"""Stamps that one pair of photos is searched for, at the most."""


PUBLISHED = Settings(
    asks="gallery",
    ratio=None,
    mutual=False,
    max_distance=MAX_DISTANCE,
    method="samples",
    trials=TRIALS,
    residual=RESIDUAL,
    frame="square",
    max_turn=180.0,
    captions=False,
)
"""As published with DELF, in photos as the 19th place of 2018 had them: see `lmk.local.published`."""

Comparing = Literal["default", "published"]
COMPARISONS: tuple[Comparing, ...] = ("default", "published")
"""Ways to compare two photos, by name."""


def comparison_settings(
    kind: str, comparison: Comparing = "default", seed: int = 0, enough: int | None = None
) -> Settings:
    """How photos are compared by a kind of local features.

    Args:
        kind: A key of `LOCAL_FEATURES`; of `published` it makes no difference.
        comparison: One of `COMPARISONS`.
        seed, enough: As in `Settings`.
    """
    return replace(LOCAL_FEATURES[kind].comparison if comparison == "default" else PUBLISHED, seed=seed, enough=enough)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two photos compared: putative matches (m, 2), rows of query and index, the surest first, and their fit."""

    matches: np.ndarray
    fit: Fit

    @property
    def inliers(self) -> np.ndarray:
        """(i, 2) int, the matches that the transform brings together."""
        return self.matches[self.fit.inliers]


def compare(
    query: LocalFeatures, index: LocalFeatures, settings: Settings, matches: np.ndarray | None = None
) -> Comparison:
    """Match the local features of two photos and fit one transform to the matches.

    Args:
        query, index: The photos' features.
        settings: Settings of matching and fit.
        matches: (m, 2) int, rows of both, the surest first, in place of those that `settings` would find.
    """
    if matches is None:
        matches = _nearest(query, index, settings)
    if not settings.captions:
        return _fitted(query, index, matches, settings)
    comparison = _fitted(query, index, matches[~in_captions(query, index, matches)], settings)
    # A stamp that both photos have can win the fit. Taking it away and fitting anew leaves what the photos show.
    for _ in range(STAMPS):
        inliers = comparison.inliers
        stamp = in_stamp(query, index, comparison.matches, inliers, covered(query, inliers))
        if not stamp.any():
            break
        comparison = _fitted(query, index, comparison.matches[~stamp], settings)
    return comparison


def _nearest(query: LocalFeatures, index: LocalFeatures, settings: Settings) -> np.ndarray:
    """Matches (m, 2) by the distances of descriptors."""
    if settings.asks == "gallery":
        return gallery_matches(query.descriptors, index.descriptors, settings.max_distance)
    return putative_matches(
        query.descriptors, index.descriptors, settings.ratio, settings.mutual, settings.max_distance
    )


def _fitted(query: LocalFeatures, index: LocalFeatures, matches: np.ndarray, settings: Settings) -> Comparison:
    """Fit one transform to matches (m, 2)."""
    if settings.frame == "square":
        start, end = _in_square(query, matches[:, 0]), _in_square(index, matches[:, 1])
    else:
        start, end = _ends(query, matches[:, 0]), _ends(index, matches[:, 1])
    found = fit(
        start,
        end,
        settings.residual * (max(index.size) / PHOTO_SIDE if settings.frame == "side" else 1),
        settings.model,
        settings.method,
        np.deg2rad(settings.max_turn),
        settings.trials,
        settings.seed,
    )
    if settings.frame == "square":
        found = Fit(_of_photos(found.transform, query, index), found.inliers)
    return Comparison(matches, found)


def _ends(photo: LocalFeatures, rows: np.ndarray) -> Points:
    return Points(photo.locations[rows], photo.scales[rows], photo.angles[rows])


def _in_square(photo: LocalFeatures, rows: np.ndarray) -> Points:
    """The features of `rows` as they lie in the photo resized to a square of `SQUARE` pixels."""
    zoom = SQUARE / np.array(photo.size, np.float32)
    return Points(photo.locations[rows] * zoom, photo.scales[rows] * zoom.mean(), photo.angles[rows])


def _of_photos(transform: np.ndarray, query: LocalFeatures, index: LocalFeatures) -> np.ndarray:
    """A (2, 3) affinity between the photos as squares, as one between their own pixels."""
    transform = transform.copy()
    transform[:, :2] *= SQUARE / np.array(query.size)
    return transform * (np.array(index.size) / SQUARE)[:, None]


def covered(query: LocalFeatures, inliers: np.ndarray) -> float:
    """Area of the convex hull of a query's places in inliers (m, 2), as a share of the photo, in [0, 1]."""
    if len(inliers) < 3:
        return 0.0
    width, height = query.size
    return float(cv2.contourArea(cv2.convexHull(query.locations[inliers[:, 0]])) / (width * height))
