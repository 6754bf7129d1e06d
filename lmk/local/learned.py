"""Learned local features: a network finds keypoints and describes them; photos of one size go through it together.

The network stands elsewhere and is loaded with the first photo, so that this file knows photos and arrays alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from lmk.local.features import LocalFeatures
from lmk.local.glue import weights_of
from lmk.local.kinds import Network
from lmk.util.files import digest_of_file
from lmk.util.late import Late

MULTIPLE = 32
"""Sides of what a network gets are multiples of it, in pixels: what is brought to its smallest map and back."""


@dataclass(frozen=True, eq=False)
class Detected:
    """Keypoints of a batch of images.

    Attributes:
        scores: (b, k) float32, in any order; 0 where there is no keypoint.
        places: (b, k, 2) float32, (x, y) in pixels of the images; (0, 0) is the centre of the first.
        descriptors: (b, k, d) float32, L2-normalised.
    """

    scores: np.ndarray
    places: np.ndarray
    descriptors: np.ndarray


Detector = Callable[[np.ndarray], Detected]
"""Images (b, h, w, 3) uint8 with sides of a multiple of `MULTIPLE` to their strongest keypoints."""


@dataclass(frozen=True)
class Learned:
    """The strongest features of photos by a learned detector.

    Attributes:
        kind: The name of the kind.
        network: Which network, and the size of photos it sees.
        weights: The file of its weights.
    """

    kind: str
    network: Network
    weights: Path = field(compare=False)

    batch_size: ClassVar[int] = 64
    stored_as: ClassVar[type] = np.float16

    @property
    def max_features(self) -> int:
        """The most features of a photo."""
        return self.network.most

    def key(self) -> dict[str, object]:
        """All that the features depend on besides the photo."""
        keras = [version("keras"), os.environ.get("KERAS_BACKEND", "tensorflow")]
        settings = {"network": asdict(self.network), "weights": digest_of_file(self.weights)}
        return {"extractor": self.kind, "opencv": cv2.__version__, "keras": keras, **settings}

    def __call__(self, photos: Sequence[np.ndarray]) -> list[LocalFeatures]:
        """Features of RGB photos (h, w, 3) uint8."""
        found: dict[int, LocalFeatures] = {}
        for rows, size in _of_one_size([self._size(photo) for photo in photos]):
            detected = self._detector(np.stack([_resized(photos[row], size) for row in rows]))
            for place, row in enumerate(rows):
                found[row] = self._features(photos[row], size, detected, place)
        return [found[row] for row in range(len(photos))]

    @cached_property
    def _detector(self) -> Detector:
        return Late(self.network.detector)(self.weights, self.network.most)

    def _size(self, photo: np.ndarray) -> tuple[int, int]:
        """Width and height of what the network gets of a photo."""
        height, width = photo.shape[:2]
        zoom = min(self.network.side / max(height, width), self.network.enlarge)
        nearest = [max(1, round(side * zoom / MULTIPLE)) * MULTIPLE for side in (width, height)]
        return nearest[0], nearest[1]

    def _features(self, photo: np.ndarray, size: tuple[int, int], detected: Detected, row: int) -> LocalFeatures:
        """A photo's features, in its own pixels."""
        height, width = photo.shape[:2]
        scores = np.asarray(detected.scores[row], np.float32)
        order = np.argsort(-scores, kind="stable")[: (scores > 0).sum()]
        zoom = np.array([width / size[0], height / size[1]], np.float32)
        return LocalFeatures(
            locations=((detected.places[row, order] + 0.5) * zoom - 0.5).astype(np.float32),
            descriptors=np.asarray(detected.descriptors[row, order], np.float32),
            scores=scores[order],
            scales=np.full(len(order), self.network.patch * zoom.mean(), np.float32),
            angles=np.zeros(len(order), np.float32),
            size=(width, height),
        )


def learned(kind: str, network: Network, weights: str | None) -> Learned:
    """The extractor of a kind whose weights are in a file, in a folder, or in an installed package.

    Raises:
        LmkError: They are nowhere.
    """
    return Learned(kind, network, weights_of(kind, network.file, network.package, weights))


def _of_one_size(sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[list[int], tuple[int, int]]]:
    """Rows of one size, in the order of the sizes' first rows."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, size in enumerate(sizes):
        rows.setdefault(size, []).append(row)
    yield from ((same, size) for size, same in rows.items())


def _resized(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if size == (photo.shape[1], photo.shape[0]):
        return photo
    shrinks = size[0] < photo.shape[1] or size[1] < photo.shape[0]
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
