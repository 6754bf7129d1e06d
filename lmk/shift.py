"""Adversarial validation: whether dev queries resemble the test photos.

A small classifier is trained to separate dev queries from test photos by what needs no label, such as cosines to the
nearest gallery photo. Where it can, dev GAP says less about test; weighing dev queries by how much they look like test
photos corrects what these features show. Weights as in Shimodaira, 2000 (covariate shift).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from lmk.metrics import Metric
from lmk.predictions import Predictions

WARNING_AREA = 0.8
"""Area under the ROC curve from which on dev is said not to resemble the test photos: above the 0.73 to 0.74 of a
competition whose reweighted dev GAP stayed within 0.02, below the 0.82 of shifts made on purpose, which moved it by 0.1
and more (docs/journal/competitions.md)."""
PARTS = 5
"""Parts of the queries, each of which is separated by a classifier fitted on the others."""
LARGEST_WEIGHT = 10.0
"""Weight of a dev query, at the most, in means over all: a few queries should not decide a weighted GAP."""
KNOTS = 100
"""Quantiles that a feature is mapped to ranks by, so that its scale does not matter."""


@dataclass(frozen=True, eq=False)
class Shift:
    """How dev differs from test.

    Attributes:
        area: Area under the ROC curve of the classifier, cross-fitted: 0.5 where dev and test look alike, 1 where every
            query can be separated.
        metric: The metric's title.
        score: The metric on dev, in [0, 1].
        weighted: The same with each query weighing as much as it looks like a test photo.
        weights: (n,) float64, of the dev queries, in means over all; by `Metric.weighted` they reweight any stage.
    """

    area: float
    metric: str
    score: float
    weighted: float
    weights: np.ndarray

    @property
    def effective(self) -> float:
        """Number of dev queries that the weights amount to, (sum w)^2 / sum w^2."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())

    @property
    def warning(self) -> str | None:
        """One line for people where dev does not resemble the test photos, else None."""
        if self.area < WARNING_AREA:
            return None
        return (
            f"Dev does not resemble the test photos: a classifier separates them with a ROC area of {self.area:.2f} "
            f"(0.5: alike). Dev {self.metric} {self.score:.3f} is {self.weighted:.3f} where dev weighs as test does."
        )


def query_features(
    cosines: np.ndarray, likeness: np.ndarray, blended: Predictions, sources: list[Predictions]
) -> np.ndarray:
    """Features of each query that need no label, (n, 6) float64.

    Args:
        cosines: (n, >= 2), to the nearest gallery photos, nearest first.
        likeness: (n,), mean cosine to the nearest distractors.
        blended: The ensemble's answers.
        sources: What was blended, aligned with them.

    Returns:
        Best and second cosine, likeness to distractors, confidence, lead over the second landmark, and the share of
        sources that agree with the answer.
    """
    scores = np.where(np.isneginf(blended.scores), 0.0, blended.scores)
    second = scores[:, 1] if scores.shape[1] > 1 else np.zeros(len(scores))
    agree = np.mean([source.best == blended.best for source in sources], axis=0)
    return np.column_stack([cosines[:, 0], cosines[:, 1], likeness, scores[:, 0], scores[:, 0] - second, agree])


def measure_shift(
    dev: np.ndarray, test: np.ndarray, groups: np.ndarray, answers: Predictions, truth: np.ndarray, metric: Metric
) -> Shift:
    """Separate dev queries from test photos, cross-fitted, and weigh dev by what was found.

    Args:
        dev: (n, f) features of dev queries, by `query_features` or others that need no label.
        test: (m, f) features of test photos.
        groups: (n,) str, the photo behind each dev query: queries of one photo are held out together.
        answers: Answers of the dev queries, in the order of `dev`.
        truth: (n,) int64.
        metric: The competition's.

    Raises:
        ValueError: There are fewer than `PARTS` dev photos or test photos.
    """
    features = np.concatenate([dev, test])
    of_test = np.repeat([0, 1], [len(dev), len(test)])
    places = np.unique(groups, return_inverse=True)[1].ravel()
    photos = np.concatenate([places, places.max(initial=-1) + 1 + np.arange(len(test))])
    odds = np.zeros(len(features))
    splits = StratifiedGroupKFold(PARTS, shuffle=True, random_state=0)
    for fitted, asked in splits.split(features, of_test, photos):
        ranks = QuantileTransformer(n_quantiles=min(KNOTS, len(fitted)), output_distribution="normal", random_state=0)
        # Equal weight to both sides: an intercept should not depend on how many test photos there are.
        model = make_pipeline(ranks, LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
        model.fit(features[fitted], of_test[fitted])
        odds[asked] = model.decision_function(features[asked])
    weights = np.exp(odds[: len(dev)])  # p(test | x) / p(dev | x), which is p(x | test) / p(x | dev) at equal weights
    weights = np.minimum(weights / weights.mean(), LARGEST_WEIGHT)
    return Shift(
        area=float(roc_auc_score(of_test, odds)),
        metric=metric.title,
        score=metric.weighted(answers, truth, np.ones(len(truth))),
        weighted=metric.weighted(answers, truth, weights),
        weights=weights,
    )
