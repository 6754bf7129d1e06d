"""Retrieval: the landmarks of the nearest training photos, by cosine of whitened descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmk.predictions import Predictions, from_pairs, largest

DIMENSIONS = 128
"""Kept by whitening; with few photos more of them are noise."""
POWER = 0.25
"""Of the variances that whitening divides by: 0.5 makes all directions equal, 0 is a mere rotation."""
NEIGHBOURS = 50
"""Training photos that a query is given, nearest first."""
BLOCK_COSINES = 64_000_000
"""Cosines held at once: 256 MB."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """PCA whitening learned on training photos: descriptors (n, d) to (n, dimensions), of length 1.

    Jégou and Chum, ECCV 2012; the power as in Radenović et al., arXiv:1711.02512.
    """

    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def fit(cls, descriptors: np.ndarray, dimensions: int = DIMENSIONS, power: float = POWER) -> Whitening:
        """Learn from (n, d) descriptors; at most a third as many dimensions are kept: variances of more are noise."""
        mean = descriptors.mean(axis=0)
        centred = (descriptors - mean).astype(np.float64)
        covariance = centred.T @ centred / len(centred)
        variances, directions = np.linalg.eigh(covariance)
        kept = min(dimensions, max(1, len(descriptors) // 3), len(variances))
        variances, directions = variances[::-1][:kept], directions[:, ::-1][:, :kept]
        matrix = directions / np.maximum(variances, 1e-12) ** power
        return cls(mean, matrix.astype(np.float32))

    def __call__(self, descriptors: np.ndarray) -> np.ndarray:
        """(n, dimensions) float32, of length 1."""
        return normalize((descriptors - self.mean) @ self.matrix)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest of a gallery: rows (n, m) int64, nearest first, and their cosines (n, m) float32."""

    rows: np.ndarray
    cosines: np.ndarray


def normalize(descriptors: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; a row of zeros stays."""
    lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return (descriptors / np.maximum(lengths, 1e-12)).astype(np.float32)


def photo_descriptors(features: np.ndarray) -> np.ndarray:
    """Views' features (n, views, d) to descriptors (n, d) of length 1: the mean of the views' directions."""
    lengths = np.linalg.norm(features.astype(np.float32), axis=2, keepdims=True)
    return normalize((features / np.maximum(lengths, 1e-12)).mean(axis=1))


def nearest(queries: np.ndarray, gallery: np.ndarray, count: int) -> Neighbours:
    """The `count` nearest gallery rows of each query by cosine, exact, in blocks; ties by row.

    queries (n, d) and gallery (m, d) are of length 1.
    """
    count = min(count, len(gallery))
    size = max(1, BLOCK_COSINES // max(1, len(gallery)))
    rows, cosines = [np.empty((0, count), np.int64)], [np.empty((0, count), np.float32)]
    for start in range(0, len(queries), size):
        similarity = queries[start : start + size] @ gallery.T
        best = largest(similarity, count)
        rows.append(best)
        cosines.append(np.take_along_axis(similarity, best, 1))
    return Neighbours(np.concatenate(rows), np.concatenate(cosines))


def landmark_predictions(ids: np.ndarray, neighbours: Neighbours, landmarks: np.ndarray, k: int) -> Predictions:
    """The k best landmarks by their nearest photo: its cosine is the score, in [-1, 1].

    landmarks: (m,) int64, of each gallery row.
    """
    width = neighbours.rows.shape[1]
    queries = np.arange(len(ids)).repeat(width)
    found = landmarks[neighbours.rows].ravel()
    order = np.lexsort((-neighbours.cosines.ravel(), found, queries))
    queries, found, cosines = queries[order], found[order], neighbours.cosines.ravel()[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (queries[1:] != queries[:-1]) | (found[1:] != found[:-1])
    return from_pairs(ids, queries[first], found[first], cosines[first], k)


def mean_similarity(queries: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """(n,) float32, mean cosine to the `count` nearest of `others`; 0 where there are none."""
    if len(others) == 0:
        return np.zeros(len(queries), np.float32)
    return nearest(queries, others, count).cosines.mean(axis=1)
