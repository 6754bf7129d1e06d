"""Local features of photos: where they are, what they look like, and their table by photo id."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from joblib import Parallel, delayed

from lmk.util.cluster import workers_apart
from lmk.util.progress import Progress, advance_within, silent
from lmk.util.store import ArrayStore
from lmk.util.workers import in_threads

SHARD = 64
"""Photos a shard of the store: what a kill loses at the most."""


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """The local features of one photo, the strongest first.

    Attributes:
        locations: (n, 2) float32, (x, y) in pixels of the original photo.
        descriptors: (n, d) float32, L2-normalised (to the third digit where they come from a table).
        scores: (n,) float32, the extractor's own strength of each feature.
        scales: (n,) float32 > 0, size of what was described, in pixels of the original photo.
        angles: (n,) float32, its orientation in radians; all 0 where the extractor takes photos as upright.
        size: (width, height) of the original photo.
    """

    locations: np.ndarray
    descriptors: np.ndarray
    scores: np.ndarray
    scales: np.ndarray
    angles: np.ndarray
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.locations)


class Extractor(Protocol):
    """Extractor of local features from photos."""

    @property
    def max_features(self) -> int:
        """The most features of a photo, which fixes the width of the table."""

    @property
    def batch_size(self) -> int:
        """How many photos it likes to be given at once."""

    @property
    def stored_as(self) -> type:
        """`np.uint8` for descriptors in [0, 1], else `np.float16`."""

    def key(self) -> dict[str, object]:
        """All that its features depend on besides the photo, for the key of an `ArrayStore`."""

    def __call__(self, photos: Sequence[np.ndarray]) -> list[LocalFeatures]:
        """Features of RGB photos (h, w, 3) uint8, one entry a photo."""


@dataclass(frozen=True, eq=False)
class FeatureTable(Mapping[str, LocalFeatures]):
    """Local features of many photos in few arrays, which processes can share without copies.

    Attributes:
        ids: (n,) str, each once.
        geometry: (n, m, 5) float32: x, y, score, scale, angle of each feature; rows after the last are 0.
        descriptors: (n, m, d) uint8 (a value times 255) or float16.
        counts: (n,) int32, features of each photo.
        sizes: (n, 2) int32, width and height of each photo.
    """

    ids: np.ndarray
    geometry: np.ndarray
    descriptors: np.ndarray
    counts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def pack(
        cls, ids: Sequence[str] | np.ndarray, photos: Sequence[LocalFeatures], extractor: Extractor
    ) -> FeatureTable:
        """The table of `photos`, as wide as the extractor's most features."""
        rows, width = len(photos), extractor.max_features
        dimensions = photos[0].descriptors.shape[1] if rows else 0
        geometry = np.zeros((rows, width, 5), np.float32)
        descriptors: np.ndarray = np.zeros((rows, width, dimensions), extractor.stored_as)
        for row, photo in enumerate(photos):
            columns = (photo.locations, photo.scores, photo.scales, photo.angles)
            geometry[row, : len(photo)] = np.column_stack(columns)
            values = photo.descriptors
            descriptors[row, : len(photo)] = np.rint(values * 255) if descriptors.dtype == np.uint8 else values
        counts = np.array([len(photo) for photo in photos], np.int32)
        sizes = np.array([photo.size for photo in photos], np.int32).reshape(-1, 2)
        return cls(np.asarray(ids, dtype=str), geometry, descriptors, counts, sizes)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, a row a photo, as an `ArrayStore` takes them."""
        return {
            "geometry": self.geometry,
            "descriptors": self.descriptors,
            "counts": self.counts,
            "sizes": self.sizes,
        }

    def take(self, rows: Sequence[int]) -> FeatureTable:
        """The table of these rows alone."""
        chosen = np.array(rows, int)
        return FeatureTable(self.ids[chosen], *(values[chosen] for values in self.arrays().values()))

    def row(self, row: int) -> LocalFeatures:
        """The features in one row of the table."""
        count = self.counts[row]
        geometry = np.asarray(self.geometry[row, :count])  # of a memory map, too, a plain array
        descriptors = np.asarray(self.descriptors[row, :count]).astype(np.float32)
        if self.descriptors.dtype == np.uint8:
            descriptors *= np.float32(1 / 255)
        width, height = self.sizes[row].tolist()
        return LocalFeatures(
            geometry[:, :2], descriptors, geometry[:, 2], geometry[:, 3], geometry[:, 4], (width, height)
        )

    def means(self) -> np.ndarray:
        """(n, d) float32 of length 1, the mean direction of each photo's features; 0 of a photo without any."""
        sums = np.stack([self.row(row).descriptors.sum(axis=0) for row in range(len(self))])
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)

    def __getitem__(self, name: str) -> LocalFeatures:
        return self.row(self.row_of(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids.tolist())

    def __len__(self) -> int:
        return len(self.ids)

    def row_of(self, name: str) -> int:
        """The row of a photo's id; KeyError if it is not in the table."""
        return self._row_of[name]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids.tolist())}

    def __reduce__(self):
        return FeatureTable, (self.ids, *self.arrays().values())  # a worker has no use for the rows by id


def extract(
    read: Callable[[str], np.ndarray],
    ids: Sequence[str] | np.ndarray,
    store: ArrayStore,
    extractor: Extractor,
    jobs: int = 1,
    progress: Progress = silent,
) -> FeatureTable:
    """Local features of photos; those that the store has are not computed again.

    Args:
        read: A photo's id to RGB (h, w, 3) uint8.
        ids: (n,) str.
        store: Its key holds `extractor.key()` and what names the photos.
        extractor: For example `RootSift()`.
        jobs: Threads that read and extract, or a cluster's that extract; they change the time, never the features.
        progress: Reports finished photos.
    """

    def batch(names: np.ndarray) -> list[LocalFeatures]:
        found = extractor([read(name) for name in names.tolist()])
        advance_within(len(found))
        return found

    def compute(names: np.ndarray) -> dict[str, np.ndarray]:
        if extractor.batch_size >= SHARD:  # it has threads of its own; what they would wait for is the reading
            return FeatureTable.pack(names, extractor(threads(read, names.tolist())), extractor).arrays()
        parts = [names[start : start + extractor.batch_size] for start in range(0, len(names), extractor.batch_size)]
        if cluster is not None:  # this process reads, for the workers may not have the files
            photos = (threads(read, part.tolist()) for part in parts)
            batches = cluster(delayed(extractor)(part) for part in photos)
        else:
            batches = threads(batch, parts)
        return FeatureTable.pack(names, [photo for photos in batches for photo in photos], extractor).arrays()

    ids = np.asarray(ids, dtype=str)
    cluster = Parallel(n_jobs=jobs) if workers_apart() else None
    with in_threads(jobs if jobs > 0 else os.cpu_count() or 1) as threads, cluster or nullcontext():
        arrays = store.collect(ids, compute, SHARD, f"Local features: {store.kind}", progress)
    return FeatureTable(ids, **arrays)
