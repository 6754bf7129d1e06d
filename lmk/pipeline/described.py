"""The photos that one part of the dataset knows and is asked, whitened together, and what they answer without a network
of their own: the lists of kNN and of a ridge head, and the graph of nearest photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lmk.data.splits import Queries
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.retrieval.graph import Graph, nearest_photos
from lmk.retrieval.neighbours import Options, rank_landmarks
from lmk.retrieval.ridge import PENALTY, fit_ridge
from lmk.retrieval.whitening import Whitening

NEIGHBOURS = 10
"""Edges of a query. On dev 8 and 12 gained within 0.002 of each other; every edge may cost a comparison."""
BUDGET = 20_000
"""Pairs verified in all graphs together: all of a small competition's, of a large one's those of undecided queries."""
NO_QUERIES = Queries(np.empty(0, str), np.empty(0, str), np.empty(0, np.int64))
"""Queries of a part that answers the test photos alone."""


@dataclass(frozen=True, eq=False)
class Described:
    """The photos that one part's models know and are asked, with whitened descriptors.

    Attributes:
        queries: Dev queries that this part asks; none for the part that only answers test.
        test: (t,) str, test photos: a dev graph holds them as this part's models answer them.
        gallery, landmarks: (g,) str and (g,) int64, the part's training photos.
        distractors: (r,) str, its training photos of no landmark.
        asked: (q + t, d) float32 of length 1, dev queries and then test photos, whitened as this part's gallery is.
        known: (g + r, d), gallery photos and then distractors.
    """

    queries: Queries
    test: np.ndarray
    gallery: np.ndarray
    landmarks: np.ndarray
    distractors: np.ndarray
    asked: np.ndarray
    known: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """(q + t,) str, of what is asked."""
        return np.concatenate([self.queries.ids, self.test])

    @property
    def photos(self) -> np.ndarray:
        """(size,) str, the photo of each node of this part's graph."""
        return np.concatenate([self.queries.photos, self.test, self.gallery, self.distractors])

    @property
    def fixed(self) -> np.ndarray:
        """(g + r,) int64, the landmark of each fixed node."""
        return np.concatenate([self.landmarks, np.full(len(self.distractors), NO_LANDMARK)])

    def of_test_alone(self) -> Described:
        """The same photos without the dev queries, where they answer the test photos."""
        count = len(self.queries)
        return replace(self, queries=NO_QUERIES, asked=self.asked[count:])

    def graph(self, count: int = NEIGHBOURS) -> Graph:
        """The nearest photos of each query."""
        gallery, distractors = np.split(self.known, [len(self.gallery)])
        return nearest_photos(self.asked, gallery, distractors, count)


def describe_part(
    queries: Queries,
    test: np.ndarray,
    gallery: tuple[np.ndarray, np.ndarray],
    distractors: np.ndarray,
    describe: Callable[[np.ndarray], np.ndarray],
    options: Options | None = None,
) -> Described:
    """The photos of a part, whitened on its gallery and distractors.

    Args:
        queries, test, distractors: As in `Described`.
        gallery: Its training photos (g,) str and their landmarks (g,) int64.
        describe: Function from photos (n,) str to descriptors (n, d) of all networks side by side, by this part's
            networks.
        options: Shrinkage and power of the whitening; those of retrieval by default.
    """
    options = options or Options()
    photos, landmarks = gallery
    known = describe(np.concatenate([photos, distractors]))
    whiten = Whitening.fit(known, shrinkage=options.shrinkage, power=options.power)
    names = np.concatenate([queries.photos, test])
    asked = describe(names) if len(names) else known[:0]
    return Described(queries, test, photos, landmarks, distractors, whiten(asked), whiten(known))


def nearest_landmarks(part: Described, k: int, options: Options | None = None) -> tuple[Predictions, np.ndarray]:
    """kNN of one part: of its dev queries, then of the test photos.

    Returns:
        The lists, and (q + t,) float32, the mean cosine to the nearest distractors.
    """
    gallery, distractors = np.split(part.known, [len(part.gallery)])
    return rank_landmarks(part.ids, gallery, part.landmarks, distractors, part.asked, options or Options(), k)


def ridge_landmarks(part: Described, k: int, penalty: float = PENALTY) -> Predictions:
    """The same by a ridge head over all networks, of the part's gallery and distractors."""
    return fit_ridge(part.known, part.fixed, penalty)(part.ids, part.asked, k)
