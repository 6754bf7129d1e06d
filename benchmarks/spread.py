"""Label spreading at the size of 2018: seconds and peak memory of the graph, of the edges and of spreading.

117,703 queries with lists of 20 of 14,951 landmarks, descriptors of 256 dimensions, and a gallery whose photos are the
fixed nodes. The exact kNN is timed with fewer queries among fewer photos, because its cost is their product; the
seconds at full size are given as well.

    python -m benchmarks.spread --json
"""

from __future__ import annotations

import resource
import time

import numpy as np

from benchmarks.output import parser, show
from lmk.ensemble.edges import edge_matrix
from lmk.ensemble.spread import class_scores, fixed_scores, spread
from lmk.ensemble.spreading import Spreading
from lmk.predictions import best_of
from lmk.retrieval.descriptors import normalize
from lmk.retrieval.graph import nearest_photos
from lmk.retrieval.ridge import NormalEquations

QUERIES, LANDMARKS, TOP_K, EDGES, GALLERY = 117_703, 14_951, 20, 10, 1_225_029
DIMENSIONS = 256
ASKED, KNOWN = 4_000, 60_000
"""Queries and gallery photos of the timed kNN."""
SUMMED = 100_000
"""Descriptors of the timed normal equations."""
CLASSES = 81_313
"""Landmarks of the ridge head, those of 2021."""

Figures = dict[str, float]


def spreading(rng: np.random.Generator) -> Figures:
    """Three rounds over the lists of all queries; half of the edges lead to gallery photos."""
    landmarks = rng.integers(0, LANDMARKS, (QUERIES, TOP_K))
    lists = best_of(np.arange(QUERIES).astype(str), landmarks, rng.random((QUERIES, TOP_K)), TOP_K)
    nodes = np.where(
        rng.random((QUERIES, EDGES)) < 0.5,
        rng.integers(0, QUERIES, (QUERIES, EDGES)),
        rng.integers(QUERIES, QUERIES + GALLERY, (QUERIES, EDGES)),
    )
    probabilities, known = rng.random((QUERIES, EDGES)), rng.integers(0, LANDMARKS, GALLERY)
    start = time.perf_counter()
    weights = edge_matrix(nodes, probabilities, QUERIES + GALLERY)
    scores = class_scores(lists, np.arange(LANDMARKS))
    found = spread(scores.values, fixed_scores(scores, known), weights, Spreading(0.6))
    return {"spreading, seconds": time.perf_counter() - start, "scores kept": float(found.nnz)}


def graph(rng: np.random.Generator) -> Figures:
    """The exact graph of some queries, and what all of them would take at the same speed."""
    asked, known = (normalize(rng.normal(size=(count, DIMENSIONS))) for count in (ASKED, KNOWN))
    start = time.perf_counter()
    nearest_photos(asked, known, known[:1000], EDGES)
    seconds = time.perf_counter() - start
    factor = QUERIES * (QUERIES + GALLERY) / (ASKED * (ASKED + KNOWN + 1000))
    return {"graph, seconds": seconds, "graph at full size, seconds by proportion": seconds * factor}


def head(rng: np.random.Generator) -> Figures:
    """The ridge head of many landmarks: sums over photos, and the solution."""
    descriptors = normalize(rng.normal(size=(SUMMED, DIMENSIONS)))
    start = time.perf_counter()
    sums = NormalEquations.of(descriptors, rng.integers(0, CLASSES, SUMMED), np.arange(CLASSES))
    summed = time.perf_counter() - start
    start = time.perf_counter()
    sums.solve()
    return {
        "ridge sums of 100,000 photos, seconds": summed,
        "ridge solution for 81,313 landmarks, seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Print the figures."""
    arguments = parser("spread", __doc__).parse_args()
    rng = np.random.default_rng(0)
    found: Figures = {}
    for step in (spreading, graph, head):
        found |= step(rng)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found[f"peak memory up to {step.__name__}, GiB"] = peak
    show({name: round(value, 2) for name, value in found.items()}, arguments.json)


if __name__ == "__main__":
    main()
