"""The rules of blending that learn nothing from the truth: votes, ranks, sums and products of scaled scores.

Each needs to know how a source's scores are spread, nothing more. That may come from the lists themselves, as people
do with submissions, or from dev, so that a query's score does not depend on the queries beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmk.ensemble.candidates import Scale, gather
from lmk.predictions import NO_LANDMARK, Predictions, best_of

RULES = ("vote", "mean", "min-max", "rank-mean", "log-product")
"""Rules by name; see `Combination`."""
AGREEMENT = 0.5
"""What `min-max` adds for each further source whose best landmark it is, in units of a source's whole range."""
FLOOR = 0.02
"""What `log-product` takes for a landmark that a source does not name, and for lower scores."""
STEPS = 1000
"""Quantiles that describe the spread of a source's scores."""


@dataclass(frozen=True, eq=False)
class Spread:
    """A rising map from a source's scores to [0, 1], linear between points; an empty place (`-inf`) goes to 0.

    Attributes:
        points: (p,) float64, scores, ascending.
        values: (p,) float64, what they become, never falling.
    """

    points: np.ndarray
    values: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Scores of any shape; those beyond the outermost points count as these."""
        return np.where(np.isneginf(scores), 0.0, np.interp(scores, self.points, self.values))


def min_max(scores: np.ndarray) -> Spread:
    """From the lowest score to the highest, evenly; a single value is 1. Scores of any shape, `-inf` left out."""
    found = scores[np.isfinite(scores)]
    low, high = (found.min(), found.max()) if len(found) else (0.0, 1.0)
    return Spread(np.array([low, high]), np.array([0.0, 1.0])) if high > low else Spread(np.ones(1), np.ones(1))


def ranks(scores: np.ndarray) -> Spread:
    """The share of scores that are not higher, in (0, 1], to a thousandth. Scores of any shape, `-inf` left out."""
    found = np.sort(scores[np.isfinite(scores)])
    if not len(found):
        return min_max(scores)
    points = np.unique(found[np.linspace(0, len(found) - 1, min(STEPS, len(found))).astype(int)])
    return Spread(points, np.searchsorted(found, points, side="right") / len(found))


@dataclass(frozen=True, eq=False)
class Combination:
    """A rule with the spread of each source, and the sources' weights.

    Attributes:
        rule: One of `RULES`.
            `vote`: the number of sources whose best landmark it is; of equal numbers the higher mean score.
            `mean`: of the scores as they are, at 0 where a source does not name the landmark.
            `min-max`: the mean of the scores stretched to [0, 1], and a bonus for each source that agrees.
            `rank-mean`: the mean of the share of the source's answers that are not surer.
            `log-product`: the geometric mean of the stretched scores, which all sources must support.
        spreads: By source; the rule `mean` needs none.
        weights: By source, >= 0; they are made to sum to 1.
    """

    rule: str
    spreads: tuple[Spread, ...]
    weights: tuple[float, ...]

    def __call__(self, sources: Sequence[Predictions], k: int) -> Predictions:
        """The k best landmarks of aligned sources by the rule."""
        share = np.array(self.weights) / sum(self.weights)
        scales: Sequence[Scale] = [_plain] * len(sources) if self.rule == "mean" else self.spreads
        if self.rule == "log-product":
            scales = [_logarithm(scale) for scale in scales]
        found = gather(sources, scales)
        total = found.sums(share)
        if self.rule == "log-product":
            total = FLOOR * np.exp(total)
        elif self.rule in ("vote", "min-max"):
            votes = gather([source.top(1) for source in sources], [_one] * len(sources))
            named = _spread_over(found.landmarks, votes.landmarks, votes.sums(share))
            if self.rule == "vote":
                total = named + total / (2 * len(sources))  # less than one vote where weights are equal
            else:
                total = total + AGREEMENT * np.maximum(named - share.max(), 0.0)  # one alone agrees with nobody
        return best_of(found.ids, found.landmarks, total, k)


def combination(rule: str, sources: Sequence[Predictions], weights: Sequence[float] | None = None) -> Combination:
    """A rule, the spreads taken from these sources; equal weights if None are given.

    Raises:
        ValueError: The rule is unknown, or weights are not one a source, >= 0 and not all 0.
    """
    if rule not in RULES:
        raise ValueError(f"No rule is named '{rule}'; there are {', '.join(RULES)}.")
    given = tuple(weights) if weights is not None else (1.0,) * len(sources)
    if len(given) != len(sources) or min(given) < 0 or not sum(given) > 0:
        raise ValueError(f"Weights are one a source, >= 0 and not all 0, not {given} for {len(sources)} sources.")
    spread = ranks if rule == "rank-mean" else min_max
    return Combination(rule, tuple(spread(source.scores) for source in sources), given)


def _plain(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isneginf(scores), 0.0, scores)


def _one(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isneginf(scores), 0.0, 1.0)


def _logarithm(scale: Scale) -> Scale:
    """The logarithm of what a scale gives, in units of the floor: what is not named adds nothing."""
    return lambda scores: np.log(np.maximum(scale(scores), FLOOR) / FLOOR)


def _spread_over(landmarks: np.ndarray, some: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n, m), the value of each of `landmarks` (n, m) among `some` (n, w) with `values` (n, w); 0 where it is not."""
    found = np.zeros(landmarks.shape)
    for column in range(some.shape[1]):
        same = (landmarks == some[:, column, None]) & (landmarks != NO_LANDMARK)
        found += same * values[:, column, None]
    return found
