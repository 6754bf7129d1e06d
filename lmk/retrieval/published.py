"""Retrieval as two winners of 2020 published it, by name: A - B - C, and cosines times logits.

Descriptors come as their networks give them, neither whitened nor averaged. Both were made for hundreds of thousands of
photos and for many non-landmarks; on a small competition `lmk.retrieval.neighbours` is better (docs/journal/ideas.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import QuantileTransformer

from lmk.predictions import NO_LANDMARK, Predictions, from_pairs
from lmk.retrieval.neighbours import mean_similarity, nearest, normalize
from lmk.retrieval.scores import ABC, PRODUCT

ABC_NEIGHBOURS = 3
"""Nearest photos of each model that count, in A."""
ABC_OF_GALLERY, ABC_OF_QUERY = 5, 10
"""Nearest non-landmarks whose mean cosine is a gallery photo's B, and a query's C."""
QUANTILES = 1000
"""Quantiles of the transform that makes every dimension of a descriptor a normal one."""

PRODUCT_NEIGHBOURS, PRODUCT_LOGITS = 5, 5
"""Nearest photos that count, and landmarks of the highest logits that keep theirs."""
COSINE_POWER, LOGIT_POWER = 9, 10
OTHER_LOGIT = 1e-8
"""Logit of a landmark outside the best five."""


@dataclass(frozen=True, eq=False)
class Described:
    """One network's descriptors of everything that retrieval looks at.

    Attributes:
        gallery: (m, d) float, of the labelled photos.
        distractors: (r, d) float, of photos of no landmark; r may be 0.
        queries: (n, d) float.
    """

    gallery: np.ndarray
    distractors: np.ndarray
    queries: np.ndarray

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> Described:
        """The same of every part, empty ones left as they are."""
        return Described(
            *(change(part) if len(part) else part for part in (self.gallery, self.distractors, self.queries))
        )


def side_by_side(models: Sequence[Described]) -> Described:
    """Several networks' descriptors, each of length 1, as one of length 1."""
    parts = [model.map(normalize) for model in models]
    return Described(
        *(
            np.concatenate([getattr(part, name) for part in parts], axis=1)
            for name in ("gallery", "distractors", "queries")
        )
    ).map(normalize)


def made_normal(model: Described) -> Described:
    """Each dimension mapped by its quantiles among the gallery to a normal distribution."""
    count = min(QUANTILES, len(model.gallery))
    transform = QuantileTransformer(n_quantiles=count, output_distribution="normal", random_state=0)
    transform.fit(model.gallery)
    return model.map(transform.transform)


def a_minus_b_minus_c(
    ids: np.ndarray,
    models: Sequence[Described],
    landmarks: np.ndarray,
    k: int = 20,
    quantiles: bool = True,
) -> Predictions:
    """The 1st place's ranking: likeness to a landmark's photos, less these photos' likeness to non-landmarks, less the
    query's own.

    A is the cosine of a query to a gallery photo, clamped to [0, 1]; B the gallery photo's mean cosine to the 5 nearest
    non-landmarks; C the query's mean cosine to its 10 nearest, on all models' descriptors side by side. A landmark's
    score is the sum of A - B over the 3 nearest photos of each model, less C.

    Args:
        ids: (n,) str, of the queries.
        models: Each network's descriptors.
        landmarks: (m,) int64, of the gallery photos.
        k: Landmarks kept a query.
        quantiles: Whether `made_normal` comes first, as published.

    Reference: arXiv:2010.01650; notebooks/blend_ranking.ipynb of psinger/kaggle-landmark-recognition-2020-1st-place.
    """
    shaped = [made_normal(model) if quantiles else model for model in models]
    rows, named, scores = [], [], []
    for model in shaped:
        part = model.map(normalize)
        bias = mean_similarity(part.gallery, part.distractors, ABC_OF_GALLERY)
        found = nearest(part.queries, part.gallery, ABC_NEIGHBOURS)
        # The gallery photo's own likeness to non-landmarks is taken off before photos are summed: it differs by photo.
        rows.append(np.arange(len(ids)).repeat(found.rows.shape[1]))
        named.append(landmarks[found.rows].ravel())
        scores.append((np.clip(found.cosines, 0, 1) - bias[found.rows]).astype(np.float64).ravel())
    pairs = _summed(np.concatenate(rows), np.concatenate(named), np.concatenate(scores))
    every = side_by_side(shaped)
    own = mean_similarity(every.queries, every.distractors, ABC_OF_QUERY).astype(np.float64)
    queries, labels, sums = pairs
    return from_pairs(ids, queries, labels, sums - own[queries], k)


def cosines_times_logits(
    ids: np.ndarray, model: Described, landmarks: np.ndarray, heads: Predictions, k: int = 20
) -> Predictions:
    """The 3rd place's ranking: log of the sum of cosine^9 * logit^10 over a query's 5 nearest photos.

    As published the product itself is the score, which reaches 1e-84 and ties where it underflows; its logarithm ranks
    the same.

    Args:
        ids: (n,) str, of the queries.
        model: Model of all networks `side_by_side`.
        landmarks: (m,) int64, of the gallery photos.
        heads: Answers of the heads for the same queries, their landmarks' logits: the networks' mean cosine in (0, 1].
            A landmark that is not among the best five has 1e-8.
        k: Landmarks kept a query.

    Reference: arXiv:2010.05350; the inference notebook of haqishen/Google-Landmark-Recognition-2020-3rd-Place-Solution.
    """
    part = model.map(normalize)
    found = nearest(part.queries, part.gallery, PRODUCT_NEIGHBOURS)
    rows = np.arange(len(ids)).repeat(found.rows.shape[1])
    # In float64: the ninth power of a small cosine can underflow in float32.
    powers = np.maximum(found.cosines, 0).astype(np.float64).ravel() ** COSINE_POWER
    queries, named, sums = _summed(rows, landmarks[found.rows].ravel(), powers)
    best = heads.align(ids).top(PRODUCT_LOGITS)
    same = (best.landmarks[queries] == named[:, None]) & (best.landmarks[queries] != NO_LANDMARK)
    logits = np.where(same, best.scores[queries], OTHER_LOGIT).max(axis=1)
    smallest = np.finfo(float).tiny
    scores = np.log(np.maximum(sums, smallest)) + LOGIT_POWER * np.log(np.maximum(logits, OTHER_LOGIT))
    return from_pairs(ids, queries, named, scores, k)


def _summed(rows: np.ndarray, landmarks: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (p,) of queries' rows and landmarks, added up where both are the same: rows, landmarks and sums (q,)."""
    # Sorted, equal pairs are neighbours, and one reduceat sums each run of them: no (queries, landmarks) array.
    order = np.lexsort((landmarks, rows))
    rows, landmarks, values = rows[order], landmarks[order], values[order]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (landmarks[1:] != landmarks[:-1])
    starts = np.flatnonzero(first)
    sums = np.add.reduceat(values, starts) if len(starts) else values
    return rows[starts], landmarks[starts], sums


Retrieve = Callable[[np.ndarray, Sequence[Described], np.ndarray, Predictions, int], Predictions]
"""Function from ids (n,) str of queries, the descriptors by each network, the gallery's landmarks (m,) int64, the same
queries' landmarks by logit, and k, to the k best landmarks of each query."""


def _abc(
    ids: np.ndarray, models: Sequence[Described], landmarks: np.ndarray, heads: Predictions, k: int
) -> Predictions:
    return a_minus_b_minus_c(ids, models, landmarks, k)


def _product(
    ids: np.ndarray, models: Sequence[Described], landmarks: np.ndarray, heads: Predictions, k: int
) -> Predictions:
    return cosines_times_logits(ids, side_by_side(models), landmarks, heads, k)


RETRIEVALS: Mapping[str, Retrieve] = {ABC: _abc, PRODUCT: _product}
"""The published forms by name; the first one does not look at logits."""
