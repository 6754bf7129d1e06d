"""Retrieval: exact neighbours, whitening's properties, and landmarks by their nearest photo."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.predictions import NO_LANDMARK, best_of
from lmk.retrieval import neighbours as retrieval
from lmk.retrieval import whitening
from lmk.retrieval.descriptors import in_blocks, normalize, photo_descriptors, side_by_side
from lmk.retrieval.neighbours import (
    Neighbours,
    Options,
    augment_gallery,
    expand_queries,
    find_landmarks,
    landmark_predictions,
    mean_similarity,
    nearest,
    with_logits,
)
from lmk.retrieval.whitening import POWER, SHRINKAGE, Whitening

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


def test_the_top_score_is_the_mean_of_the_nearest_and_of_the_mean_of_three():
    neighbours = Neighbours(np.array([[0, 1, 2, 3, 4, 5]]), np.float32([[0.9, 0.8, 0.7, 0.6, 0.5, 0.1]]))
    landmarks = np.array([7, 8, 7, 8, 7, 7, 8, 9])  # the third photo of 8 is no neighbour: as near as the last, 0.1
    found = landmark_predictions(np.array(["q"]), neighbours, landmarks, 2, "top")
    assert found.landmarks.tolist() == [[7, 8]]
    np.testing.assert_allclose(found.scores, [[(0.9 + 0.7) / 2, (0.8 + (0.8 + 0.6 + 0.1) / 3) / 2]], rtol=1e-6)


def test_the_powers_of_all_neighbours_are_summed():
    neighbours = Neighbours(np.array([[0, 1, 2]]), np.float32([[0.9, 0.88, -0.5]]))
    found = landmark_predictions(np.array(["q"]), neighbours, np.array([7, 8, 7]), 2, "powers")
    np.testing.assert_allclose(found.scores, [[0.9**10, 0.88**10]], rtol=1e-5)


@pytest.mark.parametrize("score", ["max", "top", "powers"])
def test_no_queries_have_no_landmarks(score):
    found = landmark_predictions(np.empty(0, str), nearest(np.empty((0, 6)), directions(4), 3), np.arange(4), 2, score)
    assert len(found) == 0


def test_an_augmented_photo_leans_to_its_own_landmark_alone():
    gallery = normalize(np.float32([[1, 0, 0], [0.8, 0.6, 0], [0.9, 0, 0.4]]))
    found = augment_gallery(gallery, np.array([5, 5, 6]), 1)
    cosine = 0.8**3
    np.testing.assert_allclose(found[0], normalize(gallery[:1] + cosine * gallery[1:2])[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], gallery[2], rtol=1e-5)


def test_an_expanded_query_leans_to_its_nearest_photos():
    gallery = normalize(np.float32([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 1]]))
    found = expand_queries(np.float32([[1, 0, 0]]), gallery, 2)
    np.testing.assert_allclose(found, normalize(2 * gallery[:1] + 0.8**3 * gallery[1:2]), rtol=1e-5)


def test_photos_and_head_must_agree():
    ids = np.array(["q", "r"])
    sums = best_of(ids, np.array([[1, 2], [1, NO_LANDMARK]]), np.array([[0.5, 0.4], [0.3, 0]]), 2)
    heads = best_of(ids, np.array([[2, 9], [1, 9]]), np.array([[0.9, 0.05], [0.8, 0.1]]), 2)
    found = with_logits(sums, heads, 0.5, 2)
    assert found.landmarks.tolist() == [[2, 1], [1, NO_LANDMARK]]
    np.testing.assert_allclose(found.scores[0], np.log([0.4 * 0.9**0.5, 0.5 * 0.05**0.5]))
    np.testing.assert_allclose(found.scores[1], [np.log(0.3 * 0.8**0.5), -np.inf])


def test_likeness_to_distractors_is_taken_off_gallery_photos():
    gallery = normalize(np.float32([[1, 0.2, 0], [1, 0, 0.3]]))
    around = normalize(np.float32([[1, 1, 0]]))
    asked = (np.array(["q"]), gallery, np.array([4, 5]), around, np.float32([[1, 0, 0]]))
    plain, likeness = find_landmarks(*asked, Options(power=0, score="max"))
    less, same = find_landmarks(*asked, Options(power=0, score="max", index_bias=1.0))
    assert plain.best.tolist() != less.best.tolist()
    np.testing.assert_array_equal(likeness, same)


def test_weights_make_a_networks_descriptors_count_more():
    found = side_by_side([np.ones((2, 3)), np.ones((2, 1))], [2, 0.5])
    assert found.tolist() == [[2, 2, 2, 0.5]] * 2


def stretched(count: int) -> np.ndarray:
    """Points of unequal spread in rotated directions, away from the origin."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    return rng.normal(size=(count, 5)) * [9, 4, 2, 1, 0.5] @ turn + 3


def test_full_whitening_makes_all_directions_equal():
    points = stretched(4000)
    whiten = Whitening.fit(points, shrinkage=0.001, power=0.5)
    covariance = np.cov(((points - whiten.mean) @ whiten.matrix).T)
    np.testing.assert_allclose(covariance, np.trace(covariance) / 5 * np.eye(5), atol=0.1 * np.trace(covariance) / 5)


def test_without_power_whitening_changes_nothing_but_the_mean():
    points = stretched(200)
    np.testing.assert_allclose(Whitening.fit(points, power=0).matrix, np.eye(5), atol=1e-6)


def test_a_direction_is_divided_by_its_variance_over_the_floor():
    points = np.random.default_rng(2).normal(size=(50, 4)) * [6, 3, 1, 0.1]
    variances, turn = np.linalg.eigh(np.cov(points.T, bias=True))
    whiten = Whitening.fit(points, shrinkage=2.0, power=0.25)
    expected = turn @ np.diag((1 + variances / (2 * variances.mean())) ** -0.25) @ turn.T
    np.testing.assert_allclose(whiten.matrix, expected, atol=1e-5)


def test_what_few_photos_cannot_tell_stays():
    """Two photos span one direction; across it queries keep their differences."""
    whiten = Whitening.fit(np.float32([[1, 0, 0], [-1, 0, 0]]))
    across = np.float32([[0, 1, 0], [0, 0, 1], [0, 3, 4]])
    np.testing.assert_allclose((across - whiten.mean) @ whiten.matrix, across, atol=1e-6)


def test_few_photos_give_the_whitening_that_the_covariance_gives():
    """Fewer photos than dimensions: by the products of photos; the truth by those of dimensions."""
    points = np.random.default_rng(3).normal(size=(6, 10))
    variances, turn = np.linalg.eigh(np.cov(points.T, bias=True))
    variances = np.maximum(variances, 0)
    expected = turn @ np.diag((1 + variances / (10 * variances.mean())) ** -0.25) @ turn.T
    np.testing.assert_allclose(Whitening.fit(points).matrix, expected, atol=1e-5)


def test_of_many_descriptors_the_widest_directions_are_kept(monkeypatch):
    monkeypatch.setattr(whitening, "MANY", 1000)
    monkeypatch.setattr(whitening, "DIMENSIONS", 2)
    points = stretched(2000)
    whiten = Whitening.fit(points, power=0)
    variances = ((points - whiten.mean) @ whiten.matrix).var(axis=0)
    assert variances == pytest.approx([81, 16], rel=0.1)


def test_whitened_descriptors_have_length_1():
    points = stretched(50)
    np.testing.assert_allclose(np.linalg.norm(Whitening.fit(points)(points), axis=1), 1, rtol=1e-5)


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


def test_a_gallery_in_half_precision_gives_the_neighbours_of_its_floats(monkeypatch):
    rng = np.random.default_rng(0)
    gallery = normalize(rng.standard_normal((300, 16))).astype(np.float16)
    gallery[[7, 250]] = gallery[40]  # ties across blocks
    queries = normalize(rng.standard_normal((9, 16)))
    exact = nearest(queries, gallery.astype(np.float32), 12)
    monkeypatch.setattr("lmk.retrieval.neighbours.BLOCK_GALLERY", 50)
    monkeypatch.setattr("lmk.retrieval.neighbours.BLOCK_COSINES", 200)
    found = nearest(queries, gallery, 12)
    np.testing.assert_allclose(found.cosines, exact.cosines, atol=1e-6)
    assert (found.rows == exact.rows).mean() > 0.99
    near = nearest(normalize(gallery[40:41]), gallery, 3)
    assert near.rows.tolist() == [[7, 40, 250]]
    assert nearest(queries, gallery[:5], 12).rows.shape == (9, 5)


def test_many_descriptors_are_whitened_block_by_block_as_at_once(monkeypatch):
    rng = np.random.default_rng(1)
    points = (rng.standard_normal((500, 6)) * [5, 3, 2, 1, 1, 0.5]).astype(np.float32)
    monkeypatch.setattr("lmk.retrieval.whitening.MANY", 100)
    monkeypatch.setattr("lmk.retrieval.whitening.DIMENSIONS", 6)
    at_once = Whitening.fit(points)
    in_parts = Whitening.fit(points[:120], points[120:])
    monkeypatch.setattr("lmk.retrieval.whitening.BLOCK_ROWS", 64)
    small = Whitening.fit(points[:120], points[120:])
    for other in (in_parts, small):
        np.testing.assert_allclose(other(points) @ other(points).T, at_once(points) @ at_once(points).T, atol=1e-4)
    centred = (points - points.mean(axis=0)).astype(np.float64)
    variances = np.linalg.eigvalsh(centred.T @ centred / 500)
    floor = SHRINKAGE * variances.sum() / 6
    spread = np.linalg.norm(small.matrix.astype(np.float64), axis=0)
    np.testing.assert_allclose(np.sort(spread), np.sort((1 + variances / floor) ** -POWER), rtol=1e-4)


def test_long_arrays_are_described_and_joined_block_by_block_to_the_same_bytes(monkeypatch):
    rng = np.random.default_rng(2)
    features = rng.standard_normal((50, 3, 8)).astype(np.float16)
    half = photo_descriptors(features).astype(np.float16)
    whole = in_blocks(photo_descriptors, features)
    assert whole.tobytes() == photo_descriptors(features).tobytes()
    joined = side_by_side([whole, half], [0.3, 0.7])
    monkeypatch.setattr("lmk.retrieval.descriptors.BLOCK_PHOTOS", 7)
    assert in_blocks(photo_descriptors, features).tobytes() == whole.tobytes()
    expected = np.concatenate([np.float32(0.3) * whole, np.float32(0.7) * half.astype(np.float32)], axis=1)
    np.testing.assert_array_equal(joined, expected)
