"""Label-aware blending: several sources' (landmark, score) lists into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmk.ensemble.calibrate import Calibration, fit_calibration
from lmk.metrics import average_precision, rank
from lmk.predictions import NO_LANDMARK, Predictions, best_of

ROUNDS = 30
"""Selections of a source in one greedy search."""
BAGS = 20
"""Resamples of the queries whose weights are averaged, so that no few queries decide them."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Every landmark that any source names for a query, with each source's score for it.

    Attributes:
        ids: (n,) str.
        landmarks: (n, m) int64, each once a query, ascending; `NO_LANDMARK` in places that are empty.
        scores: (n, m, s) float64, 0 where a source does not name the landmark.
    """

    ids: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Blend:
    """How sources are blended: each one's calibration and weight; weights are >= 0 and sum to 1."""

    calibrations: tuple[Calibration, ...]
    weights: tuple[float, ...]

    def __call__(self, sources: Sequence[Predictions], k: int) -> Predictions:
        """The k best landmarks by the weighted sum of the sources' probabilities, in [0, 1].

        A landmark that a source does not name gets nothing from it, so sources that agree add up.
        """
        found = gather(sources, self.calibrations)
        return best_of(found.ids, found.landmarks, found.scores @ np.array(self.weights), k)


def fit_blend(sources: Sequence[Predictions], truth: np.ndarray, seed: int) -> Blend:
    """Calibrations and weights that give the best GAP on dev.

    Args:
        sources: Aligned predictions of the same dev queries.
        truth: (n,) int64.
        seed: Of the resamples.

    Weights come from greedy selection with replacement (Caruana et al., ICML 2004), bagged over queries.
    """
    calibrations = tuple(fit_calibration(source.confidence, source.best == truth) for source in sources)
    found = gather(sources, calibrations)
    rng = np.random.default_rng(seed)
    total = np.zeros(len(sources))
    for _ in range(BAGS):
        rows = np.flatnonzero(rng.random(len(truth)) < 0.632)
        total += _select(Candidates(found.ids[rows], found.landmarks[rows], found.scores[rows]), truth[rows])
    return Blend(calibrations, tuple((total / total.sum()).tolist()))


def gather(sources: Sequence[Predictions], calibrations: Sequence[Calibration]) -> Candidates:
    """The candidates of aligned sources, their scores calibrated.

    Raises:
        ValueError: The sources answer other queries, or in another order.
    """
    ids = sources[0].ids
    if any(len(source) != len(ids) or (source.ids != ids).any() for source in sources):
        raise ValueError("Sources must answer the same queries in the same order.")
    landmarks = _distinct(np.concatenate([source.landmarks for source in sources], axis=1))
    scores = np.zeros((*landmarks.shape, len(sources)))
    for place, (source, calibration) in enumerate(zip(sources, calibrations, strict=True)):
        probabilities = calibration(source.scores)
        for column in range(source.landmarks.shape[1]):
            hit = (landmarks == source.landmarks[:, column, None]) & (landmarks != NO_LANDMARK)
            scores[..., place] += hit * probabilities[:, column, None]
    return Candidates(ids, landmarks, scores)


def _distinct(landmarks: np.ndarray) -> np.ndarray:
    """(n, m) int64, the different landmarks of each row of (n, w), ascending, then empty places."""
    last = np.iinfo(np.int64).max
    ordered = np.sort(np.where(landmarks == NO_LANDMARK, last, landmarks), axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = last
    ordered = np.sort(ordered, axis=1)
    width = max(1, int((ordered != last).sum(axis=1).max(initial=0)))
    return np.where(ordered[:, :width] == last, NO_LANDMARK, ordered[:, :width])


def _select(found: Candidates, truth: np.ndarray) -> np.ndarray:
    """(s,) float, each source's share of the selections: each time the one that raises GAP most; ties to the first."""
    num_landmarks = int((truth != NO_LANDMARK).sum())
    picks = np.zeros(found.scores.shape[2])
    if num_landmarks == 0:
        return (picks + 1) / len(picks)
    total = np.zeros(found.landmarks.shape)
    rows = np.arange(len(truth))
    best_gap, best_picks = -1.0, picks + 1
    for _ in range(ROUNDS):
        gaps = []
        for source in range(len(picks)):
            trial = np.where(found.landmarks == NO_LANDMARK, -1.0, total + found.scores[..., source])
            best = trial.argmax(axis=1)
            answer, confidence = found.landmarks[rows, best], trial[rows, best]
            order = rank(found.ids, answer, confidence)
            gaps.append(average_precision(answer[order] == truth[order], num_landmarks))
        chosen = int(np.argmax(gaps))
        picks[chosen] += 1
        total += found.scores[..., chosen]
        if gaps[chosen] > best_gap:
            best_gap, best_picks = gaps[chosen], picks.copy()
    return best_picks / best_picks.sum()
