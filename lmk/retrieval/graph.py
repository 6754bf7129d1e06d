"""The graph of photos: the exact nearest of all photos to each query, and the pairs of it that are worth verifying."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmk.predictions import largest
from lmk.retrieval.neighbours import Neighbours, nearest

NEIGHBOURS = 8
"""Edges of a query."""


@dataclass(frozen=True, eq=False)
class Graph:
    """The nearest photos of each query, other than itself, nearest first.

    Nodes are numbered through: queries first, then gallery photos, then distractors.

    Attributes:
        nodes: (q, k) int64.
        cosines: (q, k) float32.
        size: Number of nodes.
    """

    nodes: np.ndarray
    cosines: np.ndarray
    size: int

    @property
    def edges(self) -> np.ndarray:
        """(q * k, 2) int64, query and node of each edge, query by query."""
        queries = np.repeat(np.arange(len(self.nodes)), self.nodes.shape[1])
        return np.stack([queries, self.nodes.ravel()], axis=1)


def nearest_photos(queries: np.ndarray, gallery: np.ndarray, distractors: np.ndarray, count: int = NEIGHBOURS) -> Graph:
    """The graph of queries among all photos, exact, in blocks (`neighbours.nearest`); ties by node.

    Args:
        queries: (q, d) of length 1.
        gallery, distractors: (g, d) and (r, d) of length 1; g and r may be 0.
        count: Edges a query; fewer where there are no more photos.
    """
    # The nearest of each part suffice: no photo beyond the first `count` of its part is among the first `count` of all.
    parts = [_but_itself(nearest(queries, queries, count + 1))]
    start = len(queries)
    for others in (gallery, distractors):
        if len(others):
            found = nearest(queries, others, count)
            parts.append(Neighbours(found.rows + start, found.cosines))
        start += len(others)
    nodes = np.concatenate([part.rows for part in parts], axis=1)
    cosines = np.concatenate([part.cosines for part in parts], axis=1)
    kept = largest(cosines, min(count, nodes.shape[1])) if nodes.shape[1] else np.empty((len(queries), 0), np.int64)
    return Graph(np.take_along_axis(nodes, kept, 1), np.take_along_axis(cosines, kept, 1), start)


def _but_itself(found: Neighbours) -> Neighbours:
    """Neighbours of queries among the same queries, (q, k + 1), without the query itself, (q, k).

    Photos that are equal may stand before the query and push it out; then the last of them goes.
    """
    count, width = found.rows.shape
    itself = found.rows == np.arange(count)[:, None]
    itself[~itself.any(axis=1), -1:] = True
    rest = ~itself
    return Neighbours(found.rows[rest].reshape(count, width - 1), found.cosines[rest].reshape(count, width - 1))


def pairs_of(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of nodes that an edge joins, once, whichever end it is seen from.

    Returns:
        Pairs (p, 2) int64, the smaller node first, in order; and (q * k,) int64, the pair of each edge.
    """
    ordered = np.sort(graph.edges, axis=1)
    # Two node numbers as one integer, so that one flat sort finds equal pairs.
    keys, inverse = np.unique(ordered[:, 0] * graph.size + ordered[:, 1], return_inverse=True)
    return np.stack([keys // graph.size, keys % graph.size], axis=1), inverse.ravel()


def worth_verifying(graph: Graph, confidence: np.ndarray, budget: int) -> np.ndarray:
    """The pairs on which a budget of comparisons is best spent: those of queries whose answer is undecided.

    Args:
        graph: Graph of the queries.
        confidence: (q,) in [0, 1], the probability that a query's answer is right; that of 0.5 is least decided.
        budget: Pairs, at the most.

    Returns:
        (p,) bool, in line with the pairs of `pairs_of`: all of them where the budget allows, else those with the most
        undecided query first; of equal ones the edge of higher cosine.
    """
    pairs, inverse = pairs_of(graph)
    chosen = np.ones(len(pairs), bool)
    if len(pairs) > budget:
        undecided = np.repeat(1 - np.abs(2 * confidence - 1), graph.nodes.shape[1])
        priority, cosine = np.full(len(pairs), -1.0), np.full(len(pairs), -1.0)
        # A pair belongs to two queries where both are queries: the less decided one says what it is worth.
        np.maximum.at(priority, inverse, undecided)
        np.maximum.at(cosine, inverse, graph.cosines.ravel())
        chosen[np.lexsort((-cosine, -priority))[budget:]] = False
    return chosen
