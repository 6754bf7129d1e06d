"""Fusion: recognition scores and the evidence of verification into one confidence.

The two published rules of 2018, and one that is learned on dev; `lmk.ensemble.fusion_rules.FUSIONS` names them. A rule
is one function: from dev queries and the truth about them to a function that fuses any queries. Evidence comes as plain
arrays in line with the predictions, so that this file does not depend on what computed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from lmk.ensemble.fusion_rules import PUBLISHED_SUM, Divisor
from lmk.predictions import NO_LANDMARK, Predictions, best_of
from lmk.util.errors import LmkError

SHARES = ("inlier_ratio", "coverage")
"""Evidence in [0, 1], whatever kind it is of; other evidence counts something."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """Queries with the landmarks proposed for them, and what verification found.

    Attributes:
        predictions: n queries, k landmarks each.
        inliers: (n, k) int, the most inliers of each proposal, 0 where nothing was compared.
        counts: (n, k, g) int, inliers of each gallery photo in the order of the comparisons, negative where none was
            compared.
        features: (n, k, f) float of `proposal_features`; None for the published rules, which need none.
    """

    predictions: Predictions
    inliers: np.ndarray
    counts: np.ndarray
    features: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Proposals:
        """The queries of `rows`, (m,) int or (n,) bool."""
        features = None if self.features is None else self.features[rows]
        return Proposals(self.predictions.take(rows), self.inliers[rows], self.counts[rows], features)


Fuse = Callable[[Proposals], Predictions]


def published_sum(predictions: Predictions, inliers: np.ndarray, largest: float) -> Predictions:
    """The 19th place's rule for the best landmark: 0.85 * inliers / `largest` + 0.15 * confidence.

    inliers: (n, k) of each proposal. The published code takes the largest count of all queries asked for `largest`, so
    that one lucky pair rescales every query; a constant from dev keeps a query's score its own.
    """
    confidence = 0.85 * inliers[:, 0] / max(largest, 1) + 0.15 * predictions.confidence
    answered = predictions.best != NO_LANDMARK
    return Predictions(predictions.ids, predictions.landmarks[:, :1], np.where(answered, confidence, -np.inf)[:, None])


def published_threshold(
    predictions: Predictions, counts: np.ndarray, inliers: int = 35, comparisons: int = 20
) -> Predictions:
    """The VGG16 solution's rule: no answer, unless one of the first comparisons has more than 35 inliers.

    counts: (n, k, g) int, inliers of each gallery photo of each proposal, in the order of the comparisons.
    """
    accepted = (counts[:, 0, :comparisons] > inliers).any(axis=1)
    best = np.where(accepted, predictions.best, NO_LANDMARK)
    confidence = np.where(accepted, predictions.confidence, -np.inf)
    return Predictions(predictions.ids, best[:, None], confidence[:, None])


@dataclass(frozen=True, eq=False)
class LearnedFusion:
    """P(this landmark is right) from a proposal's features, by logistic regression.

    Proposals are seen one by one, so the score of a query does not depend on other queries. On the few hundred queries
    that dev has, a forest and boosted trees in its place gave no better GAP.
    """

    model: Pipeline

    @classmethod
    def fit(cls, features: np.ndarray, right: np.ndarray) -> LearnedFusion:
        """Learn from the proposals of queries, (n, k, f), and whether each is right, (n, k) bool.

        Raises:
            LmkError: All are right, or none is, so that there is nothing to learn from.
        """
        features, right = features.reshape(-1, features.shape[2]), right.ravel()
        if right.all() or not right.any():
            raise LmkError(
                f"Dev has {right.sum()} right ones among {len(right)} proposals, from which no fusion can be learned. "
                f"Name a rule: --fusion {PUBLISHED_SUM}."
            )
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        return cls(model.fit(features, right))

    def __call__(self, predictions: Predictions, features: np.ndarray) -> Predictions:
        """The proposals of each query, re-ranked; features (n, k, f), scores in [0, 1]."""
        k = predictions.landmarks.shape[1]
        right = self.model.predict_proba(features.reshape(-1, features.shape[2]))[:, 1]
        return best_of(predictions.ids, predictions.landmarks, right.reshape(-1, k), k)


def proposal_features(
    predictions: Predictions,
    photo_counts: Mapping[int, int],
    query_features: np.ndarray,
    evidence: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Features of each proposed landmark, (n, k, f) float.

    Args:
        predictions: The ensemble's, whose landmarks are the proposals.
        photo_counts: A landmark to its number of training photos.
        query_features: (n, q) of each query as a whole, such as its similarity to distractors.
        evidence: By `name` or `kind:name`, (n, k) arrays >= 0; all but `SHARES` by their logarithm. Empty where nothing
            was verified.

    For scores and for inliers the lead over the best other landmark counts as much as the value. The scores of what was
    blended are apart (`source_features`): the blend has them, and a regression on a small dev fits their noise.
    """
    k = predictions.landmarks.shape[1]
    blended = np.where(np.isneginf(predictions.scores), 0.0, predictions.scores)
    columns = [blended, _lead(blended), np.tile(np.arange(k), (len(predictions), 1))]
    # Counts of photos and inliers span orders of magnitude, and one more of few says more: hence logarithms.
    photos = np.vectorize(lambda landmark: photo_counts.get(landmark, 0), otypes=[float])(predictions.landmarks)
    columns.append(np.log1p(photos))
    columns += [np.tile(column[:, None], (1, k)) for column in query_features.T]
    for name, values in evidence.items():
        values = values if name.rpartition(":")[2] in SHARES else np.log1p(values)
        columns += [values, _lead(values)]
    return np.stack(columns, axis=2).astype(np.float64)


def source_features(landmarks: np.ndarray, sources: Sequence[Predictions]) -> np.ndarray:
    """Features of each proposed landmark by what was blended: its score by each of s sources, its lead over the
    source's best other landmark, and how many sources have it first. Landmarks (n, k), features (n, k, 2 s + 1)."""
    columns: list[np.ndarray] = []
    named = np.zeros(landmarks.shape)
    for source in sources:
        columns += _scores_of(source, landmarks)
        named += source.landmarks[:, :1] == landmarks
    return np.stack([*columns, named], axis=2)


def _scores_of(source: Predictions, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A source's score of each proposal and its lead over the source's best other landmark.

    A landmark that the source does not name gets the lowest score that it gives the query.
    """
    # A source that does not name a landmark may still know it, below its list: the lowest score that it gives is the
    # closest that is known. 0 would set lists of large and of small scores apart by their scale.
    known = np.where(np.isneginf(source.scores), np.inf, source.scores).min(axis=1, initial=np.inf)
    lowest = np.where(np.isinf(known), 0.0, known)
    scores = np.tile(lowest[:, None], (1, landmarks.shape[1]))
    others = np.tile(lowest[:, None], (1, landmarks.shape[1]))
    for column in range(source.landmarks.shape[1]):
        value = np.where(np.isneginf(source.scores[:, column]), lowest, source.scores[:, column])[:, None]
        same = source.landmarks[:, column, None] == landmarks
        scores = np.where(same, value, scores)
        others = np.where(same, others, np.maximum(others, value))
    return scores, scores - others


def _lead(values: np.ndarray) -> np.ndarray:
    """(n, k), each value less the largest other one of its row; the value itself where it is alone."""
    if values.shape[1] == 1:
        return values
    # The lead of the largest is over the second; of any other over the largest, and negative.
    ordered = np.sort(values, axis=1)
    largest, second = ordered[:, -1:], ordered[:, -2:-1]
    return values - np.where(values == largest, second, largest)


def learned(dev: Proposals, truth: np.ndarray, divisor: Divisor = "dev") -> Fuse:
    """`LearnedFusion` of dev; what it says of dev itself is to be cross-fitted. `divisor` makes no difference.

    Raises:
        LmkError: Dev has right proposals only, or none.
        ValueError: The proposals have no features.
    """
    fusion = LearnedFusion.fit(_features_of(dev), _right(dev, truth))
    return lambda asked: fusion(asked.predictions, _features_of(asked))


def _features_of(proposals: Proposals) -> np.ndarray:
    if proposals.features is None:
        raise ValueError("The learned rule needs the features of the proposals.")
    return proposals.features


def _right(proposals: Proposals, truth: np.ndarray) -> np.ndarray:
    """(n, k) bool, which proposals are right."""
    landmarks = proposals.predictions.landmarks
    return (landmarks == truth[:, None]) & (landmarks != NO_LANDMARK)


def sum_of_both(dev: Proposals, truth: np.ndarray, divisor: Divisor = "dev") -> Fuse:
    """`published_sum`, with the most inliers of a first proposal on dev, or among the queries asked, as the divisor."""

    def fuse(asked: Proposals) -> Predictions:
        known = dev if divisor == "dev" else asked
        return published_sum(asked.predictions, asked.inliers, float(known.inliers[:, 0].max(initial=1)))

    return fuse


def threshold(dev: Proposals, truth: np.ndarray, divisor: Divisor = "dev") -> Fuse:
    """`published_threshold`; neither dev nor `divisor` makes a difference."""
    return lambda asked: published_threshold(asked.predictions, asked.counts)
