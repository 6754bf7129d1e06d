"""Calibration: a source's scores to the probability that its answer is right, fitted on dev.

Sources have different scales: a sigmoid, a softmax, a cosine. On one scale they can be added, and a
query's score means something without its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

SMALLEST = 1e-6
"""Probabilities nearer to 0 or 1 count as this near: their logarithms must stay finite."""
RIDGE = 1e-3
"""Penalty on the slope, so that answers which are all right or all wrong have a finite one."""


@dataclass(frozen=True)
class Calibration:
    """P(right) = sigmoid(slope * (log-odds of a score in [0, 1], or a cosine as it is) + intercept).

    The slope is never negative, so the order of a source's scores stays. Platt, 1999.
    """

    odds: bool
    slope: float
    intercept: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Scores of any shape to probabilities; an empty place (`-inf`) to 0."""
        empty = np.isneginf(scores)
        values = _transform(np.where(empty, 0.0, scores), self.odds)
        return np.where(empty, 0.0, expit(self.slope * values + self.intercept))


def fit_calibration(scores: np.ndarray, correct: np.ndarray) -> Calibration:
    """Fit on dev answers: (n,) scores, `-inf` for no answer, and (n,) bool, whether the answer is right.

    Of log-odds and plain scores the likelier is taken; log-odds only where all scores are in [0, 1].
    """
    answered = np.isfinite(scores)
    scores, correct = scores[answered], correct[answered].astype(float)
    if len(scores) == 0:
        return Calibration(odds=False, slope=1.0, intercept=0.0)
    shapes = [False, True] if scores.min() >= 0 and scores.max() <= 1 else [False]
    fits = [(*_fit(_transform(scores, odds), correct), odds) for odds in shapes]
    _, slope, intercept, odds = min(fits)
    return Calibration(odds, slope, intercept)


def _transform(scores: np.ndarray, odds: bool) -> np.ndarray:
    return logit(np.clip(scores, SMALLEST, 1 - SMALLEST)) if odds else scores


def _fit(values: np.ndarray, correct: np.ndarray) -> tuple[float, float, float]:
    """Mean negative log likelihood, slope >= 0 and intercept of a logistic regression on one value."""
    # Standardised, so that the ridge means the same for cosines and log-odds, and the optimizer starts near the end.
    centre, scale = values.mean(), max(values.std(), 1e-9)
    standard = (values - centre) / scale

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, intercept = parameters
        margin = slope * standard + intercept
        error = expit(margin) - correct
        value = (np.logaddexp(0, margin) - correct * margin).mean() + RIDGE * slope**2
        return value, np.array([(error * standard).mean() + 2 * RIDGE * slope, error.mean()])

    # A slope of at least 1e-3 keeps a source's order even where dev says that it is noise.
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (-20, 20)])
    slope, intercept = found.x
    return float(found.fun), float(slope / scale), float(intercept - slope * centre / scale)
