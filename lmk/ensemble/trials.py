"""Trials of blend weights by any metric: what `climb.Climb` is for GAP, without its shortcuts.

A trial sorts the candidates of every query anew, so that it takes about as long as one evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmk.ensemble.candidates import Candidates
from lmk.metrics import Metric


class MetricClimb:
    """A metric of a weighted sum of sources; see `climb.Climb`, whose methods it has."""

    def __init__(self, found: Candidates, truth: np.ndarray, metric: Metric):
        """truth: (n,) or (n, t) int64, `NO_LANDMARK` for none and as padding."""
        self.found, self.truth, self.metric = found, truth, metric
        self.weights = np.zeros(found.num_sources)

    @property
    def num_sources(self) -> int:
        return self.found.num_sources

    def reset(self, weights: np.ndarray) -> None:
        """Make the sum anew, (s,) weights by source."""
        self.weights = np.array(weights, dtype=np.float64)

    def gap(self) -> float:
        """The metric of the sum as it is."""
        return self.value(self.weights)

    def line(self, source: int, weight: float = 0.0) -> MetricLine:
        """The metric along the weight of one source; `weight` is what the sum has of it, which is taken off."""
        self.weights[source] -= weight
        return MetricLine(self, source, float(self.weights[source]))

    def value(self, weights: np.ndarray) -> float:
        """The metric of the sum with (s,) weights."""
        return self.metric.score(self.found.best(weights, self.metric.depth), self.truth)


@dataclass(frozen=True, eq=False)
class MetricLine:
    """The sum of a `MetricClimb` with some more weight of one source, which has `before` without it."""

    climb: MetricClimb
    source: int
    before: float

    def gap(self, weight: float) -> float:
        """The metric with a weight >= 0 more; the sum is not changed."""
        weights = self.climb.weights.copy()
        weights[self.source] = self.before + weight
        return self.climb.value(weights)

    def settle(self, weight: float) -> None:
        """Give the sum this weight more of the source."""
        self.climb.weights[self.source] = self.before + weight
