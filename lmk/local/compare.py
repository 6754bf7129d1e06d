"""Two photos compared by their local features."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

import cv2
import numpy as np

from lmk.local.captions import in_captions, in_stamp
from lmk.local.features import LocalFeatures
from lmk.local.kinds import DELF, ROOTSIFT
from lmk.local.matching import putative_matches
from lmk.local.published import MAX_DISTANCE, RESIDUAL, SQUARE, TRIALS, gallery_matches
from lmk.local.ransac import Fit, Method, Model, fit
from lmk.local.spatial import Points

PHOTO_SIDE = 640
"""Longest side of a photo in which `Settings.residual` is meant, in pixels."""

STAMPS = 3
"""Stamps that one pair of photos is searched for, at the most."""


@dataclass(frozen=True)
class Settings:
    """What a verification depends on besides features and galleries.

    Attributes:
        asks: Whose features ask for their nearest: the query's, by `putative_matches`, or the `gallery` photo's, by
            `gallery_matches`, which knows neither ratio nor mutual test.
        ratio, mutual, max_distance: As for these.
        model, method, trials, seed: As for `fit`.
        residual: Threshold of inliers, in pixels of an index photo in its `frame`.
        frame: How large a photo is for the fit: its longest side is `PHOTO_SIDE` (`side`), it has its own pixels
            (`pixels`), or both its sides are `SQUARE`, whatever their ratio (`square`).
        max_turn: The most turn between two photos, in degrees.
        captions: Whether to leave out what two photos share as a caption or a watermark.
        agreeing: Inliers from which on a gallery photo counts as one that agrees.
        enough: Inliers of one photo after which a query is compared with no more of that landmark; `None` for all.
    """

    asks: Literal["query", "gallery"] = "query"
    ratio: float | None = 0.93
    mutual: bool = True
    max_distance: float | None = None
    model: Model = "affine"
    method: Method = "spatial"
    trials: int = 1000
    seed: int = 0
    residual: float = 15.0
    frame: Literal["side", "pixels", "square"] = "side"
    max_turn: float = 45.0
    captions: bool = True
    agreeing: int = 8
    enough: int | None = None

    def key(self) -> dict[str, object]:
        """The settings by name, for the key of an `ArrayStore`."""
        return asdict(self)


SETTINGS: Mapping[str, Settings] = {ROOTSIFT: Settings(), DELF: Settings(ratio=None, max_distance=0.8, residual=22.0)}
"""By the kind of features. Of DELF as published (Noh et al., ICCV 2017) a distance alone decides: its cells overlap, so
that the second nearest is mostly a neighbour of the nearest and a ratio says little."""

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
        kind: A key of `SETTINGS`; of `published` it makes no difference.
        comparison: One of `COMPARISONS`.
        seed, enough: As in `Settings`.
    """
    return replace(SETTINGS[kind] if comparison == "default" else PUBLISHED, seed=seed, enough=enough)


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
    if settings.asks == "gallery":
        matches = gallery_matches(query.descriptors, index.descriptors, settings.max_distance)
    else:
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
