"""Blends fitted on dev: each source's scores calibrated, and weights that a search on the metric finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lmk.ensemble.blend_rules import BLENDS, GREEDY
from lmk.ensemble.calibrate import Calibration, fit_calibration
from lmk.ensemble.candidates import gather
from lmk.ensemble.combine import combination
from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.predictions import NO_LANDMARK, Predictions

BAGS = 20
"""Resamples of the queries whose weights are averaged, so that no few queries decide them."""
SMALL = 20_000
"""Queries of which many are resampled `BAGS` times; more queries need as many times fewer resamples, but 3."""

Blending = Callable[[Sequence[Predictions], int], Predictions]
"""Function from aligned sources and k to the k best landmarks."""


@dataclass(frozen=True)
class Blend:
    """How sources are blended: each one's calibration and weight; weights are >= 0 and sum to 1."""

    calibrations: tuple[Calibration, ...]
    weights: tuple[float, ...]

    def __call__(self, sources: Sequence[Predictions], k: int) -> Predictions:
        """The k best landmarks by the weighted sum of the sources' probabilities, in [0, 1].

        A landmark that a source does not name gets nothing from it, so sources that agree add up.
        """
        return gather(sources, self.calibrations).best(self.weights, k)


def fit_blend(
    sources: Sequence[Predictions], truth: np.ndarray, seed: int, rule: str = GREEDY, metric: Metric = GAP
) -> Blend:
    """Calibrations and weights that give the best metric on dev.

    Args:
        sources: Aligned predictions of the same dev queries.
        truth: (n,) or (n, t) int64.
        seed: Random seed of the resamples.
        rule: A learned rule of `BLENDS`; its search is bagged over queries.
        metric: The competition's.
    """
    truth = truth[:, None] if truth.ndim == 1 else truth
    calibrations = tuple(fit_calibration(source.confidence, _right(source, truth)) for source in sources)
    search = BLENDS[rule].search
    if search is None or not (truth != NO_LANDMARK).any():
        return Blend(calibrations, (1 / len(sources),) * len(sources))
    found = gather(sources, calibrations)
    rng = np.random.default_rng(seed)
    total = np.zeros(len(sources))
    for _ in range(max(3, min(BAGS, BAGS * SMALL // len(truth)))):
        rows = np.flatnonzero(rng.random(len(truth)) < 0.632)
        total += search(found.take(rows), truth[rows], metric=metric).weights
    return Blend(calibrations, tuple((total / total.sum()).tolist()))


def fit_rule(rule: str, sources: Sequence[Predictions], truth: np.ndarray, seed: int) -> Blending:
    """The rule of that name, with all that it takes from dev; arguments as for `fit_blend`.

    Raises:
        ValueError: The rule is unknown.
    """
    if rule in BLENDS and BLENDS[rule].learned:
        return fit_blend(sources, truth, seed, rule)
    return combination(rule, sources)


def _right(source: Predictions, truth: np.ndarray) -> np.ndarray:
    """(n,) bool, whether the best landmark is one of the (n, t) true ones."""
    return (source.best[:, None] == truth).any(axis=1) & (source.best != NO_LANDMARK)
