"""Retrieval: the landmarks of the nearest training photos, by cosine of whitened descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmk.predictions import NO_LANDMARK, Predictions, best_of, from_pairs, largest
from lmk.retrieval.descriptors import blocks, normalize
from lmk.retrieval.whitening import POWER, SHRINKAGE, Whitening

NEAREST_OF_LANDMARK = 3
"""Photos of a landmark whose mean cosine counts beside that of the nearest one."""
NEAREST_DISTRACTORS = 5
"""Distractors whose mean cosine measures how much a photo looks like one."""
COSINE_POWER = 10
"""Exponent of the cosines that `powers` sums."""
NEIGHBOURS = 50
"""Training photos found for each query, nearest first."""
BLOCK_COSINES = 64_000_000
"""Cosines held at once: 256 MB."""
BLOCK_GALLERY = 100_000
"""Descriptors of a large gallery that are compared at once, in float32."""
HALF_FROM = 1 << 30
"""Size of a gallery, in bytes, from which on its descriptors are held in half precision."""


@dataclass(frozen=True)
class Options:
    """How landmarks are found by their photos; the defaults are what paid on dev (`python -m research.ablation`).

    Attributes:
        shrinkage, power: As for `Whitening.fit`; power 0 leaves descriptors as they are.
        score: A landmark's score from its photos' cosines: `max`, the nearest one's; `top`, the mean of that and of the
            mean of the three nearest; `powers`, the sum of their 10th powers.
        augment: Nearest photos of the same landmark that each gallery descriptor is averaged with.
        expand: Nearest gallery photos that each query is averaged with.
        weights: Factors of the recipes' descriptors where they are put side by side; None for equal ones.
        index_bias: Share of a gallery photo's likeness to distractors that is taken off its cosines: B of A - B - C,
            which takes it off whole (`lmk.retrieval.published`).
    """

    shrinkage: float = SHRINKAGE
    power: float = POWER
    score: Literal["max", "top", "powers"] = "top"
    augment: int = 0
    expand: int = 0
    weights: tuple[float, ...] | None = None
    index_bias: float = 0.0


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Nearest gallery photos of n queries: rows (n, m) int64, nearest first, and their cosines (n, m) float32."""

    rows: np.ndarray
    cosines: np.ndarray


def find_landmarks(
    ids: np.ndarray,
    gallery: np.ndarray,
    landmarks: np.ndarray,
    distractors: np.ndarray,
    queries: np.ndarray,
    options: Options,
    k: int = 20,
) -> tuple[Predictions, np.ndarray]:
    """The k best landmarks of each query by a gallery's photos, as the options say.

    Args:
        ids: (n,) str, of the queries.
        gallery, landmarks: (m, d) descriptors and (m,) int64.
        distractors: (r, d), of photos of no landmark; r may be 0.
        queries: (n, d).
        options: Whitening, scores, and what is averaged or taken off.
        k: Landmarks kept a query.

    Returns:
        The predictions, and (n,) float32, each query's mean cosine to the nearest distractors.
    """
    whiten = Whitening.fit(gallery, distractors, shrinkage=options.shrinkage, power=options.power)
    return rank_landmarks(ids, whiten(gallery), landmarks, whiten(distractors), whiten(queries), options, k)


def rank_landmarks(
    ids: np.ndarray,
    gallery: np.ndarray,
    landmarks: np.ndarray,
    distractors: np.ndarray,
    queries: np.ndarray,
    options: Options,
    k: int = 20,
) -> tuple[Predictions, np.ndarray]:
    """`find_landmarks` of descriptors that are whitened already; arguments and result as there."""
    likeness = mean_similarity(queries, distractors, NEAREST_DISTRACTORS)
    if options.augment:
        gallery = augment_gallery(gallery, landmarks, options.augment)
    if options.expand:
        queries = expand_queries(queries, gallery, options.expand)
    if gallery.nbytes > HALF_FROM:
        gallery = gallery.astype(np.float16)
    found = nearest(queries, gallery, NEIGHBOURS)
    if options.index_bias:
        bias = options.index_bias * mean_similarity(gallery, distractors, NEAREST_DISTRACTORS)
        found = Neighbours(found.rows, found.cosines - bias[found.rows])
    return landmark_predictions(ids, found, landmarks, k, options.score), likeness


def nearest(queries: np.ndarray, gallery: np.ndarray, count: int) -> Neighbours:
    """The `count` nearest gallery rows of each query by cosine, exact, in blocks; ties by row.

    queries (n, d) and gallery (m, d) are of length 1. A large gallery, or one in half precision, which may be a mapped
    file, is read once, block by block.
    """
    count = min(count, len(gallery))
    if gallery.dtype == np.float16 or len(gallery) > BLOCK_GALLERY:
        # Of a million rows, the memory for cosines has room for few queries, and products with few rows run at a third
        # of the speed (`python -m benchmarks neighbours`).
        return _nearest_in_blocks(queries, gallery, count)
    size = max(1, BLOCK_COSINES // max(1, len(gallery)))
    rows, cosines = [np.empty((0, count), np.int64)], [np.empty((0, count), np.float32)]
    for start in range(0, len(queries), size):
        similarity = queries[start : start + size] @ gallery.T
        best = largest(similarity, count)
        rows.append(best)
        cosines.append(np.take_along_axis(similarity, best, 1))
    return Neighbours(np.concatenate(rows), np.concatenate(cosines))


def _nearest_in_blocks(queries: np.ndarray, gallery: np.ndarray, count: int) -> Neighbours:
    rows = np.zeros((len(queries), 0), np.int64)
    cosines = np.zeros((len(queries), 0), np.float32)
    size = max(1, BLOCK_COSINES // BLOCK_GALLERY)
    for known in blocks(len(gallery), BLOCK_GALLERY):
        block = np.asarray(gallery[known]).astype(np.float32, copy=False).T
        merged = np.empty((len(queries), min(count, known.stop)), np.int64)
        scores = np.empty((len(queries), merged.shape[1]), np.float32)
        for asked in blocks(len(queries), size):
            similarity = queries[asked] @ block
            best = largest(similarity, min(count, similarity.shape[1]))
            every = np.concatenate([rows[asked], best + known.start], axis=1)
            likeness = np.concatenate([cosines[asked], np.take_along_axis(similarity, best, 1)], axis=1)
            kept = largest(likeness, merged.shape[1])
            merged[asked] = np.take_along_axis(every, kept, 1)
            scores[asked] = np.take_along_axis(likeness, kept, 1)
        rows, cosines = merged, scores
    return Neighbours(rows, cosines)


def landmark_predictions(
    ids: np.ndarray, neighbours: Neighbours, landmarks: np.ndarray, k: int, score: str = "max"
) -> Predictions:
    """The k best landmarks by their photos among the neighbours.

    Args:
        ids: (n,) str.
        neighbours: Neighbours of each query; their cosines are in [-1, 1].
        landmarks: (m,) int64, of each gallery row.
        k: Landmarks kept a query.
        score: As in `Options`. For `top` a photo that is not among the neighbours counts as near as the last of them.
    """
    width = neighbours.rows.shape[1]
    queries = np.arange(len(ids)).repeat(width)
    found = landmarks[neighbours.rows].ravel()
    order = np.lexsort((-neighbours.cosines.ravel(), found, queries))
    queries, found, cosines = queries[order], found[order], neighbours.cosines.ravel()[order].astype(np.float64)
    first = np.ones(len(order), dtype=bool)
    first[1:] = (queries[1:] != queries[:-1]) | (found[1:] != found[:-1])
    starts = np.flatnonzero(first)
    scores = cosines[starts]
    if score == "powers":
        scores = np.add.reduceat(np.maximum(cosines, 0) ** COSINE_POWER, starts) if len(starts) else scores
    elif score == "top":
        known, counts = np.unique(landmarks, return_counts=True)
        wanted = np.minimum(counts[np.searchsorted(known, found[starts])], NEAREST_OF_LANDMARK)
        place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        counted = place < NEAREST_OF_LANDMARK
        group = np.cumsum(first)[counted] - 1
        sums = np.bincount(group, weights=cosines[counted], minlength=len(starts))
        lacking = np.maximum(wanted - np.bincount(group, minlength=len(starts)), 0)
        furthest = neighbours.cosines.min(axis=1, initial=1).astype(np.float64)[queries[starts]]
        scores = (scores + (sums + lacking * furthest) / wanted) / 2
    return from_pairs(ids, queries[starts], found[starts], scores, k)


def augment_gallery(gallery: np.ndarray, landmarks: np.ndarray, count: int, alpha: float = 3.0) -> np.ndarray:
    """Each gallery descriptor, (m, d) of length 1, averaged with the `count` nearest of its own landmark.

    A photo weighs by its cosine to the power alpha, the descriptor itself by 1. Database-side augmentation:
    Arandjelović and Zisserman, CVPR 2012.
    """
    augmented = np.array(gallery)
    for landmark in np.unique(landmarks):
        rows = np.flatnonzero(landmarks == landmark)
        found = nearest(gallery[rows], gallery[rows], count + 1)  # the nearest one is the descriptor itself
        augmented[rows] = normalize(_weighted(found, gallery[rows], alpha))
    return augmented


def expand_queries(queries: np.ndarray, gallery: np.ndarray, count: int, alpha: float = 3.0) -> np.ndarray:
    """Each query, (n, d) of length 1, averaged with its `count` nearest gallery photos by their cosine's power.

    Alpha query expansion: Radenović et al., arXiv:1711.02512.
    """
    found = nearest(queries, gallery, count)
    return normalize(queries + _weighted(found, gallery, alpha))


def _weighted(found: Neighbours, gallery: np.ndarray, alpha: float) -> np.ndarray:
    weights = np.maximum(found.cosines, 0) ** alpha
    return np.einsum("nk,nkd->nd", weights, gallery[found.rows])


def with_logits(found: Predictions, heads: Predictions, exponent: float, k: int) -> Predictions:
    """Landmarks by log(sum of cosine powers * probability^exponent): both the photos and the head must agree.

    Args:
        found: Results of `landmark_predictions` with `powers`.
        heads: A head's probabilities in (0, 1] for the same queries; a landmark that it does not name has its smallest.
        exponent: Exponent of the probability, >= 0.
        k: Landmarks kept a query.

    Reference: the sum over neighbours that winners of 2019 and 2020 took, such as arXiv:2010.01650.
    """
    floor = np.where(np.isneginf(heads.scores), np.inf, heads.scores).min(axis=1)
    probability = np.repeat(np.where(np.isinf(floor), 1.0, floor)[:, None], found.landmarks.shape[1], axis=1)
    for column in range(heads.landmarks.shape[1]):
        same = (heads.landmarks[:, column, None] == found.landmarks) & (found.landmarks != NO_LANDMARK)
        probability = np.where(same, heads.scores[:, column, None], probability)
    empty = np.isneginf(found.scores)
    sums = np.log(np.maximum(np.where(empty, 1.0, found.scores), 1e-12))
    return best_of(found.ids, found.landmarks, sums + exponent * np.log(np.maximum(probability, 1e-12)), k)


def mean_similarity(queries: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """(n,) float32, mean cosine to the `count` nearest of `others`; 0 where there are none."""
    if len(others) == 0:
        return np.zeros(len(queries), np.float32)
    return nearest(queries, others, count).cosines.mean(axis=1)
