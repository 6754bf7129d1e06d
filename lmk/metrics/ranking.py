"""GAP of the Google Landmark Recognition competitions, which ranks all queries together; exact, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lmk.metrics.metric import Metric, rows_of, shows_landmark
from lmk.predictions import NO_LANDMARK, Predictions


def gap(ids: np.ndarray, truth: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> float:
    """Global average precision (GAP, µAP) with one prediction per query.

    All queries share one ranking, so a confident answer to a distractor costs
    every correct answer that ranks below it.

    Args:
        ids: (n,) str, one a query.
        truth: (n,) or (n, m) int, landmarks shown by each query; `NO_LANDMARK` for none and as padding.
        predicted: (n,) int, landmark answered, `NO_LANDMARK` for no answer.
        confidence: (n,) float, of any scale, higher first; ties by id, then by landmark, as the hosts rank them.

    Returns:
        GAP in [0, 1].

    Raises:
        ValueError: No query shows a landmark, so GAP has no denominator; or an answer's confidence is NaN.

    Reference: Perronnin et al., CVPR 2009; Weyand et al., arXiv:2004.01804.
    """
    correct, num_landmarks = ranked_hits(ids, truth, predicted, confidence)
    if num_landmarks == 0:
        raise ValueError(f"GAP is undefined: none of the {len(truth)} queries shows a landmark.")
    return average_precision(correct, num_landmarks)


def average_precision(correct: np.ndarray, num_landmarks: int) -> float:
    """GAP of a ranking: (n,) bool, whether the answer at each rank is right, best rank first."""
    ranks = np.flatnonzero(correct) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / num_landmarks)


def ranked_hits(
    ids: np.ndarray, truth: np.ndarray, predicted: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, int]:
    """Whether each answer is right, in the order of GAP's ranking, and how many queries show a landmark.

    Arguments as for `gap`. Returns (number of answers,) bool, and the denominator M.
    """
    truth = np.asarray(truth).reshape(len(ids), -1)
    rows = rank(ids, predicted, confidence)
    correct = (truth[rows] == np.asarray(predicted)[rows, None]).any(axis=1)
    return correct, int((truth != NO_LANDMARK).any(axis=1).sum())


def rank(ids: np.ndarray, predicted: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Rows of the answers, best first: by confidence descending, then id, then landmark; no answer, no row.

    Raises:
        ValueError: An answer's confidence is NaN, which has no place in a ranking.
    """
    ids, predicted, confidence = np.asarray(ids), np.asarray(predicted), np.asarray(confidence)
    answered = np.flatnonzero(predicted != NO_LANDMARK)
    score = confidence[answered]
    if np.isnan(score).any():
        raise ValueError(f"{np.isnan(score).sum()} confidences are NaN, which has no place in a ranking.")
    order = np.argsort(-score)
    rows, score = answered[order], score[order]
    tied = np.zeros(len(rows), bool)  # comparing ids is slow: only rows of equal confidence are put in order by it
    tied[1:] = score[1:] == score[:-1]
    tied[:-1] |= tied[1:]
    among = rows[tied]
    rows[tied] = among[np.lexsort((predicted[among], ids[among], -confidence[among]))]
    return rows


def gap_interval(correct: np.ndarray, shows_landmark: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of GAP over queries.

    Args:
        correct: (n,) bool, one a query in ranking order; a query without an answer is False and stands last.
        shows_landmark: (n,) bool, in the same order.
        draws: Number of resamples.
        seed: Random seed of the resampling.

    Returns:
        The 2.5 % and the 97.5 % quantile of GAP over the resamples, in [0, 1].
    """
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        counts = np.bincount(rng.integers(0, len(correct), len(correct)), minlength=len(correct))
        num_landmarks = int(counts[shows_landmark].sum())
        if num_landmarks:
            values.append(average_precision(np.repeat(correct, counts), num_landmarks))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def top1_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the queries that show a landmark whose answer is right, in [0, 1]; arguments as for `gap`.

    Raises:
        ValueError: No query shows a landmark.
    """
    truth = np.asarray(truth).reshape(len(predicted), -1)
    shows = (truth != NO_LANDMARK).any(axis=1)
    if not shows.any():
        raise ValueError("Top-1 accuracy is undefined: no query shows a landmark.")
    predicted = np.asarray(predicted)[:, None]
    return float(((truth == predicted) & (predicted != NO_LANDMARK))[shows].any(axis=1).mean())


class GlobalAveragePrecision(Metric):
    """GAP as a `Metric`; `gap` says how it ranks."""

    name, title = "gap", "GAP"

    def rank(self, answers: Predictions) -> np.ndarray:
        """(n,) int, rows of the answers, best first, then those of queries without an answer."""
        order = rank(answers.ids, answers.best, answers.confidence)
        return np.concatenate([order, np.flatnonzero(answers.best == NO_LANDMARK)])

    def resampled(self, answers: Predictions, truth: np.ndarray) -> Callable[[np.ndarray], float]:
        """As `Metric.resampled`: a query that is drawn several times stands several times in the ranking."""
        order, shows = self.rank(answers), shows_landmark(truth)
        best = answers.best[order, None]
        correct = ((rows_of(truth)[order] == best) & (best != NO_LANDMARK)).any(axis=1)

        def value(counts: np.ndarray) -> float:
            num_landmarks = int(counts[shows].sum())
            return average_precision(np.repeat(correct, counts[order]), num_landmarks) if num_landmarks else 0.0

        return value

    def weighted(self, answers: Predictions, truth: np.ndarray, weights: np.ndarray) -> float:
        """As `Metric.weighted`; with whole numbers about GAP of a list that repeats its queries."""
        total = weights[shows_landmark(truth)].sum()
        if total == 0:
            return 0.0
        order = rank(answers.ids, answers.best, answers.confidence)
        share = weights[order]
        right = share * (rows_of(truth)[order] == answers.best[order, None]).any(axis=1)
        precision = np.cumsum(right) / np.maximum(np.cumsum(share), 1e-300)
        return float((precision * right).sum() / total)


GAP = GlobalAveragePrecision()
