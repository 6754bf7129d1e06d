"""Stacking: a small model that says of each proposed landmark how likely it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lmk.predictions import Predictions, best_of

Kind = Literal["logistic", "boosted"]


class Stack:
    """P(this landmark is right) from a proposal's features: scores, leads, agreement, likeness, evidence.

    `logistic` is the model of `fuse.LearnedFusion`; `boosted` are shallow gradient-boosted trees, few and slow, since
    dev has hundreds of queries and no more. Features as `fuse.proposal_features` and `source_features` make them.
    """

    def __init__(self, kind: Kind, features: np.ndarray, right: np.ndarray):
        """Learn from the proposals of queries, (n, k, f), and whether each is right, (n, k) bool, some and not all."""
        if kind == "boosted":
            self.model = HistGradientBoostingClassifier(
                learning_rate=0.05, max_iter=80, max_leaf_nodes=6, min_samples_leaf=15, l2_regularization=1.0,
                early_stopping=False, random_state=0,
            )  # fmt: skip
        else:
            self.model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        self.model.fit(features.reshape(-1, features.shape[2]), right.ravel())

    def __call__(self, predictions: Predictions, features: np.ndarray) -> Predictions:
        """The proposals of each query, re-ranked; features (n, k, f), scores in [0, 1]."""
        k = predictions.landmarks.shape[1]
        right = self.model.predict_proba(features.reshape(-1, features.shape[2]))[:, 1]
        return best_of(predictions.ids, predictions.landmarks, right.reshape(-1, k), k)


def source_features(landmarks: np.ndarray, sources: Sequence[Predictions]) -> np.ndarray:
    """Features of each proposed landmark by what was blended: its score by each of s sources, its lead over the
    source's best other landmark, and how many sources have it first. Landmarks (n, k), features (n, k, 2 s + 1)."""
    columns, named = [], np.zeros(landmarks.shape)
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
