"""DELF: a network's dense features at several scales, of which attention chooses the keypoints.

Noh et al., ICCV 2017 (arXiv:1612.06321). The network stands elsewhere and comes in as a function, so that this file
knows photos and arrays alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Protocol, TypeVar

import cv2
import numpy as np

from lmk.local.features import LocalFeatures
from lmk.local.pca import Pca
from lmk.local.suppress import suppress
from lmk.util.progress import advance_within

T = TypeVar("T")

SCALES = tuple(2.0 ** (step / 2) for step in range(-4, 3))
"""0.25 to 2 in steps of half an octave."""
CHUNK = 32
"""Photos whose cells of all scales are in memory at once where canvases are used: 7 scales of 1000 cells of 1024
channels are 28 MB a photo."""
LARGE_STEP = 512
"""Sides of canvases beyond the largest known one are multiples of it, in pixels."""


def _known_canvases() -> tuple[tuple[int, int], ...]:
    """Squares, and from 512 pixels on 4 : 3 and 3 : 4, too.

    Their longer sides are half an octave apart as `SCALES` are, in multiples of 32 pixels, so that a 4 : 3 photo with
    1024 pixels fills them at the larger scales. Smaller images cost little on any canvas, and each canvas is compiled.
    """

    def up(side: float) -> int:
        return -(-int(np.ceil(side)) // 32) * 32

    sides = [2048 * 2 ** (-step / 2) for step in range(7)]
    sizes = [(side, side) for side in sides]
    sizes += [shape for side in sides[:5] for shape in ((side, 0.75 * side), (0.75 * side, side))]
    return tuple(dict.fromkeys((up(width), up(height)) for width, height in sizes))


CANVASES = _known_canvases()
"""Width and height of each, in pixels."""
SMALLEST_SIDE = 32
"""A photo is not made smaller than this, in pixels: what is left of it would say nothing."""


@dataclass(frozen=True)
class Cells:
    """Where the cells of a feature map look at, in pixels of the image that the network was given.

    Attributes:
        stride: Distance from cell to cell.
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


class Dense(Protocol):
    """The network: images to the strongest cells of each, as many as features are kept, or all of its map."""

    def __call__(self, images: np.ndarray, sizes: np.ndarray | None = None, /) -> Strongest:
        """Cells of images (b, h, w, 3) uint8; of their top left `sizes` (b, 2) alone, height and width, where given.

        Cells outside of an image's size have attention below 0.
        """
        ...


@dataclass(frozen=True)
class Canvases:
    """The few sizes that images are brought to with blank margins, so that a compiler sees no others.

    Attributes:
        pixels: Pixels of a batch of canvases, at most, where one canvas alone has fewer.
        most: Images of a batch at most.
    """

    pixels: int = 8 * 2048 * 1536
    most: int = 64

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the smallest canvas that holds an image."""
        fitting = [size for size in CANVASES if size[0] >= width and size[1] >= height]
        if fitting:
            return min(fitting, key=lambda size: size[0] * size[1])
        return -(-width // LARGE_STEP) * LARGE_STEP, -(-height // LARGE_STEP) * LARGE_STEP

    def at_once(self, canvas: tuple[int, int]) -> int:
        """Images that go through the network together, always as many: another number would be compiled anew."""
        return max(1, min(self.most, self.pixels // (canvas[0] * canvas[1])))


@dataclass(frozen=True)
class DelfOptions:
    """Which features of a photo are kept.

    Attributes:
        side: Longest side in pixels of what is scale 1; a smaller photo is not enlarged.
        max_features: Features kept.
        scales: Scales of the photos that the network sees.
        most_overlap: Overlap of the receptive fields of two features, as `suppress` takes it; published models keep
            all.
        least_score: Attention that a feature has at least. Its unit is the network's own: 100 means something to the
            published DELF alone.
        square: Side of the square that a photo is resized to in place of `side`, whatever its own shape; scale 1.
        published: Places and images as the published code has them. Its cell (row, column) lies at (stride * row,
            stride * column), as if a receptive field began 145 pixels before its cell, however much the network pads;
            a place is divided by the scale alone, without regard to half pixels or rounded sizes; and images are
            shrunk by bilinear interpolation, which leaves aliases. lmk's own places are those of what a cell responds
            to: with TF-Slim's network 2 pixels further at scale 1 (`tests/test_delf_network.py`).
    """

    side: int = 1024
    max_features: int = 1000
    scales: tuple[float, ...] = SCALES
    most_overlap: float = 1.0
    least_score: float = 0.0
    square: int | None = None
    published: bool = False

    def key(self, network: Mapping[str, object]) -> dict[str, object]:
        """All that features depend on besides the photo; `network` names the network and its PCA."""
        return {"extractor": "delf", "opencv": cv2.__version__, "network": dict(network), **asdict(self)}


PUBLISHED: Mapping[str, DelfOptions] = {
    "delf": DelfOptions(least_score=100.0, published=True),
    "19th-place": DelfOptions(least_score=100.0, square=384, published=True),
    "delg": DelfOptions(least_score=357.48, published=True),
}
"""Settings of the configurations that were published with weights: DELF's example, the 19th place of 2018 with the
module google/delf/1, and DELG with ResNet-101 trained on GLDv2."""


@dataclass(frozen=True, eq=False)
class Delf:
    """Extractor of the DELF features of photos that attention ranks first.

    Attributes:
        dense: The network.
        cells: Receptive fields of its feature map.
        pca: PCA to the dimensions that are kept; None keeps all, to fit one.
        options: Which features are kept.
        pixels: Pixels of photos of one size in a pass of the network, where there are no canvases; one photo alone may
            have more. A pass over a small photo costs mostly what does not depend on its size.
        threads: Passes side by side: one alone leaves a processor's cores waiting for memory. With canvases, threads
            that prepare images and choose features beside the network.
        canvases: Sizes that images are brought to; None: they go through the network as they are.
    """

    dense: Dense
    cells: Cells
    pca: Pca | None
    options: DelfOptions = DelfOptions()
    pixels: int = 0
    threads: int = 1
    canvases: Canvases | None = None

    def __call__(self, photos: Sequence[np.ndarray]) -> list[LocalFeatures]:
        """Features of RGB photos (h, w, 3) uint8; those of one size or canvas go through the network together.

        Photos are reported by `advance_within` as they are done.
        """
        if self.canvases is not None:
            features: list[LocalFeatures] = []
            for chunk in (photos[start : start + CHUNK] for start in range(0, len(photos), CHUNK)):
                features += self._on_canvases(chunk, self.canvases)
                advance_within(len(chunk))
            return features
        groups = list(_of_one_size(photos, self.pixels))
        by_row: dict[int, LocalFeatures] = {}
        with ThreadPoolExecutor(self.threads) as pool:
            found = pool.map(lambda rows: self._features(np.stack([photos[row] for row in rows])), groups)
            for rows, own in zip(groups, found, strict=True):
                by_row.update(zip(rows, own, strict=True))
                advance_within(len(rows))
        return [by_row[row] for row in range(len(photos))]

    def _on_canvases(self, photos: Sequence[np.ndarray], canvases: Canvases) -> list[LocalFeatures]:
        """Features of photos of any sizes, whose images of all scales are gathered by canvas."""
        images: dict[tuple[int, int], list[tuple[int, tuple[int, int]]]] = {}
        for row, photo in enumerate(photos):
            for size in self._sizes(photo.shape[1::-1]):
                images.setdefault(canvases.of(*size), []).append((row, size))
        batches = [
            (canvas, own[start : start + canvases.at_once(canvas)])
            for canvas, own in images.items()
            for start in range(0, len(own), canvases.at_once(canvas))
        ]
        cells: list[list[tuple[np.ndarray, ...]]] = [[] for _ in photos]
        with ThreadPoolExecutor(self.threads) as pool:

            def prepare(batch: tuple[tuple[int, int], list[tuple[int, tuple[int, int]]]]) -> np.ndarray:
                canvas, own = batch
                blank = np.zeros((canvases.at_once(canvas), canvas[1], canvas[0], 3), np.uint8)
                for out, (row, size) in zip(blank, own, strict=False):
                    out[: size[1], : size[0]] = self._image(photos[row], size)
                return blank

            for (canvas, own), given in zip(batches, _ahead(pool, prepare, batches, self.threads), strict=True):
                sizes = np.full((len(given), 2), (canvas[1], canvas[0]), np.int32)
                sizes[: len(own)] = [size[::-1] for _, size in own]
                found = self.dense(given, sizes)
                for place, (row, size) in enumerate(own):
                    shown = found.attention[place] >= 0
                    located = self._located(photos[row].shape[1::-1], size, found, place)
                    cells[row].append(tuple(values[shown] for values in located))

            def choose(row: int) -> LocalFeatures:
                every = [np.concatenate(arrays) for arrays in zip(*cells[row], strict=True)]
                return self._chosen(photos[row].shape[1::-1], *every)

            return list(pool.map(choose, range(len(photos))))

    def _features(self, photos: np.ndarray) -> list[LocalFeatures]:
        """Features of photos (b, h, w, 3) of one size."""
        height, width = photos.shape[1:3]
        scales = []
        for size in self._sizes((width, height)):
            found = self.dense(np.stack([self._image(photo, size) for photo in photos]))
            scales.append([self._located((width, height), size, found, row) for row in range(len(photos))])
        by_photo = [[np.concatenate(arrays) for arrays in zip(*own, strict=True)] for own in zip(*scales, strict=True)]
        return [self._chosen((width, height), *own) for own in by_photo]

    def _sizes(self, photo: tuple[int, int]) -> dict[tuple[int, int], np.ndarray]:
        """Widths and heights at which a photo of that (width, height) is looked at, each once, in the order of the
        scales; and how much larger than the photo each is in either direction, before sides are rounded."""
        whole, square = np.array(photo), self.options.square
        shrunk = np.minimum(1.0, self.options.side / whole.max(keepdims=True)).repeat(2)
        zoom = shrunk if square is None else square / whole
        sizes: dict[tuple[int, int], np.ndarray] = {}
        for scale in self.options.scales:
            sizes.setdefault(_rounded(whole * zoom * scale), zoom * scale)
        return sizes

    def _image(self, photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A photo at one of its sizes."""
        square = self.options.square
        if square is not None:  # once to the square, from there to each scale
            photo = _resized(photo, (square, square), self.options.published)
        return _resized(photo, size, self.options.published)

    def _located(
        self, photo: tuple[int, int], size: tuple[int, int], found: Strongest, row: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Cells of one image in its photo's pixels: attention (k,), places (k, 2), sides (k,), descriptors (k, c).

        photo, size: Width and height of the photo, and of its image that the network was given.
        """
        zoom = np.array([photo[0] / size[0], photo[1] / size[1]])
        if self.options.published:
            zoom = 1 / self._sizes(photo)[size]
            places = np.column_stack([found.columns[row], found.rows[row]]) * self.cells.stride * zoom
        else:
            centres = self.cells.centres(found.rows[row], found.columns[row])
            places = (centres + 0.5) * zoom - 0.5
        sides = np.full(len(places), self.cells.field * zoom.mean())
        return found.attention[row], places, sides, found.descriptors[row]

    def _chosen(
        self, size: tuple[int, int], attention: np.ndarray, places: np.ndarray, sides: np.ndarray, cells: np.ndarray
    ) -> LocalFeatures:
        """Features of one photo from the cells (n, ...) of all its scales."""
        inside = ((places >= 0) & (places <= np.array(size) - 1)).all(axis=1)
        if self.options.least_score > 0:
            inside &= attention >= self.options.least_score
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


def _of_one_size(photos: Sequence[np.ndarray], pixels: int) -> Iterator[list[int]]:
    """Rows of photos that have one size and so many pixels together, at least one, in the order of the sizes' first
    photos."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, photo in enumerate(photos):
        rows.setdefault(photo.shape, []).append(row)
    for (height, width, _), same in rows.items():
        most = max(1, pixels // (height * width))
        yield from (same[start : start + most] for start in range(0, len(same), most))


def _ahead(
    pool: ThreadPoolExecutor, prepare: Callable[[T], np.ndarray], batches: Sequence[T], most: int
) -> Iterator[np.ndarray]:
    """Results of `prepare` for each batch, in order; at most so many wait in memory beside the one in use."""
    waiting = deque(pool.submit(prepare, batch) for batch in batches[:most])
    for place in range(len(batches)):
        ready = waiting.popleft().result()
        if place + most < len(batches):
            waiting.append(pool.submit(prepare, batches[place + most]))
        yield ready


def _rounded(size: np.ndarray) -> tuple[int, int]:
    """Width and height in whole pixels, none below `SMALLEST_SIDE`."""
    width, height = size.tolist()
    return max(SMALLEST_SIDE, round(width)), max(SMALLEST_SIDE, round(height))


def _resized(photo: np.ndarray, size: tuple[int, int], bilinear: bool = False) -> np.ndarray:
    """A photo at (width, height): bilinear, or by areas where it shrinks."""
    if size == (photo.shape[1], photo.shape[0]):
        return photo
    shrinks = not bilinear and (size[0] < photo.shape[1] or size[1] < photo.shape[0])
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
