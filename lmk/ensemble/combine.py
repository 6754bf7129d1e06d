"""Blend rules that learn nothing from the truth: votes, ranks, sums and products of scaled scores.

Each needs the distribution of a source's scores, nothing more. It is taken from the lists themselves, as people do with
submissions, or from dev, so that a query's score does not depend on the queries beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk.ensemble.blend_rules import BLENDS
from lmk.ensemble.candidates import Candidates, Scale, gather
from lmk.predictions import NO_LANDMARK, Predictions, best_of

if TYPE_CHECKING:
    from lmk.ensemble.blend_rules import Combine

AGREEMENT = 0.5
"""Bonus of `min-max` for each further source whose best landmark it is, in units of a source's whole range."""
FLOOR = 0.02
"""Score that `log-product` gives a landmark that a source does not name, and for lower scores."""
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
    """Spread from the lowest score to the highest, evenly; a single value is 1. Scores of any shape, `-inf` left
    out."""
    found = scores[np.isfinite(scores)]
    low, high = (found.min(), found.max()) if len(found) else (0.0, 1.0)
    return Spread(np.array([low, high]), np.array([0.0, 1.0])) if high > low else Spread(np.ones(1), np.ones(1))


def ranks(scores: np.ndarray) -> Spread:
    """The share of scores that are not higher, in (0, 1], to a thousandth. Scores of any shape, `-inf` left out."""
    found = np.sort(scores[np.isfinite(scores)])
    if not len(found):
        return min_max(scores)
    # A thousand points describe millions of scores well enough, and are what a blend has to keep of them.
    points = np.unique(found[np.linspace(0, len(found) - 1, min(STEPS, len(found))).astype(int)])
    return Spread(points, np.searchsorted(found, points, side="right") / len(found))


def vote(sources: Sequence[Predictions], scales: Sequence[Scale], weights: np.ndarray) -> tuple[Candidates, np.ndarray]:
    """The share of sources whose best landmark it is; of equal ones the higher mean score.

    This and the functions below are rules as `BlendRule.combine` describes them.
    """
    found, named = _named(sources, scales, weights)
    return found, named + found.sums(weights) / (2 * len(sources))  # less than one vote where weights are equal


def mean(sources: Sequence[Predictions], scales: Sequence[Scale], weights: np.ndarray) -> tuple[Candidates, np.ndarray]:
    """The mean of the scores as they are, at 0 where a source does not name the landmark."""
    return scaled_mean(sources, [_plain] * len(sources), weights)


def scaled_mean(
    sources: Sequence[Predictions], scales: Sequence[Scale], weights: np.ndarray
) -> tuple[Candidates, np.ndarray]:
    """The mean of the scaled scores; by ranks, of the share of the source's answers that are not surer."""
    found = gather(sources, scales)
    return found, found.sums(weights)


def mean_and_votes(
    sources: Sequence[Predictions], scales: Sequence[Scale], weights: np.ndarray
) -> tuple[Candidates, np.ndarray]:
    """The mean of the scaled scores, and a bonus for each source that agrees."""
    found, named = _named(sources, scales, weights)
    agreeing = np.maximum(named - weights.max(), 0.0)  # one source alone agrees with nobody
    return found, found.sums(weights) + AGREEMENT * agreeing


def log_product(
    sources: Sequence[Predictions], scales: Sequence[Scale], weights: np.ndarray
) -> tuple[Candidates, np.ndarray]:
    """The geometric mean of the scaled scores, which all sources must support."""
    found = gather(sources, [_logarithm(scale) for scale in scales])
    return found, FLOOR * np.exp(found.sums(weights))


@dataclass(frozen=True, eq=False)
class Combination:
    """A rule with the scale of each source, and the sources' weights.

    Attributes:
        combine: As `BlendRule.combine`.
        spreads: Scale by source.
        weights: Weight by source, >= 0; they are made to sum to 1.
    """

    combine: Combine
    spreads: tuple[Spread, ...]
    weights: tuple[float, ...]

    def __call__(self, sources: Sequence[Predictions], k: int) -> Predictions:
        """The k best landmarks of aligned sources by the rule."""
        found, total = self.combine(sources, self.spreads, np.array(self.weights) / sum(self.weights))
        return best_of(found.ids, found.landmarks, total, k)


def combination(rule: str, sources: Sequence[Predictions], weights: Sequence[float] | None = None) -> Combination:
    """A rule of `BLENDS` that learns nothing, with scales taken from these sources; equal weights if None are given.

    Raises:
        ValueError: There is no such rule, or weights are not one a source, >= 0 and not all 0.
    """
    known = {name: one.combine for name, one in BLENDS.items() if one.combine is not None}
    if rule not in known:
        raise ValueError(f"No rule is named '{rule}'; there are {', '.join(known)}.")
    given = tuple(weights) if weights is not None else (1.0,) * len(sources)
    if len(given) != len(sources) or min(given) < 0 or not sum(given) > 0:
        raise ValueError(f"Weights are one a source, >= 0 and not all 0, not {given} for {len(sources)} sources.")
    spread = ranks if BLENDS[rule].scale == "ranks" else min_max
    return Combination(known[rule], tuple(spread(source.scores) for source in sources), given)


def _named(
    sources: Sequence[Predictions], scales: Sequence[Scale], weights: np.ndarray
) -> tuple[Candidates, np.ndarray]:
    """The candidates, and the weight of the sources whose best landmark each is, (n, m)."""
    found = gather(sources, scales)
    votes = gather([source.top(1) for source in sources], [_one] * len(sources))
    return found, _spread_over(found.landmarks, votes.landmarks, votes.sums(weights))


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
    # A loop over the few columns of one list keeps memory at (n, m), where comparing all with all takes (n, m, w).
    for column in range(some.shape[1]):
        same = (landmarks == some[:, column, None]) & (landmarks != NO_LANDMARK)
        found += same * values[:, column, None]
    return found
