"""Retrieval: exact neighbours, whitening's properties, and landmarks by their nearest photo."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.models import retrieval
from lmk.models.retrieval import (
    Neighbours,
    Whitening,
    landmark_predictions,
    mean_similarity,
    nearest,
    normalize,
    photo_descriptors,
)
from lmk.predictions import NO_LANDMARK

RNG = np.random.default_rng(5)


def directions(count: int, dimensions: int = 6) -> np.ndarray:
    return normalize(RNG.normal(size=(count, dimensions)))


@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 40))
def test_neighbours_are_those_of_a_full_sort(queries, gallery, count):
    asked, known = directions(queries), directions(gallery)
    found = nearest(asked, known, count)
    cosines = asked @ known.T
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_allclose(found.cosines, np.take_along_axis(cosines, expected, 1), rtol=1e-6)


@pytest.mark.parametrize("cosines_at_once", [1, 40, 1000])
def test_blocks_change_nothing(cosines_at_once, monkeypatch):
    asked, known = directions(17), directions(20)
    whole = nearest(asked, known, 5)
    monkeypatch.setattr(retrieval, "BLOCK_COSINES", cosines_at_once)
    blocks = nearest(asked, known, 5)
    np.testing.assert_array_equal(blocks.rows, whole.rows)
    np.testing.assert_allclose(blocks.cosines, whole.cosines, atol=1e-6)


@given(st.integers(1, 8), st.integers(0, 1000))
def test_of_equal_cosines_the_first_rows_are_kept(count, seed):
    known = np.eye(3, dtype=np.float32)[np.random.default_rng(seed).integers(0, 3, 8)]
    found = nearest(np.eye(3, dtype=np.float32), known, count)
    for query in range(3):
        order = sorted(range(8), key=lambda row: (-known[row, query], row))
        assert found.rows[query].tolist() == order[:count]


def test_no_queries_have_no_neighbours():
    found = nearest(np.empty((0, 6), np.float32), directions(4), 3)
    assert found.rows.shape == found.cosines.shape == (0, 3)


def test_a_landmarks_score_is_its_nearest_photos_cosine():
    neighbours = Neighbours(np.array([[4, 0, 1, 2]]), np.float32([[0.9, 0.8, 0.7, 0.1]]))
    landmarks = np.array([30, 7, 30, 99, 7])  # of the gallery's rows
    found = landmark_predictions(np.array(["q"]), neighbours, landmarks, 3)
    assert found.landmarks.tolist() == [[7, 30, NO_LANDMARK]]
    np.testing.assert_allclose(found.scores, [[0.9, 0.8, -np.inf]], rtol=1e-6)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1000))
def test_landmarks_are_each_once_with_their_largest_cosine(queries, k, seed):
    rng = np.random.default_rng(seed)
    rows, cosines = rng.integers(0, 9, (queries, 7)), -np.sort(-rng.random((queries, 7)), axis=1).astype(np.float32)
    landmarks = rng.integers(0, 4, 9)
    found = landmark_predictions(np.arange(queries).astype(str), Neighbours(rows, cosines), landmarks, k)
    for row in range(queries):
        largest: dict[int, float] = {}
        for neighbour, cosine in zip(rows[row].tolist(), cosines[row].tolist(), strict=True):
            landmark = int(landmarks[neighbour])
            largest[landmark] = max(cosine, largest.get(landmark, -1.0))
        expected = sorted(largest.items(), key=lambda item: (-item[1], item[0]))[:k]
        kept = found.landmarks[row] != NO_LANDMARK
        assert dict(zip(found.landmarks[row][kept].tolist(), found.scores[row][kept].tolist(), strict=True)) == dict(
            expected
        )


def stretched(count: int) -> np.ndarray:
    """Points of unequal spread in rotated directions, away from the origin."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    return rng.normal(size=(count, 5)) * [9, 4, 2, 1, 0.5] @ turn + 3


def test_full_whitening_makes_all_directions_equal():
    points = stretched(4000)
    whiten = Whitening.fit(points, dimensions=5, power=0.5)
    covariance = np.cov(((points - whiten.mean) @ whiten.matrix).T)
    np.testing.assert_allclose(covariance, np.eye(5), atol=0.01)


def test_without_power_whitening_is_a_rotation():
    points = stretched(200)
    whiten = Whitening.fit(points, dimensions=5, power=0)
    np.testing.assert_allclose(whiten.matrix.T @ whiten.matrix, np.eye(5), atol=1e-5)


def test_the_directions_of_most_variance_are_kept_first():
    points = stretched(2000)
    whiten = Whitening.fit(points, dimensions=2, power=0)
    variances = ((points - whiten.mean) @ whiten.matrix).var(axis=0)
    assert variances == pytest.approx([81, 16], rel=0.1)


def test_whitened_descriptors_have_length_1():
    points = stretched(50)
    np.testing.assert_allclose(np.linalg.norm(Whitening.fit(points)(points), axis=1), 1, rtol=1e-5)


def test_few_photos_give_fewer_dimensions():
    points = RNG.normal(size=(4, 20))
    found = Whitening.fit(points)(points)
    assert found.shape[1] <= 3
    assert np.isfinite(found).all()


def test_whitening_of_equal_photos_is_finite():
    assert np.isfinite(Whitening.fit(np.ones((6, 8)))(np.ones((2, 8)))).all()


def test_a_photos_descriptor_is_the_mean_direction_of_its_views():
    features = np.float16([[[3, 0], [0, 50]], [[0, 0], [0, 2]]])  # one view much stronger, one blank
    found = photo_descriptors(features)
    np.testing.assert_allclose(found, [[np.sqrt(0.5), np.sqrt(0.5)], [0, 1]], atol=1e-6)


def test_rows_of_zeros_stay():
    np.testing.assert_array_equal(normalize(np.zeros((2, 3))), np.zeros((2, 3)))


def test_mean_similarity_is_that_of_the_nearest():
    others = np.float32([[1, 0], [0, 1], [-1, 0]])
    found = mean_similarity(np.float32([[1, 0], [0, -1]]), others, 2)
    np.testing.assert_allclose(found, [0.5, 0], atol=1e-6)


def test_without_distractors_nothing_is_similar_to_them():
    found = mean_similarity(directions(3), np.empty((0, 6), np.float32), 5)
    np.testing.assert_array_equal(found, np.zeros(3))
