"""PCA of descriptors: fewer dimensions, each of the same weight.

scikit-learn fits it. What applies it is kept here: files of published models give mean and axes alone, and a stored PCA
is arrays, which need neither scikit-learn nor a pickle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmk.util.errors import LmkError
from lmk.util.files import NPZ_DAMAGE, atomic_path

SMALLEST = 1e-9
"""Smaller variances and lengths are replaced by it."""


@dataclass(frozen=True, eq=False)
class Pca:
    """Descriptors to their strongest directions, whitened if the axes are, and L2-normalised.

    Attributes:
        mean: (c,) float32, taken from each descriptor.
        axes: (c, d) float32, divided by the deviation along them where it whitens.
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, descriptors: np.ndarray, dimensions: int, whiten: bool = True) -> Pca:
        """The PCA of descriptors (n, c), at most n and at most c dimensions of it.

        Jégou and Chum, ECCV 2012, say why whitening helps: what many features share counts less.

        Raises:
            ValueError: There are fewer than two descriptors.
        """
        if len(descriptors) < 2:
            raise ValueError(f"PCA needs two descriptors at least, not {len(descriptors)}.")
        from sklearn.decomposition import PCA  # takes a second to load, and a stored PCA does without

        # There are many more descriptors than dimensions, so that the covariance is cheaper than an SVD.
        fitted = PCA(min(dimensions, *descriptors.shape), svd_solver="covariance_eigh").fit(
            descriptors.astype(np.float64)
        )
        variances = fitted.explained_variance_ if whiten else None
        return cls.of(fitted.mean_, fitted.components_, variances, dimensions)

    @classmethod
    def of(cls, mean: np.ndarray, rows: np.ndarray, variances: np.ndarray | None, dimensions: int) -> Pca:
        """A known PCA: mean (c,), axes in rows (c, c), the strongest first, and variances (c,) or None to not whiten.

        An axis may point either way; here its largest component is positive, so that a fit is the same everywhere.
        """
        axes = rows[:dimensions].T.astype(np.float64)
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        if variances is not None:
            axes = axes / np.sqrt(np.maximum(variances[:dimensions], SMALLEST))
        return cls(mean.astype(np.float32), axes.astype(np.float32))

    def __call__(self, descriptors: np.ndarray) -> np.ndarray:
        """(n, c) to (n, d) float32 of length 1."""
        values = (descriptors - self.mean) @ self.axes
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), SMALLEST)

    def save(self, path: Path) -> None:
        """Write an npz file without objects."""
        with atomic_path(path) as draft, draft.open("wb") as file:
            np.savez(file, allow_pickle=False, mean=self.mean, axes=self.axes)

    @classmethod
    def load(cls, path: Path) -> Pca:
        """Read what `save` wrote.

        Raises:
            LmkError: The file is absent or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(file["mean"], file["axes"])
        except NPZ_DAMAGE as error:
            raise LmkError(f"{path} holds no PCA ({error}). Remove it and run the command again.") from error
