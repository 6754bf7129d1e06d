"""Putative matches against a slow twin that follows the definition pair by pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.local.matching import putative_matches


def descriptors(count: int, seed: int, dimensions: int = 8) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def slow_matches(query, index, ratio, mutual, max_distance):
    distances = [[float(np.linalg.norm(a.astype(float) - b.astype(float))) for b in index] for a in query]
    found = set()
    for row, to_index in enumerate(distances):
        if not to_index:
            continue
        column = min(range(len(to_index)), key=to_index.__getitem__)
        near = max_distance is None or to_index[column] <= max_distance
        others = [distance for place, distance in enumerate(to_index) if place != column]
        clear = ratio is None or not others or to_index[column] < ratio * min(others)
        back = min(range(len(distances)), key=lambda other: distances[other][column])
        if near and clear and (not mutual or back == row):
            found.add((row, column))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(0, 2**31),
    st.sampled_from([None, 0.8, 0.95]),
    st.booleans(),
    st.sampled_from([None, 0.5, 0.9]),
)
def test_matches_are_those_of_the_definition(queries, indexes, seed, ratio, mutual, max_distance):
    query, index = descriptors(queries, seed), descriptors(indexes, seed + 1)
    index[: len(query)] += 0.3 * query[: len(index)]  # some that are near
    index /= np.linalg.norm(index, axis=1, keepdims=True)
    found = putative_matches(query, index, ratio, mutual, max_distance)
    assert found.shape == (len(found), 2) and found.dtype.kind == "i"
    assert {(row, column) for row, column in found.tolist()} == slow_matches(query, index, ratio, mutual, max_distance)


def test_the_surest_match_comes_first():
    index = np.eye(3, dtype=np.float32)
    query = np.array([[0.8, 0.6, 0.0], [0.0, 0.0, 1.0], [0.1, 0.99498744, 0.0]], np.float32)
    assert putative_matches(query, index, ratio=0.95).tolist() == [[1, 2], [2, 1], [0, 0]]
    assert putative_matches(query, index, ratio=None).tolist() == [[1, 2], [2, 1], [0, 0]]


def test_features_that_occur_twice_are_matched_once():
    one = np.array([[1.0, 0.0]], np.float32)
    assert putative_matches(np.vstack([one, one]), one, ratio=None).tolist() == [[0, 0]]
    assert len(putative_matches(one, np.vstack([one, one]))) == 0  # which of the two is not clear


def test_a_lone_index_descriptor_passes_the_ratio_test():
    one = np.array([[0.6, 0.8]], np.float32)
    assert putative_matches(one, one).tolist() == [[0, 0]]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_a_photo_without_features_has_no_matches(shape):
    assert putative_matches(descriptors(shape[0], 1), descriptors(shape[1], 2)).shape == (0, 2)
