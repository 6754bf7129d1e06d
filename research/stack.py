"""Stacking: a small model that says of each proposed landmark how likely it is right."""

from __future__ import annotations

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
