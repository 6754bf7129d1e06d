"""Candidates: every landmark that any of several lists names for a query, and who names it with which score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lmk.predictions import NO_LANDMARK, Predictions, best_of

Scale = Callable[[np.ndarray], np.ndarray]
"""Function from a source's scores of any shape to values >= 0 that can be added to other sources'; an empty place to
0."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Aligned lists, label by label; a list of three labels stays three numbers, however many labels there are.

    Attributes:
        ids: (n,) str.
        landmarks: (n, m) int64, each once a query, ascending; `NO_LANDMARK` in places that are empty.
        places: (s, n, k) int64, the column in `landmarks` of each source's entries; 0 for an empty entry.
        scores: (s, n, k) float64, >= 0; 0 for an empty entry.
    """

    ids: np.ndarray
    landmarks: np.ndarray
    places: np.ndarray
    scores: np.ndarray

    @property
    def num_sources(self) -> int:
        return len(self.places)

    def take(self, rows: np.ndarray) -> Candidates:
        """The queries of `rows`, (m,) int or (n,) bool."""
        return Candidates(self.ids[rows], self.landmarks[rows], self.places[:, rows], self.scores[:, rows])

    def sums(self, weights: Sequence[float] | np.ndarray) -> np.ndarray:
        """(n, m) float64, each candidate's weighted sum over the sources; a source adds 0 to what it does not name."""
        total = np.zeros(self.landmarks.shape)
        rows = np.arange(len(self.ids))
        for places, scores, weight in zip(self.places, self.scores, weights, strict=True):
            if weight:
                # Column by column: empty entries share place 0 with a real one, and += over all columns would keep one
                # of them.
                for column in range(places.shape[1]):
                    total[rows, places[:, column]] += weight * scores[:, column]
        return total

    def best(self, weights: Sequence[float] | np.ndarray, k: int) -> Predictions:
        """The k best landmarks of each query by their weighted sum."""
        return best_of(self.ids, self.landmarks, self.sums(weights), k)


def gather(sources: Sequence[Predictions], scales: Sequence[Scale]) -> Candidates:
    """The candidates of aligned sources, each one's scores brought to its scale.

    Raises:
        ValueError: The sources answer other queries, or in another order.
    """
    ids = sources[0].ids
    if any(len(source) != len(ids) or (source.ids != ids).any() for source in sources):
        raise ValueError("Sources must answer the same queries in the same order.")
    width = max(source.landmarks.shape[1] for source in sources)
    named = [source.top(width) for source in sources]
    landmarks, places = _distinct(np.concatenate([source.landmarks for source in named], axis=1))
    scores = np.stack([scale(source.scores) for source, scale in zip(named, scales, strict=True)])
    places = places.reshape(len(ids), len(sources), width).transpose(1, 0, 2)
    empty = np.stack([source.landmarks == NO_LANDMARK for source in named])
    if empty.any():
        places[empty], scores[empty] = 0, 0.0
    return Candidates(ids, landmarks, places, scores)


def _distinct(named: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different landmarks of each row of (n, w), (n, m) ascending and then empty, and each one's column, (n, w)."""
    values, numbers = named, named
    # One sort finds equal landmarks of a row and remembers where each stood: label and column share an int64, the
    # label in the high bits. np.unique row by row would loop over the queries in Python.
    bits = int(named.shape[1]).bit_length()
    if named.max(initial=0) >> (62 - bits):  # too large to share 63 bits with a column: their ranks do
        values, numbers = np.unique(named, return_inverse=True)
        numbers = numbers.reshape(named.shape)
    # Empty places sort behind every landmark, so that candidates fill the row from the left.
    last = np.int64(1) << (62 - bits)
    keys = np.where(named == NO_LANDMARK, last, numbers)
    keys <<= bits
    keys |= np.arange(named.shape[1])
    keys.sort(axis=1)
    origin = keys & ((1 << bits) - 1)
    keys >>= bits
    # The first of equal neighbours opens a column; how many have opened so far is the column of each.
    fresh = np.ones(keys.shape, dtype=bool)
    fresh[:, 1:] = keys[:, 1:] != keys[:, :-1]
    columns = np.cumsum(fresh, axis=1)
    columns -= 1
    places = np.empty_like(columns)
    np.put_along_axis(places, origin, columns, 1)
    rows, found = np.nonzero(fresh & (keys != last))
    width = int(columns[rows, found].max(initial=0)) + 1
    landmarks = np.full((len(named), width), NO_LANDMARK, dtype=np.int64)
    landmarks[rows, columns[rows, found]] = keys[rows, found] if values is named else values[keys[rows, found]]
    return landmarks, places
