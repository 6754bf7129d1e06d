"""The graph of photos: exact, without loops, and the pairs that are worth a comparison."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.retrieval.descriptors import normalize
from lmk.retrieval.graph import Graph, nearest_photos, pairs_of, worth_verifying


def directions(count: int, seed: int) -> np.ndarray:
    return normalize(np.random.default_rng(seed).normal(size=(count, 4)))


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 6), st.integers(0, 5), st.integers(1, 12), st.integers(0, 99))
def test_the_neighbours_are_those_of_a_full_sort_of_all_other_photos(queries, gallery, distractors, count, seed):
    asked, known, others = directions(queries, seed), directions(gallery, seed + 1), directions(distractors, seed + 2)
    graph = nearest_photos(asked, known, others, count)
    every = np.concatenate([asked, known, others])
    cosines = asked @ every.T
    cosines[np.arange(queries), np.arange(queries)] = -np.inf
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, : min(count, len(every) - 1)]
    np.testing.assert_array_equal(graph.nodes, expected)
    np.testing.assert_allclose(graph.cosines, np.take_along_axis(cosines, expected, 1), rtol=1e-5, atol=2.4e-7)
    assert graph.size == len(every)


def test_equal_photos_are_neighbours_and_none_is_its_own():
    asked = np.repeat(directions(1, 0), 5, axis=0)
    graph = nearest_photos(asked, asked[:2], asked[:0], 3)
    assert not (graph.nodes == np.arange(5)[:, None]).any()
    assert graph.nodes.shape == (5, 3)


def test_a_pair_seen_from_both_ends_stands_once():
    graph = Graph(np.array([[1, 3], [0, 3], [3, 1]]), np.ones((3, 2), np.float32), 4)
    pairs, edge = pairs_of(graph)
    assert pairs.tolist() == [[0, 1], [0, 3], [1, 2], [1, 3], [2, 3]]
    np.testing.assert_array_equal(np.sort(graph.edges, axis=1), pairs[edge])


@given(st.integers(0, 30), st.integers(0, 99))
def test_a_budget_goes_to_the_queries_that_are_undecided(budget, seed):
    rng = np.random.default_rng(seed)
    graph = nearest_photos(directions(8, seed), directions(3, seed + 1), directions(2, seed + 2), 3)
    confidence = rng.random(8)
    pairs, edge = pairs_of(graph)
    chosen = worth_verifying(graph, confidence, budget)
    assert chosen.sum() == min(budget, len(pairs))
    undecided = np.array([
        max(1 - abs(2 * confidence[query] - 1) for query, which in zip(graph.edges[:, 0], edge, strict=True)
            if which == pair) for pair in range(len(pairs))])  # fmt: skip
    if 0 < budget < len(pairs):
        assert undecided[chosen].min() >= undecided[~chosen].max() - 1e-12
