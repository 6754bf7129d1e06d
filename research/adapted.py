"""Descriptors adapted by labels, and re-ranking by the neighbours' neighbours: measured, and not what lmk does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmk.pipeline.described import Described
from lmk.predictions import Predictions, largest
from lmk.retrieval.descriptors import normalize
from lmk.retrieval.neighbours import NEIGHBOURS, Neighbours, Options, landmark_predictions, nearest
from lmk.retrieval.whitening import POWER, SHRINKAGE, Whitening

BETA = 0.15
"""Weight of a neighbour in a refined descriptor, times its cosine; the published value."""


def whitened(part: Described, share: float | None = None) -> Described:
    """A part by lmk's whitening, which sees no label, or with a share by `whitening_by_labels`."""
    whiten = Whitening.fit(part.known) if share is None else whitening_by_labels(part.known, part.landmarks, share)
    return replace(part, asked=whiten(part.asked), known=whiten(part.known))


def neighbours_of_neighbours(part: Described, count: int, k: int) -> Predictions:
    """kNN of a whitened part by cosines after `refined`, of query and gallery: the mean of refined query with gallery
    as it is, and of query as it is with refined gallery (Shao et al., "Global Features are All You Need",
    arXiv:2308.06954)."""
    gallery = part.known[: len(part.gallery)]
    cosines = refined(part.asked, part.known, count) @ gallery.T + part.asked @ refined(gallery, part.known, count).T
    cosines /= 2
    rows = largest(cosines, min(NEIGHBOURS, len(gallery)))
    found = Neighbours(rows, np.take_along_axis(cosines, rows, 1))
    return landmark_predictions(part.ids, found, part.landmarks, k, Options().score)


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


def whitening_by_labels(photos: np.ndarray, landmarks: np.ndarray, share: float) -> Whitening:
    """lmk's whitening of another scatter: a share of it within landmarks, the rest that of all photos.

    Directions in which photos of one landmark differ are shortened, as in linear discriminant analysis; both scatters
    have one trace, so that `SHRINKAGE` means the same. Within-class whitening: Hatch et al., Interspeech 2006.

    Args:
        photos: (n, d), gallery photos and then distractors.
        landmarks: (m,) int64, of the gallery photos.
        share: In [0, 1].
    """
    gallery = photos[: len(landmarks)]
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
