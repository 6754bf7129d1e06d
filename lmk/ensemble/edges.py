"""Edges between photos: the probability that two photos show one place, as dev pairs determine it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

FEWEST = 30
"""Pairs from which on a probability is learned."""


@dataclass(frozen=True, eq=False)
class EdgeModel:
    """P(two photos show one place), by logistic regression on their cosine and the logarithms of inlier counts.

    Pairs that were not verified have a model of their own, on the cosine alone. In place of a model stands a constant
    probability where all pairs of dev are of one kind, and 0, hence no edge, where there are too few of them.
    """

    verified: Pipeline | float
    cosine: Pipeline | float

    @classmethod
    def fit(cls, cosines: np.ndarray, inliers: np.ndarray, same: np.ndarray) -> EdgeModel:
        """Learn from pairs of photos whose places are known.

        Args:
            cosines: (e,) in [-1, 1].
            inliers: (e, kinds) counts, NaN in rows of pairs that were not verified; there may be no kinds.
            same: (e,) bool, whether the two photos show one place.
        """
        verified = _verified(inliers)
        return cls(
            _fit(_features(cosines, inliers)[verified], same[verified]),
            _fit(cosines[:, None], same),
        )

    def __call__(self, cosines: np.ndarray, inliers: np.ndarray) -> np.ndarray:
        """(e,) float64 in [0, 1]; arguments as for `fit`."""
        verified = _verified(inliers)
        found = np.zeros(len(cosines))
        for rows, model, features in (
            (~verified, self.cosine, cosines[:, None]),
            (verified, self.verified, _features(cosines, inliers)),
        ):
            if isinstance(model, float):
                found[rows] = model
            elif rows.any():
                found[rows] = model.predict_proba(features[rows])[:, 1]
        return found


def edge_matrix(nodes: np.ndarray, probabilities: np.ndarray, size: int) -> sparse.csr_array:
    """Weights of the edges of queries, for `spread`.

    An edge weighs as much as it is likelier right than wrong, max(0, 2 p - 1): an edge between two places does as much
    harm as one within a place does good. Edges between queries count for both ends, whichever of them found the other.

    Args:
        nodes: (q, k) int64, the neighbours of each query; queries are the first q of all nodes.
        probabilities: (q, k) in [0, 1], that they show the query's place.
        size: Number of nodes.

    Returns:
        (q, size) CSR.
    """
    count, width = nodes.shape
    weights = np.maximum(0.0, 2 * probabilities - 1).ravel()
    rows = np.repeat(np.arange(count), width)
    kept = weights > 0
    matrix = sparse.csr_array((weights[kept], (rows[kept], nodes.ravel()[kept])), shape=(count, size))
    # An edge counts for both ends, whichever found the other; gallery photos and distractors ask nothing themselves, so
    # that only the block of queries is made symmetric. The maximum, not the sum: both directions are the same evidence.
    among = sparse.csr_array(matrix[:, :count])
    return sparse.csr_array(sparse.hstack([among.maximum(among.T), matrix[:, count:]]))


def _verified(inliers: np.ndarray) -> np.ndarray:
    return np.isfinite(inliers).all(axis=1) & (inliers.shape[1] > 0)


def _features(cosines: np.ndarray, inliers: np.ndarray) -> np.ndarray:
    return np.column_stack([cosines, np.log1p(inliers)])


def _fit(features: np.ndarray, same: np.ndarray) -> Pipeline | float:
    if len(same) < FEWEST:
        return 0.0
    if same.all() or not same.any():
        return float(same[0])
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(features, same)
