"""The numbers behind the report's tables and charts, from predictions and truth alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lmk.metrics import Metric
from lmk.metrics.ranking import GAP, rank, top1_accuracy
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.report.costs import DISTRACTOR, RIGHT, WRONG, outcomes

DRAWN = (RIGHT, WRONG, DISTRACTOR)
"""Outcomes of queries that were answered."""


@dataclass(frozen=True)
class StageRow:
    """A stage's worth, and what it added to an earlier one: the difference with its paired 95 % interval."""

    stage: str
    gap: float
    low: float
    high: float
    top1: float
    before: str | None = None
    added: float = 0.0
    added_low: float = 0.0
    added_high: float = 0.0


def stage_rows(
    dev: Mapping[str, Predictions], truth: np.ndarray, recipes: list[str], metric: Metric = GAP
) -> list[StageRow]:
    """A row a stage, in order; one that is made of others is set against the best of those before it."""
    rows: list[StageRow] = []
    for stage, predictions in dev.items():
        value, (low, high) = metric.score(predictions, truth), metric.interval(predictions, truth)
        top1 = top1_accuracy(truth, predictions.best)
        if stage in recipes or not rows:
            rows.append(StageRow(stage, value, low, high, top1))
            continue
        before = rows[-1] if rows[-1].stage in ("ensemble", "spread", "fused") else max(rows, key=lambda row: row.gap)
        added_low, added_high = metric.paired_interval(dev[before.stage], predictions, truth)
        rows.append(StageRow(stage, value, low, high, top1, before.stage, value - before.gap, added_low, added_high))
    return rows


@dataclass(frozen=True, eq=False)
class Ranking:
    """The answers as GAP ranks them, best first: rows (a,) int, outcome (a,) str, precision up to there (a,)."""

    rows: np.ndarray
    outcome: np.ndarray
    precision: np.ndarray


def ranking(answers: Predictions, truth: np.ndarray) -> Ranking:
    """GAP's ranking of the queries that were answered."""
    rows = rank(answers.ids, answers.best, answers.confidence)
    outcome = outcomes(answers, truth)[rows]
    precision = np.cumsum(outcome == RIGHT) / np.arange(1, len(rows) + 1)
    return Ranking(rows, outcome, precision)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts (bins,) of scores between edges (bins + 1,), by outcome."""

    edges: np.ndarray
    counts: Mapping[str, np.ndarray]


def histogram(answers: Predictions, truth: np.ndarray, bins: int = 25) -> Histogram:
    """Scores of the answered queries by outcome; from 0 to 1 where all lie there."""
    answered = answers.best != NO_LANDMARK
    scores = answers.confidence[answered]
    outcome = outcomes(answers, truth)[answered]
    low, high = (0.0, 1.0) if within_unit(scores) else (float(scores.min()), float(scores.max()))
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    return Histogram(edges, {name: np.histogram(scores[outcome == name], edges)[0] for name in DRAWN})


@dataclass(frozen=True)
class Bin:
    """Answers of about one score: their mean score, the share that is right with its 95 % interval, their count."""

    score: float
    right: float
    low: float
    high: float
    count: int


def calibration(answers: Predictions, truth: np.ndarray, bins: int = 10) -> list[Bin]:
    """Bins of equally many answers, from the lowest score to the highest."""
    answered = np.flatnonzero(answers.best != NO_LANDMARK)
    order = answered[np.argsort(answers.confidence[answered], kind="stable")]
    right = answers.best == truth
    found = []
    for rows in np.array_split(order, min(bins, len(order)) or 1):
        if len(rows):
            low, high = wilson(int(right[rows].sum()), len(rows))
            share = float(right[rows].mean())
            found.append(Bin(float(answers.confidence[rows].mean()), share, low, high, len(rows)))
    return found


def calibration_error(bins: list[Bin]) -> float | None:
    """Mean distance of score and share over the answers (ECE); None where scores are no probabilities.

    Naeini et al., AAAI 2015.
    """
    if not bins or not within_unit(np.array([bin.score for bin in bins])):
        return None
    return sum(bin.count * abs(bin.score - bin.right) for bin in bins) / sum(bin.count for bin in bins)


def within_unit(scores: np.ndarray) -> bool:
    """Whether scores could be probabilities; True if there are none."""
    return bool(((scores >= 0) & (scores <= 1)).all())


def wilson(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a share. Wilson, JASA 1927."""
    z = 1.959964
    share = successes / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


@dataclass(frozen=True)
class LandmarkRow:
    """A landmark: its training photos, the queries that show it, how many are right, and wrong answers naming it."""

    landmark: int
    photos: int
    queries: int
    right: int
    false: int

    @property
    def share(self) -> float:
        """Number of its queries that are answered rightly."""
        return self.right / self.queries if self.queries else 0.0


def landmark_rows(answers: Predictions, truth: np.ndarray, photo_counts: Mapping[int, int]) -> list[LandmarkRow]:
    """Landmarks that a query shows or an answer names, the fewest training photos first."""
    best, right = answers.best, answers.best == truth
    known = sorted(set(np.concatenate([truth, best]).tolist()) - {NO_LANDMARK})
    rows = [
        LandmarkRow(
            landmark,
            photo_counts.get(landmark, 0),
            int((truth == landmark).sum()),
            int((right & (truth == landmark)).sum()),
            int((~right & (best == landmark)).sum()),
        )
        for landmark in known
    ]
    return sorted(rows, key=lambda row: (row.photos, row.landmark))


@dataclass(frozen=True)
class Difference:
    """Two runs on the same queries: second less first, with its paired 95 % interval, and the sign test.

    Attributes:
        only_first, only_second: Queries that are right in one run alone, among those that show a landmark.
        p: P-value of the exact sign test on these (McNemar): how likely so uneven a split is if both runs are as good.
    """

    queries: int
    first: float
    second: float
    low: float
    high: float
    only_first: int
    only_second: int
    p: float


def difference(first: Predictions, second: Predictions, truth: np.ndarray, metric: Metric = GAP) -> Difference:
    """Compare two runs' answers, aligned, with truth (n,), by a metric."""
    from scipy.stats import binomtest

    shows = truth != NO_LANDMARK
    a, b = ((answers.best == truth) & shows for answers in (first, second))
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    split = only_first + only_second
    return Difference(
        len(truth),
        metric.score(first, truth),
        metric.score(second, truth),
        *metric.paired_interval(first, second, truth),
        only_first,
        only_second,
        float(binomtest(only_first, split).pvalue) if split else 1.0,
    )
