"""How large a competition is: by its tables, or an edition by its published counts, without any file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lmk.data.competitions import Competition, read_rows
from lmk.data.photos import SUFFIXES
from lmk.data.splits import HELD_OUT_LANDMARKS, HELD_OUT_PHOTOS, MOST_QUERIES, asked_of_each_kind
from lmk.predictions import NO_LANDMARK

STEEPNESS = 0.9
"""Exponent of the power law by which a landmark's photos fall with its rank, where only totals are published."""
KILOBYTES = 300.0
"""Kilobytes of a photo, where nothing is known of the photos."""
SIDE = 800.0
"""Longest side of a photo in pixels, where nothing is known of the photos."""
LOOKED_AT = 200
"""Photos of a folder from which their size is estimated."""


@dataclass(frozen=True, eq=False)
class Size:
    """Counts that stages' costs depend on.

    Attributes:
        name: Name of the competition.
        counts: (landmarks,) int, training photos of each landmark.
        distractors, test: Photos.
        kilobytes: Size of a photo, on the average.
        source: Where this is from, for people.
        by_address: Whether photos are fetched by an address each, not as archives.
        side: Longest side of a photo in pixels, the median.
    """

    name: str
    counts: np.ndarray
    distractors: int
    test: int
    kilobytes: float
    source: str
    by_address: bool = False
    side: float = SIDE

    @property
    def train(self) -> int:
        """Training photos of landmarks."""
        return int(self.counts.sum())

    @property
    def landmarks(self) -> int:
        """How many there are."""
        return len(self.counts)

    @property
    def photos(self) -> int:
        """All of them."""
        return self.train + self.distractors + self.test

    def queries(self, share_without_landmark: float) -> int:
        """Dev queries of all folds together, as `make_split` asks them."""
        held_out = int(self.counts[self.counts > 1].sum())
        return sum(asked_of_each_kind(held_out, held_out, self.distractors, share_without_landmark, MOST_QUERIES))

    def holdout_queries(self, share_without_landmark: float, queries: int) -> int:
        """Dev queries where one part is held out, as `make_holdout` chooses them: about, for landmarks are drawn."""
        without = round(queries * share_without_landmark)
        distractors = min(self.distractors // 2, without)
        smallest = np.sort(self.counts)[: max(1, self.landmarks // 2)]
        drawn = min(len(smallest), max(1, round(HELD_OUT_LANDMARKS * self.landmarks)))
        without = distractors + min(without - distractors, round(drawn * float(smallest.mean())))
        spare = int(np.ceil(HELD_OUT_PHOTOS * (self.counts - 1)).sum())
        return without + min(spare, round(without * (1 - share_without_landmark) / share_without_landmark))

    def gallery(self, most: int) -> int:
        """Photos that stand for their landmarks, at most so many of each."""
        return int(np.minimum(self.counts, most).sum())

    def proposed(self, most: int, proposals: int) -> int:
        """Gallery photos of the landmarks that so many proposals name, if they name each in the share of its photos."""
        named = -np.expm1(-proposals * self.counts / max(1, self.train))
        return round(float((np.minimum(self.counts, most) * named).sum()))

    def compared(self, most: int) -> float:
        """Gallery photos of a landmark, on the average."""
        return self.gallery(most) / max(1, self.landmarks)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: landmarks by the number of their photos."""
        photos, landmarks = np.unique(self.counts, return_counts=True)
        by_photos = dict(zip(map(str, photos.tolist()), landmarks.tolist(), strict=True))
        values = {"name": self.name, "source": self.source, "by_address": self.by_address}
        amounts = {"distractors": self.distractors, "test": self.test}
        photo = {"kilobytes": round(self.kilobytes, 1), "side": round(self.side)}
        return {**values, **amounts, **photo, "landmarks_by_photos": by_photos}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Size:
        """The size that `to_dict` wrote."""
        by_photos = values["landmarks_by_photos"]
        counts = np.repeat([int(photos) for photos in by_photos], list(by_photos.values()))
        known = {part.name for part in fields(cls)}
        return cls(counts=counts, **{name: values[name] for name in values if name in known})


@dataclass(frozen=True)
class Edition:
    """Published counts of a competition, and gigabytes of its photos of train and test."""

    train: int
    landmarks: int
    test: int
    gigabytes: float
    by_address: bool = False


EDITIONS = {
    "landmark-recognition-challenge": Edition(1_225_029, 14_951, 117_703, 371, by_address=True),
    "landmark-recognition-2019": Edition(4_132_914, 203_094, 117_577, 520),
    "landmark-recognition-2020": Edition(1_580_470, 81_313, 10_345, 105),
    "landmark-recognition-2021": Edition(1_580_470, 81_313, 10_345, 105),
}
"""Sizes by slug. In 2020 and 2021 more test photos are hidden; photos of 2018 are the originals."""


def size_of_edition(slug: str) -> Size:
    """An edition by its published counts; photos of each landmark fall by a power law of its rank."""
    edition = EDITIONS[slug]
    share = np.arange(1, edition.landmarks + 1) ** -STEEPNESS
    ends = np.rint(np.cumsum(share) / share.sum() * (edition.train - edition.landmarks)).astype(int)
    counts = 1 + np.diff(ends, prepend=0)
    kilobytes = edition.gigabytes * 1e6 / (edition.train + edition.test)
    source = "published counts; photos of each landmark by a power law"
    return Size(slug, counts, 0, edition.test, kilobytes, source, edition.by_address)


def size_of_tables(name: str, root: Path) -> Size:
    """A competition by the tables in its folder; photos may be absent, but for distractors, which no table lists.

    Raises:
        LmkError: A table cannot be read.
    """
    landmarks, distractors, test = read_rows(root)
    counts = np.unique(landmarks[landmarks != NO_LANDMARK], return_counts=True)[1]
    some = list(islice((path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES), LOOKED_AT))
    kilobytes = float(np.mean([path.stat().st_size for path in some])) / 1e3 if some else KILOBYTES
    return Size(name, counts, distractors, test, kilobytes, f"tables in {root}", side=_side(some))


def _side(photos: Sequence[Path]) -> float:
    """The median of the longest sides, in pixels; only headers are read, and what is damaged is left out."""
    sides = []
    for path in photos:
        try:
            with Image.open(path) as image:
                sides.append(max(image.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    return float(np.median(sides)) if sides else SIDE


def size_of(competition: Competition) -> Size:
    """A competition that was read."""
    counts = np.unique(competition.train_landmarks, return_counts=True)[1]
    sizes = np.concatenate([files.sizes for files in competition.files])
    kilobytes = float(sizes.mean()) / 1e3 if len(sizes) else KILOBYTES
    distractors, test = len(competition.distractor_ids), len(competition.test_ids)
    some = [path for name in competition.train_ids[:LOOKED_AT].tolist() if (path := competition.photo(name))]
    source = f"photos in {competition.root}"
    return Size(competition.name, counts, distractors, test, kilobytes, source, side=_side(some))
