"""The report's pictures: thumbnails and match pictures as data URIs, within a budget of bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from lmk.data.images import UnreadablePhoto, resize
from lmk.local.compare import Comparison, Settings, compare
from lmk.local.draw import draw_matches
from lmk.local.features import FeatureTable, LocalFeatures
from lmk.local.rootsift import RootSift
from lmk.report.record import FinishedRun
from lmk.util.store import ArrayStore

QUALITY = 62
"""Quality of WebP, from 0 to 100."""
MATCH_WIDTH = 640


@dataclass(frozen=True)
class Picture:
    """A picture for the page: its data URI, size in pixels, and what it shows in words."""

    uri: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Features:
    """Local features as a run's verification used them: those of the store, which keeps descriptors in few bits.

    Attributes:
        kind: Their kind.
        folder: The store's folder; None where the run verified nothing.
    """

    kind: str
    folder: Path | None

    @classmethod
    def of(cls, record: FinishedRun) -> Features:
        """The features of the kind whose evidence comes first."""
        stores = record.folder.parent.parent / "stores"
        for kind, name in record.run.local_features.items():
            return cls(kind, stores / name)
        return cls("rootsift", None)

    def __call__(self, names: list[str], photos: list[np.ndarray]) -> list[LocalFeatures] | None:
        """Features of photos by id, with their pixels RGB (h, w, 3) uint8; where the store lacks them, RootSIFT is
        computed anew, and of what needs a network there is None."""
        ids = np.array(names)
        store = ArrayStore.at(self.folder) if self.folder is not None and self.folder.is_dir() else None
        if store is not None and not len(store.missing(ids)):
            table = FeatureTable(ids, **store.load(ids))
        elif self.kind == "rootsift":
            table = FeatureTable.pack(ids, RootSift()(photos), RootSift())
        else:
            return None
        return [table.row(row) for row in range(len(names))]


@dataclass(eq=False)
class Album:
    """Makes pictures until their budget is spent; then there are none, and the page says so.

    Attributes:
        read: A photo's id to RGB (h, w, 3) uint8.
        settings: Settings of comparisons, as verification used them.
        features: Local features of photos, as verification used them.
        budget: Characters of data URIs that may be made yet.
        refused: Pictures that the budget did not allow.
    """

    read: Callable[[str], np.ndarray]
    settings: Settings
    features: Features
    budget: int
    refused: int = 0
    lost: set[str] = field(default_factory=set)

    def thumbnail(self, photo: str, alt: str, side: int = 200) -> Picture | None:
        """The photo, its longest side `side` pixels; None without budget or photo."""
        pixels = self._pixels(photo)
        if pixels is None:
            return None
        height, width = pixels.shape[:2]
        zoom = side / max(height, width)
        return self._made(resize(pixels, max(1, round(width * zoom)), max(1, round(height * zoom))), alt)

    def matches(self, query: str, index: str) -> tuple[Picture | None, int]:
        """Both photos with a line for each inlier, and the number of inliers."""
        left, right = self._pixels(query), self._pixels(index)
        if left is None or right is None:
            return None, 0
        features = self.features([query, index], [left, right])
        if features is None:
            return None, 0
        drawn, comparison = matched(left, right, features, self.settings)
        height, width = drawn.shape[:2]
        zoom = min(1.0, MATCH_WIDTH / width)
        inliers = len(comparison.inliers)
        alt = f"Query {query} on the left, photo {index} on the right; {inliers} lines join places that match."
        return self._made(resize(drawn, round(width * zoom), round(height * zoom)), alt), inliers

    def _pixels(self, photo: str) -> np.ndarray | None:
        try:
            return self.read(photo)
        except UnreadablePhoto:
            self.lost.add(photo)
            return None

    def _made(self, pixels: np.ndarray, alt: str) -> Picture | None:
        _, data = cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
        uri = "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()
        if len(uri) > self.budget:
            self.refused += 1
            return None
        self.budget -= len(uri)
        return Picture(uri, pixels.shape[1], pixels.shape[0], alt)


def matched(
    query: np.ndarray, index: np.ndarray, features: list[LocalFeatures], settings: Settings
) -> tuple[np.ndarray, Comparison]:
    """The match picture of two photos RGB (h, w, 3) uint8, and their comparison, as verification makes it."""
    first, second = features
    comparison = compare(first, second, settings)
    return draw_matches(query, index, first, second, comparison), comparison


def cached(read: Callable[[str], np.ndarray], photos: int = 64) -> Callable[[str], np.ndarray]:
    """`read` that remembers the last photos: a landmark's photos stand beside many queries."""
    return lru_cache(maxsize=photos)(read)
