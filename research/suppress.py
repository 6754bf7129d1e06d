"""Suppression of queries that show no landmark, fitted on dev: by likeness to distractors, by overused labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lmk.metrics.ranking import average_precision, rank
from lmk.predictions import NO_LANDMARK, Predictions, best_of

LIKENESS_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Weights of a query's likeness to distractors, tried in units of the scores' spread over that of the likeness."""
OVERUSE_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2)
"""Weights of a label's overuse, tried in units of the scores' spread."""


@dataclass(frozen=True)
class Suppression:
    """Penalties on the scores: `likeness` times a query's likeness to distractors, and each label's `penalties`.

    With the gallery photos' likeness taken off before (`retrieval.Options.index_bias`) the first is A - B - C of the
    winners of 2019 and 2020. A label's overuse is log((1 + times it was answered) / (1 + times it was right)) on dev.
    """

    likeness: float
    penalties: tuple[tuple[int, float], ...]

    def __call__(self, found: Predictions, likeness: np.ndarray) -> Predictions:
        """Predictions with lower scores, re-ranked; likeness (n,) float, of each query."""
        scores = found.scores - self.likeness * likeness[:, None]
        for landmark, penalty in self.penalties:
            scores = np.where(found.landmarks == landmark, scores - penalty, scores)
        return best_of(found.ids, found.landmarks, scores, found.landmarks.shape[1])


def fit_suppression(
    found: Predictions,
    likeness: np.ndarray,
    truth: np.ndarray,
    likeness_weights: Iterable[float] = LIKENESS_WEIGHTS,
    overuse_weights: Iterable[float] = OVERUSE_WEIGHTS,
) -> Suppression:
    """The suppression of a grid that gives the best GAP on dev; of equal ones the mildest.

    Args:
        found: Predictions of dev queries by models that never saw them.
        likeness: (n,) float, mean cosine to distractors.
        truth: (n,) int64.
        likeness_weights, overuse_weights: The grid; with (0,) one part stays off.
    """
    answered = np.isfinite(found.confidence)
    spread = float(found.confidence[answered].std()) if answered.any() else 0.0
    # Weights are tried in units of the scores' own spread, for sources' scores have no common scale.
    unit = spread / max(float(likeness.std()), 1e-9) if len(likeness) else 0.0
    labels, overuse = _overuse(found, truth)
    num_landmarks = max(1, int((truth != NO_LANDMARK).sum()))
    best, best_gap = Suppression(0.0, ()), -1.0
    for of_likeness in likeness_weights:
        for of_overuse in overuse_weights:
            penalties = (of_overuse * spread * overuse).tolist() if of_overuse else []
            tried = Suppression(of_likeness * unit, tuple(zip(labels.tolist(), penalties, strict=False)))
            answers = tried(found, likeness)
            order = rank(answers.ids, answers.best, answers.confidence)
            gap = average_precision(answers.best[order] == truth[order], num_landmarks)
            if gap > best_gap + 1e-9:
                best, best_gap = tried, gap
    return best


def _overuse(found: Predictions, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels that were answered, and the overuse of each."""
    labels, answered = np.unique(found.best[found.best != NO_LANDMARK], return_counts=True)
    right = np.array([np.count_nonzero((found.best == label) & (truth == label)) for label in labels])
    return labels, np.log((1 + answered) / (1 + right)) if len(labels) else np.zeros(0)
