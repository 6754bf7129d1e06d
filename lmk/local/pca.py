"""PCA of descriptors: fewer dimensions, each of the same weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmk.util.errors import LmkError
from lmk.util.files import NPZ_DAMAGE, atomic_path

SMALLEST = 1e-9
"""Variances and lengths below are taken for it."""


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
        """The PCA of descriptors (n, c), at most c dimensions of it.

        Jégou and Chum, ECCV 2012, say why whitening helps: what many features share counts less.

        Raises:
            ValueError: There are fewer than two descriptors.
        """
        if len(descriptors) < 2:
            raise ValueError(f"PCA needs two descriptors at least, not {len(descriptors)}.")
        values = descriptors.astype(np.float64)
        mean = values.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(values - mean, rowvar=False).reshape(len(mean), len(mean)))
        return cls.of(mean, axes[:, ::-1].T, variances[::-1] if whiten else None, dimensions)

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
