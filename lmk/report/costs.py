"""Cost of each mistake in the metric, exact, and the causes of all that is lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from lmk.metrics import Metric
from lmk.metrics.ranking import GAP, rank
from lmk.predictions import NO_LANDMARK, Predictions

RIGHT, WRONG, DISTRACTOR, SILENT, QUIET = (
    "right",
    "wrong landmark",
    "shows no known landmark",
    "no answer",
    "rightly silent",
)
"""Outcome of a query: answered rightly; by another landmark; though it shows none that is known (a held-out one, or
none at all); not, though it shows one; not, as it shows none."""


@dataclass(frozen=True)
class Loss:
    """Loss of GAP by cause; the parts sum to 1 - GAP.

    Attributes:
        wrong: Known landmarks named wrongly, and right answers that rank below these.
        silent: Known landmarks without an answer.
        distractor: Right answers that rank below answers to queries without a known landmark.
    """

    wrong: float
    silent: float
    distractor: float

    @property
    def total(self) -> float:
        """1 - GAP."""
        return self.wrong + self.silent + self.distractor


def loss(answers: Predictions, truth: np.ndarray) -> Loss:
    """Causes of lost GAP; arguments and errors as for `mistake_costs`.

    A right answer at rank r counts its precision, so it lacks (wrong answers above it) / r; each of these shows another
    known landmark or none. A query whose landmark is named wrongly, or not at all, lacks a whole answer.
    """
    shows = truth != NO_LANDMARK
    if not shows.any():
        raise ValueError(f"GAP is undefined: none of the {len(truth)} queries shows a landmark.")
    rows = rank(answers.ids, answers.best, answers.confidence)
    right = answers.best[rows] == truth[rows]
    misnamed, strange = ~right & shows[rows], ~shows[rows]
    ranks = np.arange(1, len(rows) + 1)
    above = [float((right * np.cumsum(kind) / ranks).sum()) for kind in (misnamed, strange)]
    silent = int((shows & (answers.best == NO_LANDMARK)).sum())
    count = int(shows.sum())
    return Loss((int(misnamed.sum()) + above[0]) / count, silent / count, above[1] / count)


def verdict(found: Loss) -> str:
    """The losses in words, the largest first: `0.023 of GAP is lost: 0.012 to known landmarks named wrongly, 0.011 to
    ...`.

    The parts shown sum to the total shown.
    """
    if found.total == 0:
        return "Nothing of GAP is lost."
    causes = {
        "known landmarks named wrongly": found.wrong,
        "known landmarks without an answer": found.silent,
        "photos of no known landmark ranked high": found.distractor,
    }
    counts = _rounded([part / _SHOWN for part in causes.values()])
    if not sum(counts):
        return f"Less than {_SHOWN:.3f} of GAP is lost."
    named = sorted(zip(counts, causes, strict=True), key=lambda part: -part[0])
    words = ", ".join(f"{count * _SHOWN:.3f} to {cause}" for count, cause in named if count)
    return f"{sum(counts) * _SHOWN:.3f} of GAP is lost: {words}."


_SHOWN = 1e-3
"""Step in which losses are shown."""


def _rounded(parts: Sequence[float]) -> list[int]:
    """Whole numbers that sum to the rounded sum of `parts` (>= 0), each less than 1 from its part.

    The method of largest remainders: all are rounded down, and what lacks goes to those that lost most.
    """
    whole = [floor(part) for part in parts]
    lacking = round(sum(parts)) - sum(whole)
    for place in sorted(range(len(parts)), key=lambda place: whole[place] - parts[place])[:lacking]:
        whole[place] += 1
    return whole


def outcomes(answers: Predictions, truth: np.ndarray) -> np.ndarray:
    """(n,) str, what became of each query; truth (n,) int64 in the same order."""
    answered, shows = answers.best != NO_LANDMARK, truth != NO_LANDMARK
    names = np.where(answered, np.where(shows, WRONG, DISTRACTOR), np.where(shows, SILENT, QUIET))
    return np.where(answered & (answers.best == truth), RIGHT, names)


def mistake_costs(answers: Predictions, truth: np.ndarray, metric: Metric = GAP) -> np.ndarray:
    """How much larger the metric were, if one query alone had been answered as well as it could be; (n,) float64 >= 0.

    Arguments as for `gap_costs`.

    Raises:
        ValueError: No query shows a landmark.
    """
    if metric.gains is None:
        return gap_costs(answers, truth)
    shows = truth != NO_LANDMARK
    if not shows.any():
        raise ValueError(f"{metric.title} is undefined: none of the {len(truth)} queries shows a landmark.")
    each = [metric.score(answers.take(np.array([row])), truth[row : row + 1]) for row in range(len(truth))]
    return np.where(shows, metric.gains[0] - np.array(each), 0.0) / shows.sum()


def gap_costs(answers: Predictions, truth: np.ndarray) -> np.ndarray:
    """How much larger GAP were, if this query alone had been answered as well as it could be.

    Args:
        answers: The best landmark of each of n queries counts.
        truth: (n,) int64, the landmark that each shows, `NO_LANDMARK` for none.

    Returns:
        (n,) float64 >= 0. For a query that shows a landmark: GAP with the right answer at the same confidence (below
        all others where there is no answer), less GAP. For one that shows none: GAP without its answer, less GAP.
        0 for the others.

    Raises:
        ValueError: No query shows a landmark.

    A rank's precision is (right answers up to it) / rank. A right answer more at rank r adds its own precision, and
    1 / i to that of each right answer at i > r; an answer less moves these from i to i - 1.
    """
    shows = truth != NO_LANDMARK
    if not shows.any():
        raise ValueError(f"GAP is undefined: none of the {len(truth)} queries shows a landmark.")
    rows = rank(answers.ids, answers.best, answers.confidence)
    right = (answers.best[rows] == truth[rows]).astype(float)
    ranks = np.arange(1, len(rows) + 1)
    found = np.cumsum(right)
    gained = (found + 1) / ranks + _after(right / ranks)
    moved = _after(right * found / (ranks * np.maximum(ranks - 1, 1)))
    costs = np.zeros(len(truth))
    costs[rows] = np.where(right > 0, 0.0, np.where(shows[rows], gained, moved))
    total = found[-1] if len(rows) else 0.0
    costs[shows & (answers.best == NO_LANDMARK)] = (total + 1) / (len(rows) + 1)
    return costs / shows.sum()


def _after(values: np.ndarray) -> np.ndarray:
    """(n,), the sum of all values behind each."""
    return np.cumsum(values[::-1])[::-1] - values
