"""The parts of dev that spreading is cross-fitted by, each with the graph that it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmk.data.splits import Queries
from lmk.ensemble.tune import parts_of_dev
from lmk.pipeline.dataset import Part
from lmk.predictions import Predictions


@dataclass(frozen=True, eq=False)
class DevParts:
    """Dev as folds, which have a graph each, and as parts, which are answered by what was fitted without them.

    With several folds each is a part; the queries of a holdout are dealt into parts that share its graph.

    Attributes:
        dev: The dev queries, fold by fold.
        folds: Parts of the dataset that ask dev queries.
        tested: The part of the dataset that answers the test photos.
        of_query: (n,) int, the part of each dev query.
        fold_of: The fold of each part, by its place in `folds`.
    """

    dev: Queries
    folds: tuple[Part, ...]
    tested: Part
    of_query: np.ndarray
    fold_of: tuple[int, ...]

    @property
    def order(self) -> np.ndarray:
        """(n,) int, rows of dev in the order of the parts."""
        return np.argsort(self.of_query, kind="stable")

    def of_fold(self, predictions: Predictions, fold: int) -> Predictions:
        """Dev predictions of the queries of one fold."""
        return predictions.take(np.arange(len(self.folds[fold].queries)) + self._start(fold))

    def rows(self, part: int) -> np.ndarray:
        """(m,) int, the queries of a part among those of its fold."""
        return np.flatnonzero(self.of_query == part) - self._start(self.fold_of[part])

    def _start(self, fold: int) -> int:
        return sum(len(one.queries) for one in self.folds[:fold])


def dev_parts(parts: Sequence[Part], dev: Queries, seed: int) -> DevParts:
    """How the dev queries of a dataset's parts are cross-fitted; `seed` deals those of a single fold into parts."""
    folds = tuple(part for part in parts if len(part.queries))
    fold_of_query = np.repeat(np.arange(len(folds)), [len(part.queries) for part in folds])
    of_query = parts_of_dev(fold_of_query, dev.photos, seed)
    count = int(of_query.max(initial=-1)) + 1
    fold_of = tuple(range(count)) if len(folds) > 1 else (0,) * count
    return DevParts(dev, folds, next(part for part in parts if part.answers_test), of_query, fold_of)
