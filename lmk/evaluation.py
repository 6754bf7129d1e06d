"""Predictions scored by a metric, by usage and on landmark photos alone; and the check of a submission."""

from dataclasses import asdict, dataclass

import numpy as np

from lmk.data.tables import Solution
from lmk.metrics import Metric, top1_accuracy
from lmk.metrics.metric import DRAWS, shows_landmark
from lmk.metrics.ranking import GAP
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.arrays import positions
from lmk.util.errors import LmkError


@dataclass(frozen=True)
class Evaluation:
    """A submission's score by a metric, GAP unless another one is asked for.

    Attributes:
        gap: The metric over all queries but the ignored ones, in [0, 1].
        gap_public, gap_private: The metric of each list by itself, as the hosts rank them; None where it shows no
            landmark.
        gap_landmark_only: The metric over the queries that show a landmark: what recognition alone is worth.
        top1: Share of those whose answer is right.
        low, high: 95 % bootstrap interval of `gap` over queries.
        queries, landmark_queries: How many there are, and how many show a landmark.
        metric: The metric's name.
    """

    gap: float
    gap_public: float | None
    gap_private: float | None
    gap_landmark_only: float
    top1: float
    low: float
    high: float
    queries: int
    landmark_queries: int
    metric: str = GAP.name

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Plain values by name, for JSON; the metric's values are named after it."""
        return {name.replace("gap", self.metric, 1): value for name, value in asdict(self).items()}


def evaluate(
    predictions: Predictions, solution: Solution, draws: int = DRAWS, seed: int = 0, metric: Metric = GAP
) -> Evaluation:
    """Score predictions against a solution; a query that is not answered counts in the metric's denominator alone.

    Raises:
        LmkError: An answer's id is not in the solution, or no query shows a landmark.
    """
    _check_ids(predictions, solution)
    counted = solution.usage != "Ignored"
    ids, truth, usage = solution.ids[counted], solution.truth[counted], solution.usage[counted]
    answers = predictions.align(ids).top(metric.depth)
    shows = shows_landmark(truth)
    if not shows.any():
        raise LmkError(
            f"None of the {len(ids)} queries in the solution shows a landmark, so {metric.title} has no denominator."
        )

    def part(rows: np.ndarray) -> float | None:
        return metric.score(answers.take(rows), truth[rows]) if shows[rows].any() else None

    low, high = metric.interval(answers, truth, draws, seed)
    return Evaluation(
        gap=metric.score(answers, truth),
        gap_public=part(usage == "Public"),
        gap_private=part(usage == "Private"),
        gap_landmark_only=metric.score(answers.take(shows), truth[shows]),
        top1=top1_accuracy(truth, answers.best),
        low=low,
        high=high,
        queries=len(ids),
        landmark_queries=int(shows.sum()),
        metric=metric.name,
    )


def gap_of(predictions: Predictions, truth: np.ndarray) -> float:
    """GAP of predictions with (n,) or (n, m) truth in the same order; 0 if no query shows a landmark."""
    return GAP.score(predictions, truth)


def gap_and_interval(
    predictions: Predictions, truth: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """GAP and its 95 % bootstrap interval over queries; arguments as for `gap_of`; zeros if none shows a landmark."""
    return GAP.score(predictions, truth), *GAP.interval(predictions, truth, draws, seed)


def paired_interval(
    first: Predictions, second: Predictions, truth: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of GAP(second) - GAP(first) over the same queries; arguments as for `gap_of`."""
    return GAP.paired_interval(first, second, truth, draws, seed)


def check_submission(predictions: Predictions, sample_ids: np.ndarray) -> bool:
    """Refuse a submission that the hosts would refuse or score wrongly.

    Returns:
        Whether the rows stand in the sample's order; the hosts take another, `predictions.in_order` writes it.

    Raises:
        LmkError: An id of the sample is missing, one is not in it or stands twice, or a score is not finite.
    """
    absent = np.setdiff1d(sample_ids, predictions.ids)
    if len(absent):
        raise LmkError(f"{len(absent)} ids of the sample are missing; first: '{absent[0]}'. Write a row for each.")
    foreign = np.setdiff1d(predictions.ids, sample_ids)
    if len(foreign):
        raise LmkError(f"{len(foreign)} ids are not in the sample; first: '{foreign[0]}'. Is it another competition's?")
    if len(predictions) != len(sample_ids):
        raise LmkError(f"{len(predictions)} rows answer {len(sample_ids)} ids: some stand twice. Write a row for each.")
    answered = predictions.best != NO_LANDMARK
    if not np.isfinite(predictions.confidence[answered]).all():
        raise LmkError("Some scores are not finite, so they have no rank.")
    return bool((predictions.ids == sample_ids).all())


def _check_ids(predictions: Predictions, solution: Solution) -> None:
    answered = predictions.ids[predictions.best != NO_LANDMARK]
    foreign = answered[positions(solution.ids, answered) < 0]
    if len(foreign):
        raise LmkError(f"{len(foreign)} answered ids are not in the solution; first: '{foreign[0]}'.")
