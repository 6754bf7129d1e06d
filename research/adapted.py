"""Descriptors adapted by labels, and re-ranking by the neighbours' neighbours: measured, and not what lmk does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmk.predictions import NO_LANDMARK, Predictions, largest
from lmk.retrieval.descriptors import normalize
from lmk.retrieval.neighbours import NEIGHBOURS, Neighbours, Options, landmark_predictions, nearest, rank_landmarks
from lmk.retrieval.ridge import fit_ridge
from lmk.retrieval.whitening import POWER, SHRINKAGE, Whitening

BETA = 0.15
"""Weight of a neighbour in a refined descriptor, times its cosine; the published value."""

Adapt = Callable[[np.ndarray], np.ndarray]
"""Function from descriptors (n, d) to descriptors (n, d) of length 1."""


@dataclass(frozen=True, eq=False)
class Known:
    """A part's photos, by their descriptors.

    Attributes:
        ids, queries: (n,) str and (n, d), what is asked.
        gallery, landmarks: (m, d) and (m,) int64.
        distractors: (r, d).
    """

    ids: np.ndarray
    queries: np.ndarray
    gallery: np.ndarray
    landmarks: np.ndarray
    distractors: np.ndarray

    @property
    def photos(self) -> np.ndarray:
        """(m + r, d), all that is known."""
        return np.concatenate([self.gallery, self.distractors])

    def by(self, adapt: Adapt) -> Known:
        """The same photos with adapted descriptors."""
        return Known(self.ids, adapt(self.queries), adapt(self.gallery), self.landmarks, adapt(self.distractors))

    def whitened(self) -> Known:
        """By lmk's whitening, which sees no label."""
        return self.by(Whitening.fit(self.gallery, self.distractors))

    def whitened_by_labels(self, share: float) -> Known:
        """By `whitening_by_labels`."""
        return self.by(whitening_by_labels(self.gallery, self.landmarks, self.distractors, share))

    def neighbours(self, k: int) -> Predictions:
        """kNN as lmk scores it."""
        return rank_landmarks(
            self.ids, self.gallery, self.landmarks, self.distractors, self.queries, Options(), k
        )[0]  # fmt: skip

    def ridge(self, k: int) -> Predictions:
        """The ridge head."""
        none = np.full(len(self.distractors), NO_LANDMARK)
        return fit_ridge(self.photos, np.concatenate([self.landmarks, none]))(self.ids, self.queries, k)

    def neighbours_of_neighbours(self, count: int, k: int) -> Predictions:
        """kNN by cosines after `refined`, of query and gallery: the mean of refined query with gallery as it is, and of
        query as it is with refined gallery (Shao et al., "Global Features are All You Need", arXiv:2308.06954)."""
        photos = self.photos
        gallery = refined(self.gallery, photos, count)
        cosines = (refined(self.queries, photos, count) @ self.gallery.T + self.queries @ gallery.T) / 2
        rows = largest(cosines, min(NEIGHBOURS, len(gallery)))
        found = Neighbours(rows, np.take_along_axis(cosines, rows, 1))
        return landmark_predictions(self.ids, found, self.landmarks, k, Options().score)


def refined(descriptors: np.ndarray, photos: np.ndarray, count: int) -> np.ndarray:
    """Each descriptor (n, d) and its `count` nearest photos (m, d), summed by `BETA` and their cosines; of length 1.

    A descriptor that is among the photos is not its own neighbour.
    """
    found = nearest(descriptors, photos, count + 1)
    own = found.cosines > 1 - 1e-5
    # The nearest are first: without an own one among them the last is one too many.
    own[~own.any(axis=1), -1] = True
    weights = np.where(own, 0.0, BETA * np.maximum(found.cosines, 0))
    return normalize(descriptors + np.einsum("nk,nkd->nd", weights, photos[found.rows]))


def whitening_by_labels(gallery: np.ndarray, landmarks: np.ndarray, distractors: np.ndarray, share: float) -> Whitening:
    """lmk's whitening of another scatter: a share of it within landmarks, the rest that of all photos.

    Directions in which photos of one landmark differ are shortened, as in linear discriminant analysis; both scatters
    have one trace, so that `SHRINKAGE` means the same. Within-class whitening: Hatch et al., Interspeech 2006.
    """
    photos = np.concatenate([gallery, distractors])
    mean = photos.mean(axis=0)
    places = np.unique(landmarks, return_inverse=True)[1]
    sums = np.zeros((places.max() + 1, gallery.shape[1]))
    np.add.at(sums, places, gallery)
    within = gallery - (sums / np.bincount(places)[:, None])[places]
    parts = [(share, within), (1 - share, photos - mean)]
    rows = np.concatenate([one * np.sqrt(part / max((one**2).sum(), 1e-12)) for part, one in parts])
    _, lengths, directions = np.linalg.svd(rows, full_matrices=False)
    variances = lengths**2
    factors = (1 + variances / (SHRINKAGE * variances.sum() / len(mean))) ** -POWER
    matrix = np.eye(len(mean)) + (directions.T * (factors - 1)) @ directions
    return Whitening(mean.astype(np.float32), matrix.astype(np.float32))
