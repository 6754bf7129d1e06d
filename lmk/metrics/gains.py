"""Metrics that are a mean over the queries that show a landmark: top-1 accuracy, and MAP@k."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmk.metrics.metric import Metric, rows_of, shows_landmark
from lmk.predictions import NO_LANDMARK, Predictions


class MeanGain(Metric):
    """Mean credit of the queries that show a landmark; a query that shows none does not count, whatever its answer.

    Args:
        name, title: As for `Metric`.
        gains: Credit of a query by the place of its right landmark among the answers, best first.
    """

    def __init__(self, name: str, title: str, gains: tuple[float, ...]):
        self.name, self.title, self.gains, self.depth = name, title, gains, len(gains)

    def credits(self, answers: Predictions, truth: np.ndarray) -> np.ndarray:
        """(n,) float64, the credit of each query: that of the place of its first right landmark, else 0."""
        places = self.hits(answers, truth).argmax(axis=1)
        found = self.hits(answers, truth).any(axis=1)
        return np.where(found, np.array(self.gains)[places], 0.0)

    def hits(self, answers: Predictions, truth: np.ndarray) -> np.ndarray:
        """(n, depth) bool, whether each landmark answered is one that the query shows."""
        landmarks = answers.top(self.depth).landmarks
        right = (landmarks[:, :, None] == rows_of(truth)[:, None, :]).any(axis=2)
        hits: np.ndarray = right & (landmarks != NO_LANDMARK)
        return hits

    def rank(self, answers: Predictions) -> np.ndarray:
        """The order of the queries: none goes before another."""
        return np.arange(len(answers))

    def resampled(self, answers: Predictions, truth: np.ndarray) -> Callable[[np.ndarray], float]:
        """As `Metric.resampled`."""
        shows = shows_landmark(truth)
        credit = self.credits(answers, truth)[shows]

        def value(counts: np.ndarray) -> float:
            total = counts[shows].sum()
            return float((counts[shows] * credit).sum() / total) if total else 0.0

        return value

    def weighted(self, answers: Predictions, truth: np.ndarray, weights: np.ndarray) -> float:
        """As `Metric.weighted`."""
        return self.resampled(answers, truth)(weights)


class MeanAveragePrecision(MeanGain):
    """Mean over queries of the average precision among the k best landmarks (MAP@k).

    A query's average precision is the sum of the precisions at its right answers, divided by the number of landmarks
    that it shows, at most k; with one landmark it is 1 / place.
    """

    def __init__(self, k: int):
        super().__init__(f"map@{k}", f"MAP@{k}", tuple(1 / place for place in range(1, k + 1)))

    def credits(self, answers: Predictions, truth: np.ndarray) -> np.ndarray:
        """(n,) float64, average precision of each query."""
        hits = self.hits(answers, truth)
        precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
        shown = (rows_of(truth) != NO_LANDMARK).sum(axis=1)
        found: np.ndarray = (precision * hits).sum(axis=1) / np.clip(shown, 1, self.depth)
        return found


TOP1 = MeanGain("top-1", "top-1 accuracy", (1.0,))
"""Share of the queries that show a landmark whose best answer is right."""
