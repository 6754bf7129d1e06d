"""Whitening: PCA of the training photos' descriptors, shrunk towards the identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from lmk.retrieval.descriptors import BLOCK_ROWS, blocks, normalize

DIMENSIONS = 256
"""Dimensions kept of a large gallery's descriptors, for speed; of `MANY` descriptors or fewer all are kept."""
MANY = 20_000
POWER = 0.25
"""Exponent of the variance that whitening divides by: 0.5 makes all large directions equal, 0 changes nothing."""
SHRINKAGE = 10.0
"""Variance, in means over all directions, that a direction needs to count as a large one."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """PCA whitening learned on training photos, shrunk: descriptors (n, d) to (n, m), of length 1.

    Along a direction of variance v a descriptor is divided by (1 + v / floor)^power. Few photos do not determine the
    variance of most directions: these stay as they are, because cutting them off, as plain whitening does, costs most
    where photos are fewest. Jégou and Chum, ECCV 2012; the power as in Radenović et al., arXiv:1711.02512.

    Attributes:
        mean: (d,) float32.
        matrix: (d, m) float32.
    """

    mean: np.ndarray
    matrix: np.ndarray

    @classmethod
    def fit(cls, *parts: np.ndarray, shrinkage: float = SHRINKAGE, power: float = POWER) -> Whitening:
        """Learn from (n, d) descriptors, in one part or several.

        Of more than `MANY` descriptors, which are read a block at a time, m = `DIMENSIONS` directions are kept; else
        m = d.

        Args:
            parts: Descriptors, each (n, d).
            shrinkage: The floor, in means of the variances of all d directions.
            power: In [0, 0.5].
        """
        many = sum(map(len, parts)) > MANY
        mean, variances, directions = _principal_of_many(parts) if many else _principal(np.concatenate(parts))
        variances = np.maximum(variances, 0)
        floor = max(shrinkage * variances.sum() / len(mean), 1e-12)
        factors = (1 + variances / floor) ** -power
        if many:
            widest = np.argsort(-variances * factors**2, kind="stable")[:DIMENSIONS]
            return cls(mean, (directions[:, widest] * factors[widest]).astype(np.float32))
        # Directions that the photos do not span have no variance and keep their length: identity plus the changes.
        matrix = np.eye(len(mean)) + (directions * (factors - 1)) @ directions.T
        return cls(mean, matrix.astype(np.float32))

    def __call__(self, descriptors: np.ndarray) -> np.ndarray:
        """(n, m) float32, of length 1."""
        white = np.empty((len(descriptors), self.matrix.shape[1]), np.float32)
        for rows in blocks(len(descriptors), BLOCK_ROWS):
            white[rows] = normalize((descriptors[rows] - self.mean) @ self.matrix)
        return white


def _principal(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (d,) float32, variances and directions (d, m) of length 1 of (n, d) descriptors."""
    count, dimensions = descriptors.shape
    mean = descriptors.mean(axis=0)
    # The covariance of (n, d) is d x d; a singular value decomposition is cheaper where there are fewer rows than that.
    found = PCA(svd_solver="covariance_eigh" if count >= dimensions else "full")
    with np.errstate(invalid="ignore"):  # equal photos have no variance to take shares of, which is not used
        found.fit((descriptors - mean).astype(np.float64))
    variances = found.explained_variance_ * (count - 1) / count  # of the n rows, as for many photos
    return mean, variances, found.components_.T


def _principal_of_many(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variances and directions as `_principal`, of rows in several parts, which may be mapped files.

    The d x d covariance is summed in blocks in float64; scikit-learn's IncrementalPCA would only approximate it.
    """
    count = sum(map(len, parts))
    mean = (
        sum(part[rows].sum(axis=0, dtype=np.float64) for part in parts for rows in blocks(len(part), BLOCK_ROWS))
        / count
    )
    products = np.zeros((len(mean), len(mean)))
    for part in parts:
        for rows in blocks(len(part), BLOCK_ROWS):
            centred = part[rows] - mean
            products += centred.T @ centred
    return mean.astype(np.float32), *np.linalg.eigh(products / count)
