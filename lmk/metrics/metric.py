"""Base class of metrics: an order of the queries, a value with its interval, and the form watched in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from lmk.predictions import NO_LANDMARK, Predictions

DRAWS = 1000
"""Resamples of the queries behind an interval."""


class Metric(ABC):
    """A competition's metric: the higher the better, in [0, 1].

    Truth is (n,) or (n, m) int64, the landmarks that each query shows, `NO_LANDMARK` for none and as padding, in the
    order of the answers. A value is 0 where no query shows a landmark.

    Attributes:
        name: As `--metric` takes it.
        title: As tables and texts write it.
        depth: Landmarks of a query that count.
        gains: Credit of a query by the place of its right landmark, (depth,), of a metric that is their mean over the
            queries that show a landmark; None for one that ranks all queries together, as GAP does. Training watches
            the metric in this form, on the device.
    """

    name: str
    title: str
    depth: int = 1
    gains: tuple[float, ...] | None = None

    @abstractmethod
    def rank(self, answers: Predictions) -> np.ndarray:
        """(n,) int, rows of all queries, the one that the metric counts first at the front."""

    @abstractmethod
    def resampled(self, answers: Predictions, truth: np.ndarray) -> Callable[[np.ndarray], float]:
        """The value as a function of how often each query counts, (n,) int >= 0 in the order of the answers."""

    @abstractmethod
    def weighted(self, answers: Predictions, truth: np.ndarray, weights: np.ndarray) -> float:
        """The value where each query counts as its weight says, (n,) float64 >= 0."""

    def score(self, answers: Predictions, truth: np.ndarray) -> float:
        """The value of answers."""
        if not shows_landmark(truth).any():
            return 0.0
        return self.resampled(answers, truth)(np.ones(len(answers), dtype=np.int64))

    def interval(
        self, answers: Predictions, truth: np.ndarray, draws: int = DRAWS, seed: int = 0
    ) -> tuple[float, float]:
        """95 % bootstrap interval over queries; zeros where no query shows a landmark."""
        shows = shows_landmark(truth)
        if not shows.any():
            return 0.0, 0.0
        order, value = self.rank(answers), self.resampled(answers, truth)
        counts, rng, values = np.empty(len(answers), dtype=np.int64), np.random.default_rng(seed), []
        for _ in range(draws):
            counts[order] = _resample(rng, len(answers))
            if counts[shows].any():
                values.append(value(counts))
        low, high = np.quantile(values, [0.025, 0.975])
        return float(low), float(high)

    def paired_interval(
        self, first: Predictions, second: Predictions, truth: np.ndarray, draws: int = DRAWS, seed: int = 0
    ) -> tuple[float, float]:
        """95 % bootstrap interval of the second's value less the first's, over the same queries."""
        shows = shows_landmark(truth)
        before, after = (self.resampled(answers, truth) for answers in (first, second))
        rng, differences = np.random.default_rng(seed), []
        for _ in range(draws):
            counts = _resample(rng, len(first))
            if counts[shows].any():
                differences.append(after(counts) - before(counts))
        low, high = np.quantile(differences, [0.025, 0.975])
        return float(low), float(high)


def shows_landmark(truth: np.ndarray) -> np.ndarray:
    """(n,) bool, whether each query shows a landmark; truth (n,) or (n, m)."""
    shown: np.ndarray = (rows_of(truth) != NO_LANDMARK).any(axis=1)
    return shown


def rows_of(truth: np.ndarray) -> np.ndarray:
    """Truth (n,) or (n, m) as (n, m)."""
    truth = np.asarray(truth)
    return truth[:, None] if truth.ndim == 1 else truth


def _resample(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,) int, how often each query is drawn in `count` draws with replacement."""
    return np.bincount(rng.integers(0, count, count), minlength=count)
