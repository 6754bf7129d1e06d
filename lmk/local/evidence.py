"""Evidence: what verification found for each landmark that was proposed for each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from lmk.util.errors import LmkError
from lmk.util.files import NPZ_DAMAGE, atomic_path

NOT_COMPARED = -1
"""The inlier count of a comparison that was not made."""
BEST = 3
"""Photos whose mean count is given: one lucky photo moves it less than the largest count."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence of verification for the landmarks of `Predictions`, row by row; 0 where nothing was compared.

    Attributes:
        ids: (n,) str, the queries.
        landmarks: (n, k) int64, as in the predictions.
        inliers: (n, k) int32, the most inliers that one gallery photo has.
        mean_inliers: (n, k) float32, their mean over the best `BEST` of the photos compared.
        inlier_ratio: (n, k) float32, the best photo's inliers as a share of its putative matches.
        coverage: (n, k) float32, area of the best photo's inliers as a share of the query.
        second_best: (n, k) int32, inliers of the second best photo.
        agreeing: (n, k) int32, photos with at least `Settings.agreeing` inliers.
        compared: (n, k) int32, photos compared.
        best_photo: (n, k) str, the best photo's id, empty if no photo has inliers.
        counts: (n, k, g) int16, inliers of each gallery photo in the gallery's order, -1 where none was compared.
    """

    ids: np.ndarray
    landmarks: np.ndarray
    inliers: np.ndarray
    mean_inliers: np.ndarray
    inlier_ratio: np.ndarray
    coverage: np.ndarray
    second_best: np.ndarray
    agreeing: np.ndarray
    compared: np.ndarray
    best_photo: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def proposals(self) -> dict[str, np.ndarray]:
        """The (n, k) arrays that say how well evidence supports each landmark, by name."""
        names = ("inliers", "mean_inliers", "inlier_ratio", "coverage", "second_best", "agreeing")
        return {name: getattr(self, name) for name in names}

    def save(self, path: Path) -> None:
        """Write an npz file without objects."""
        with atomic_path(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **{name: getattr(self, name) for name in _names()})

    @classmethod
    def load(cls, path: Path) -> Evidence:
        """Read what `save` wrote.

        Raises:
            LmkError: The file is absent, damaged, or holds other arrays.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in _names()})
        except NPZ_DAMAGE as error:
            raise LmkError(f"{path} holds no evidence ({error}). Remove it and run the command again.") from error


def _names() -> list[str]:
    return [field.name for field in fields(Evidence)]


def gather(
    ids: np.ndarray,
    landmarks: np.ndarray,
    photos: Sequence[Sequence[str]],
    counts: np.ndarray,
    ratios: np.ndarray,
    coverages: np.ndarray,
    agreeing: int,
) -> Evidence:
    """Evidence from single comparisons.

    Args:
        ids: (n,) str.
        landmarks: (n, k) int64.
        photos: n * k galleries of at most g photo ids each, in the order of the comparisons.
        counts: (n, k, g) int16, inliers, `NOT_COMPARED` where no comparison was made.
        ratios, coverages: (n, k, g) float32.
        agreeing: Inliers from which on a photo agrees.
    """
    made = counts != NOT_COMPARED
    inliers = np.where(made, counts, 0).astype(np.int32)
    # Only counts are ranked; ratio, area and name are those of the photo with the most inliers, the first of equals.
    ranked = -np.sort(-inliers, axis=2)
    compared = made.sum(axis=2, dtype=np.int32)
    best = inliers.argmax(axis=2)[..., None]
    names = [
        gallery[place] if count else ""
        for gallery, place, count in zip(photos, best.ravel().tolist(), ranked[..., 0].ravel().tolist(), strict=True)
    ]
    return Evidence(
        ids=np.asarray(ids, dtype=str),
        landmarks=landmarks,
        inliers=ranked[..., 0],
        mean_inliers=(ranked[..., :BEST].sum(axis=2) / np.clip(compared, 1, BEST)).astype(np.float32),
        inlier_ratio=np.take_along_axis(ratios, best, 2)[..., 0],
        coverage=np.take_along_axis(coverages, best, 2)[..., 0],
        second_best=ranked[..., 1],
        agreeing=(inliers >= agreeing).sum(axis=2, dtype=np.int32),
        compared=compared,
        best_photo=np.array(names, dtype=str).reshape(landmarks.shape),
        counts=counts,
    )


def strongest(passes: Sequence[Evidence]) -> Evidence:
    """Evidence of several passes over the same proposals, each with other gallery photos: of every figure the maximum.

    The best photo, its ratio and its coverage are those of the pass with the most inliers, the first of equal ones;
    photos compared are added up, and the counts of all passes stand side by side.
    """
    inliers = np.stack([one.inliers for one in passes])
    best = inliers.argmax(axis=0)[None]

    def of_best(name: str) -> np.ndarray:
        return np.take_along_axis(np.stack([getattr(one, name) for one in passes]), best, 0)[0]

    def most(name: str) -> np.ndarray:
        return np.maximum.reduce([getattr(one, name) for one in passes])

    return replace(
        passes[0],
        **{name: most(name) for name in ("inliers", "mean_inliers", "second_best", "agreeing")},
        **{name: of_best(name) for name in ("inlier_ratio", "coverage", "best_photo")},
        compared=np.stack([one.compared for one in passes]).sum(axis=0, dtype=np.int32),
        counts=np.concatenate([one.counts for one in passes], axis=2),
    )
