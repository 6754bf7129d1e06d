"""DELF: a network's dense features at several scales, of which attention chooses the keypoints.

Noh et al., ICCV 2017 (arXiv:1612.06321). The network stands elsewhere and comes in as a function, so that this file
knows photos and arrays alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from lmk.local.features import LocalFeatures
from lmk.local.pca import Pca
from lmk.local.suppress import suppress

SCALES = tuple(2.0 ** (step / 2) for step in range(-4, 3))
"""0.25 to 2 in steps of half an octave."""
SMALLEST_SIDE = 32
"""A photo is not made smaller than this, in pixels: what is left of it would say nothing."""


@dataclass(frozen=True)
class Cells:
    """Where the cells of a feature map look at, in pixels of the image that the network was given.

    Attributes:
        stride: From cell to cell.
        first: Centre of the first cell's receptive field, counted from the first pixel's centre.
        field: Side of the receptive field.
    """

    stride: int = 1
    first: float = 0.0
    field: int = 1

    def through(self, kernel: int, stride: int, before: float) -> Cells:
        """After a layer that slides a kernel over the map, with `before` cells of padding before the first."""
        first = self.first + ((kernel - 1) / 2 - before) * self.stride
        return Cells(self.stride * stride, first, self.field + (kernel - 1) * self.stride)

    def centres(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(n, 2) float, (x, y) of cells, in pixels of the network's image."""
        return np.column_stack([columns, rows]) * float(self.stride) + self.first


@dataclass(frozen=True, eq=False)
class Strongest:
    """The cells of a batch of feature maps that attention ranks first.

    Attributes:
        attention: (b, k) float32 >= 0.
        rows, columns: (b, k) int, of each cell in its map.
        descriptors: (b, k, c) float32, L2-normalised.
    """

    attention: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    descriptors: np.ndarray


Dense = Callable[[np.ndarray], Strongest]
"""Images (b, h, w, 3) uint8 to the strongest cells of each, as many as features are kept, or all of its map."""


@dataclass(frozen=True)
class DelfOptions:
    """Which features of a photo are kept.

    Attributes:
        side: Longest side in pixels of what is scale 1; a smaller photo is not enlarged.
        max_features: Features kept.
        scales: Of the photos that the network sees.
        most_overlap: Of the receptive fields of two features, as `suppress` takes it; published models keep all.
    """

    side: int = 1024
    max_features: int = 1000
    scales: tuple[float, ...] = SCALES
    most_overlap: float = 1.0

    def key(self, network: Mapping[str, object]) -> dict[str, object]:
        """All that features depend on besides the photo; `network` names the network and its PCA."""
        return {"extractor": "delf", "opencv": cv2.__version__, "network": dict(network), **asdict(self)}


@dataclass(frozen=True, eq=False)
class Delf:
    """The DELF features of photos that attention ranks first.

    Attributes:
        dense: The network.
        cells: Of its feature map.
        pca: To the dimensions that are kept; None keeps all, to fit one.
        options: Which are kept.
        at_once: Photos of one size that the network gets at once.
        threads: Passes that run side by side: one alone leaves a processor's cores waiting for memory.
    """

    dense: Dense
    cells: Cells
    pca: Pca | None
    options: DelfOptions = DelfOptions()
    at_once: int = 1
    threads: int = 1

    def __call__(self, photos: Sequence[np.ndarray]) -> list[LocalFeatures]:
        """Features of RGB photos (h, w, 3) uint8; those of one size go through the network together."""
        groups = list(_of_one_size(photos, self.at_once))
        with ThreadPoolExecutor(self.threads) as pool:
            found = pool.map(lambda rows: self._features(np.stack([photos[row] for row in rows])), groups)
            by_row = dict(pair for rows, own in zip(groups, found, strict=True) for pair in zip(rows, own, strict=True))
        return [by_row[row] for row in range(len(photos))]

    def _features(self, photos: np.ndarray) -> list[LocalFeatures]:
        """Of photos (b, h, w, 3) of one size."""
        height, width = photos.shape[1:3]
        largest = min(1.0, self.options.side / max(height, width))
        sizes = dict.fromkeys(_scaled(width, height, largest * scale) for scale in self.options.scales)
        scales = [self._at(photos, size) for size in sizes]
        every = [np.concatenate(arrays, axis=1) for arrays in zip(*scales, strict=True)]
        return [self._chosen((width, height), *(values[row] for values in every)) for row in range(len(photos))]

    def _at(self, photos: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of photos brought to a size: attention (b, k), places (b, k, 2), sides (b, k), descriptors (b, k, c)."""
        height, width = photos.shape[1:3]
        found = self.dense(np.stack([_resized(photo, size) for photo in photos]))
        zoom = np.array([width / size[0], height / size[1]])
        centres = self.cells.centres(found.rows.ravel(), found.columns.ravel()).reshape(*found.rows.shape, 2)
        places = (centres + 0.5) * zoom - 0.5
        sides = np.full(found.attention.shape, self.cells.field * zoom.mean())
        return found.attention, places, sides, found.descriptors

    def _chosen(
        self, size: tuple[int, int], attention: np.ndarray, places: np.ndarray, sides: np.ndarray, cells: np.ndarray
    ) -> LocalFeatures:
        """The features of one photo, of the cells (n, ...) of all its scales."""
        inside = ((places >= 0) & (places <= np.array(size) - 1)).all(axis=1)
        order = np.argsort(-np.where(inside, attention, -1.0), kind="stable")[: inside.sum()]
        order = order[suppress(places[order], sides[order], self.options.most_overlap, self.options.max_features)]
        descriptors = cells[order] if self.pca is None else self.pca(cells[order])
        return LocalFeatures(
            locations=places[order].astype(np.float32),
            descriptors=descriptors.astype(np.float32),
            scores=attention[order].astype(np.float32),
            scales=sides[order].astype(np.float32),
            angles=np.zeros(len(order), np.float32),
            size=size,
        )


def _of_one_size(photos: Sequence[np.ndarray], most: int) -> Iterator[list[int]]:
    """Rows of photos that have one size, at most so many at once, in the order of the sizes' first photos."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, photo in enumerate(photos):
        rows.setdefault(photo.shape, []).append(row)
    for same in rows.values():
        yield from (same[start : start + most] for start in range(0, len(same), most))


def _scaled(width: int, height: int, zoom: float) -> tuple[int, int]:
    """Width and height in whole pixels, none below `SMALLEST_SIDE`."""
    return max(SMALLEST_SIDE, round(width * zoom)), max(SMALLEST_SIDE, round(height * zoom))


def _resized(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if size == (photo.shape[1], photo.shape[0]):
        return photo
    shrinks = size[0] < photo.shape[1] or size[1] < photo.shape[0]
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
