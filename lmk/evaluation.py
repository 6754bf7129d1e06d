"""Predictions and truth to GAP with its interval, by usage, on landmark photos alone; and the check of a submission."""

from dataclasses import asdict, dataclass

import numpy as np

from lmk.data.tables import Solution
from lmk.metrics import average_precision, gap_interval, rank, top1_accuracy
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.arrays import positions
from lmk.util.errors import LmkError

BOOTSTRAP_DRAWS = 1000


@dataclass(frozen=True)
class Evaluation:
    """What a submission is worth.

    Attributes:
        gap: GAP over all queries but the ignored ones, in [0, 1].
        gap_public, gap_private: GAP of each list by itself, as the hosts rank them; None where it shows no landmark.
        gap_landmark_only: GAP over the queries that show a landmark: what recognition alone is worth.
        top1: Share of those whose answer is right.
        low, high: 95 % bootstrap interval of `gap` over queries.
        queries, landmark_queries: How many there are, and how many show a landmark.
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

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain numbers by name, for JSON."""
        return asdict(self)


def evaluate(predictions: Predictions, solution: Solution, draws: int = BOOTSTRAP_DRAWS, seed: int = 0) -> Evaluation:
    """Score predictions against a solution; a query that is not answered counts in GAP's denominator alone.

    Raises:
        LmkError: An answer's id is not in the solution, or no query shows a landmark.
    """
    _check_ids(predictions, solution)
    counted = solution.usage != "Ignored"
    ids, truth, usage = solution.ids[counted], solution.truth[counted], solution.usage[counted]
    answers = predictions.align(ids).top(1)
    shows = (truth != NO_LANDMARK).any(axis=1)
    if not shows.any():
        raise LmkError(f"None of the {len(ids)} queries in the solution shows a landmark, so GAP has no denominator.")
    correct, order = _ranking(answers, truth)
    low, high = gap_interval(correct, shows[order], draws, seed)
    return Evaluation(
        gap=average_precision(correct, int(shows.sum())),
        gap_public=_gap_of(answers, truth, usage == "Public"),
        gap_private=_gap_of(answers, truth, usage == "Private"),
        gap_landmark_only=average_precision(correct[shows[order]], int(shows.sum())),
        top1=top1_accuracy(truth, answers.best),
        low=low,
        high=high,
        queries=len(ids),
        landmark_queries=int(shows.sum()),
    )


def gap_of(predictions: Predictions, truth: np.ndarray) -> float:
    """GAP of predictions with (n,) or (n, m) truth in the same order; 0 if no query shows a landmark."""
    truth = _rows(truth)
    value = _gap_of(predictions, truth, np.ones(len(predictions), dtype=bool))
    return 0.0 if value is None else value


def gap_and_interval(
    predictions: Predictions, truth: np.ndarray, draws: int = BOOTSTRAP_DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """GAP and its 95 % bootstrap interval over queries; arguments as for `gap_of`; zeros if none shows a landmark."""
    truth = _rows(truth)
    shows = (truth != NO_LANDMARK).any(axis=1)
    if not shows.any():
        return 0.0, 0.0, 0.0
    correct, order = _ranking(predictions, truth)
    return average_precision(correct, int(shows.sum())), *gap_interval(correct, shows[order], draws, seed)


def paired_interval(
    first: Predictions, second: Predictions, truth: np.ndarray, draws: int = BOOTSTRAP_DRAWS, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of GAP(second) - GAP(first) over the same queries; arguments as for `gap_of`."""
    truth = _rows(truth)
    shows = (truth != NO_LANDMARK).any(axis=1)
    rankings = [_ranking(predictions, truth) for predictions in (first, second)]
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(draws):
        counts = np.bincount(rng.integers(0, len(truth), len(truth)), minlength=len(truth))
        num_landmarks = int(counts[shows].sum())
        if num_landmarks:
            a, b = (average_precision(np.repeat(hits, counts[order]), num_landmarks) for hits, order in rankings)
            differences.append(b - a)
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


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


def _rows(truth: np.ndarray) -> np.ndarray:
    """(n,) or (n, m) truth as (n, m)."""
    truth = np.asarray(truth)
    return truth[:, None] if truth.ndim == 1 else truth


def _ranking(answers: Predictions, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hits (n,) and rows (n,) in ranking order; queries without an answer last."""
    order = rank(answers.ids, answers.best, answers.confidence)
    order = np.concatenate([order, np.flatnonzero(answers.best == NO_LANDMARK)])
    best = answers.best[order, None]
    return ((truth[order] == best) & (best != NO_LANDMARK)).any(axis=1), order


def _gap_of(answers: Predictions, truth: np.ndarray, rows: np.ndarray) -> float | None:
    num_landmarks = int((truth[rows] != NO_LANDMARK).any(axis=1).sum())
    if not num_landmarks:
        return None
    return average_precision(_ranking(answers.take(rows), truth[rows])[0], num_landmarks)
