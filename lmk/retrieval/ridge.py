"""A linear head in closed form: ridge regression of descriptors onto the landmarks.

Photos of a landmark have a target of 1 for it and 0 for every other one, photos of no landmark a row of zeros, so that
what looks like them scores low for all landmarks. Hoerl and Kennard, 1970; for recognition Rifkin et al., 2003.

Answers for photos that are held out need no training a fold: their rows are removed from one factorisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from lmk.predictions import NO_LANDMARK, Predictions, largest
from lmk.retrieval.descriptors import blocks

PENALTY = 0.1
"""Added to the diagonal of the normal equations of descriptors of length 1."""
BLOCK_SCORES = 32_000_000
"""Scores held at once: 256 MB in float64."""
BLOCK_ROWS = 20_000
"""Descriptors summed into the normal equations at once."""


@dataclass(frozen=True, eq=False)
class Ridge:
    """A ridge head: scores are descriptors (n, d) times `matrix`.

    Attributes:
        matrix: (d, c) float32.
        classes: (c,) int64, the landmark of each column, ascending.
    """

    matrix: np.ndarray
    classes: np.ndarray

    def __call__(self, ids: np.ndarray, descriptors: np.ndarray, k: int) -> Predictions:
        """The k best landmarks of queries, (n,) str with descriptors (n, d); scores are about 0 to 1, unbounded."""
        parts = []
        count = min(k, len(self.classes))
        for rows in blocks(len(ids), max(1, BLOCK_SCORES // len(self.classes))):
            scores = descriptors[rows].astype(np.float32) @ self.matrix
            places = largest(scores, count)
            parts.append((self.classes[places], np.take_along_axis(scores, places, 1)))
        landmarks = np.concatenate([part[0] for part in parts]) if parts else np.empty((0, count), np.int64)
        values = np.concatenate([part[1] for part in parts]) if parts else np.empty((0, count))
        return Predictions(ids, landmarks, values).top(k)


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Sums over photos from which a ridge head follows: X'X (d, d) and X'Y (d, c), both float64.

    Sums of two sets of photos add up, and those of held-out photos can be taken off: a fold costs one factorisation of
    (d, d), however many photos there are. 81,313 landmarks by 256 dimensions are 167 MB.
    """

    products: np.ndarray
    targets: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, descriptors: np.ndarray, landmarks: np.ndarray, classes: np.ndarray) -> NormalEquations:
        """Sum over photos in blocks.

        Args:
            descriptors: (n, d), of any float type; may be a mapped file, which is read once.
            landmarks: (n,) int64, among `classes` or `NO_LANDMARK`.
            classes: (c,) int64, ascending.
        """
        width = descriptors.shape[1]
        products, targets = np.zeros((width, width)), np.zeros((len(classes), width))
        for rows in blocks(len(descriptors), BLOCK_ROWS):
            block = np.asarray(descriptors[rows], dtype=np.float64)
            products += block.T @ block
            # X'Y is a sum of descriptors by landmark: Y, which has n x c numbers, is never made. Sums over runs of
            # sorted rows take half the time of `np.add.at`.
            order = np.argsort(landmarks[rows], kind="stable")
            order = order[landmarks[rows][order] != NO_LANDMARK]
            present, first = np.unique(landmarks[rows][order], return_index=True)
            targets[np.searchsorted(classes, present)] += np.add.reduceat(block[order], first, axis=0)
        return cls(products, targets.T, classes)

    def __add__(self, other: NormalEquations) -> NormalEquations:
        """The sums over the photos of both."""
        return NormalEquations(self.products + other.products, self.targets + other.targets, self.classes)

    def __sub__(self, other: NormalEquations) -> NormalEquations:
        """The sums without the photos of `other`; a landmark that is left without photos keeps a column of zeros."""
        return NormalEquations(self.products - other.products, self.targets - other.targets, self.classes)

    def solve(self, penalty: float = PENALTY, known: np.ndarray | None = None) -> Ridge:
        """The head; known: (c,) bool, the landmarks that it may answer, None for all."""
        system = self.products + penalty * np.eye(len(self.products))
        columns = slice(None) if known is None else known
        matrix = cho_solve(cho_factor(system, overwrite_a=True), self.targets[:, columns])
        return Ridge(matrix.astype(np.float32), self.classes[columns])


@dataclass(frozen=True, eq=False)
class LeaveOut:
    """One factorisation of a gallery from which blocks of photos are removed in closed form.

    With K = XX' + penalty * I and C its inverse, the dual solution of ridge regression is A = C Y. Without the rows H
    it is A_R - C_RH (C_HH)^-1 A_H for the rows R that remain: a system as large as the block that is removed, not as
    the gallery. Memory: the square of the number of photos.

    Attributes:
        descriptors: (n, d) float64.
        landmarks: (n,) int64, `NO_LANDMARK` for a distractor.
        penalty: As for `fit_ridge`.
    """

    descriptors: np.ndarray
    landmarks: np.ndarray
    penalty: float = PENALTY

    @cached_property
    def classes(self) -> np.ndarray:
        """(c,) int64, the landmarks, ascending."""
        return np.unique(self.landmarks[self.landmarks != NO_LANDMARK])

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        """C (n, n) and A (n, c)."""
        system = self.descriptors @ self.descriptors.T + self.penalty * np.eye(len(self.landmarks))
        inverse = cho_solve(cho_factor(system), np.eye(len(system)))
        return inverse, inverse @ _one_hot(self.landmarks, self.classes)

    def without(self, held_out: np.ndarray) -> Ridge:
        """The head as if the photos `held_out`, (n,) bool, had never been there.

        A landmark all of whose photos are held out is not among its classes.
        """
        inverse, dual = self._factors
        rest = ~held_out
        kept = dual[rest]
        if held_out.any():
            # Block elimination: rows and columns that leave a matrix change the inverse of the rest by this.
            block = inverse[np.ix_(held_out, held_out)]
            kept = kept - inverse[np.ix_(rest, held_out)] @ np.linalg.solve(block, dual[held_out])
        left = np.isin(self.classes, self.landmarks[rest])
        return Ridge(self.descriptors[rest].T @ kept[:, left], self.classes[left])


def fit_ridge(descriptors: np.ndarray, landmarks: np.ndarray, penalty: float = PENALTY) -> Ridge:
    """The ridge head of a gallery.

    Args:
        descriptors: (n, d), of length 1.
        landmarks: (n,) int64, `NO_LANDMARK` for a distractor.
        penalty: Weight of the squared length of the head's columns, > 0.

    The smaller of both systems is solved: (n, n) of few photos, (d, d) of many.
    """
    if len(descriptors) < descriptors.shape[1]:
        head = LeaveOut(descriptors.astype(np.float64), landmarks, penalty).without(np.zeros(len(landmarks), bool))
        return Ridge(head.matrix.astype(np.float32), head.classes)
    classes = np.unique(landmarks[landmarks != NO_LANDMARK])
    return NormalEquations.of(descriptors, landmarks, classes).solve(penalty)


def _one_hot(landmarks: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(n, c) float64, 1 for each photo's landmark; a distractor's row is 0."""
    targets = np.zeros((len(landmarks), len(classes)))
    rows = np.flatnonzero(landmarks != NO_LANDMARK)
    targets[rows, np.searchsorted(classes, landmarks[rows])] = 1.0
    return targets
