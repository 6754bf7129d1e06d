"""The closed-form head: removal of rows is refitting, and sums in blocks are the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.predictions import NO_LANDMARK
from lmk.retrieval import ridge
from lmk.retrieval.descriptors import normalize
from lmk.retrieval.ridge import LeaveOut, NormalEquations, Ridge, fit_ridge


def gallery(count: int, width: int, landmarks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of length 1 and landmarks; a third shows none."""
    rng = np.random.default_rng(seed)
    shown = np.where(rng.random(count) < 1 / 3, NO_LANDMARK, 10 * rng.integers(0, landmarks, count))
    shown[:landmarks] = 10 * np.arange(landmarks)
    return normalize(rng.normal(size=(count, width))).astype(np.float64), shown


def textbook(descriptors: np.ndarray, landmarks: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix by augmented least squares, another way to the same minimum, and the classes."""
    classes = np.unique(landmarks[landmarks != NO_LANDMARK])
    targets = (landmarks[:, None] == classes).astype(float)
    width = descriptors.shape[1]
    rows = np.concatenate([descriptors, np.sqrt(penalty) * np.eye(width)])
    right = np.concatenate([targets, np.zeros((width, len(classes)))])
    return np.linalg.lstsq(rows, right, rcond=None)[0], classes


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 30), st.integers(3, 40), st.floats(0.01, 1), st.integers(0, 1000))
def test_removing_photos_is_refitting_without_them(count, width, penalty, seed):
    descriptors, landmarks = gallery(count, width, 4, seed)
    held_out = np.random.default_rng(seed).random(count) < 0.4
    held_out[landmarks == 20] = True  # a whole landmark is held out
    held_out[0] = False
    head = LeaveOut(descriptors, landmarks, penalty).without(held_out)
    expected, classes = textbook(descriptors[~held_out], landmarks[~held_out], penalty)
    np.testing.assert_array_equal(head.classes, classes)
    assert 20 not in head.classes
    np.testing.assert_allclose(head.matrix, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("count", "width"), [(12, 30), (60, 7)], ids=["few photos", "many photos"])
def test_the_head_of_a_fold_is_that_of_the_photos_that_it_knows(count, width):
    descriptors, landmarks = gallery(count, width, 3, 1)
    for rows in np.arange(count) % 3 == np.arange(3)[:, None]:
        head = fit_ridge(descriptors[~rows], landmarks[~rows], 0.1)
        expected, classes = textbook(descriptors[~rows], landmarks[~rows], 0.1)
        np.testing.assert_array_equal(head.classes, classes)
        np.testing.assert_allclose(head.matrix, expected, atol=1e-6)


def test_normal_equations_are_summed_in_blocks_and_removed_to_the_same_numbers(monkeypatch):
    descriptors, landmarks = gallery(90, 6, 5, 2)
    classes = np.unique(landmarks[landmarks != NO_LANDMARK])
    whole = NormalEquations.of(descriptors.astype(np.float32), landmarks, classes)
    monkeypatch.setattr(ridge, "BLOCK_ROWS", 7)
    parts = [NormalEquations.of(descriptors[rows], landmarks[rows], classes) for rows in (slice(0, 40), slice(40, 90))]
    np.testing.assert_allclose((parts[0] + parts[1]).products, whole.products, atol=1e-5)
    np.testing.assert_allclose((parts[0] + parts[1]).targets, whole.targets, atol=1e-5)
    np.testing.assert_allclose((whole - parts[1]).solve(0.1).matrix, parts[0].solve(0.1).matrix, atol=1e-4)


def test_a_distractor_pulls_what_looks_like_it_down_for_all_landmarks():
    descriptors = np.eye(3)[[0, 1, 2]]
    head = fit_ridge(descriptors, np.array([5, 7, NO_LANDMARK]), 0.1)
    found = head(np.array(["like 5", "between 7 and the distractor", "distractor"]),
                 normalize(np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1.0]])), 2)  # fmt: skip
    assert found.best.tolist()[:2] == [5, 7]
    assert found.confidence[0] > found.confidence[1] > found.confidence[2] == pytest.approx(0)


def test_blocks_of_queries_change_no_answer(monkeypatch):
    rng = np.random.default_rng(0)
    head = Ridge(rng.normal(size=(4, 6)).astype(np.float32), np.arange(6) * 3)
    ids, asked = np.array([f"q{row}" for row in range(11)]), rng.normal(size=(11, 4))
    whole = head(ids, asked, 3)
    monkeypatch.setattr(ridge, "BLOCK_SCORES", 12)
    parts = head(ids, asked, 3)
    np.testing.assert_array_equal(whole.landmarks, parts.landmarks)
    np.testing.assert_allclose(whole.scores, parts.scores, rtol=1e-6)
    assert head(ids, asked, 9).landmarks[0, 6:].tolist() == [NO_LANDMARK] * 3
    assert len(head(ids[:0], asked[:0], 3)) == 0
