"""Adversarial validation: silent where dev and test are alike, loud where they are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.metrics import gap
from lmk.metrics.ranking import GAP
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.shift import WARNING_AREA, measure_shift, query_features

RNG = np.random.default_rng(4)


def answers(confidence: np.ndarray, right: np.ndarray) -> tuple[Predictions, np.ndarray]:
    """Answers of landmark 1, which is what each query shows, or nothing."""
    ids = np.array([f"q{row:04}" for row in range(len(right))])
    found = Predictions(ids, np.ones((len(ids), 1), np.int64), confidence[:, None])
    return found, np.where(right, 1, NO_LANDMARK)


@given(st.integers(1, 40), st.integers(0, 999))
def test_with_equal_weights_it_is_gap(count, seed):
    rng = np.random.default_rng(seed)
    found, truth = answers(rng.random(count), rng.random(count) < 0.5)
    expected = gap(found.ids, truth, found.best, found.confidence) if (truth == 1).any() else 0.0
    assert GAP.weighted(found, truth, np.full(count, 3.0)) == pytest.approx(expected)


def test_a_query_of_weight_zero_counts_for_nothing():
    found, truth = answers(np.array([0.9, 0.8, 0.7]), np.array([False, True, True]))
    assert GAP.weighted(found, truth, np.array([0.0, 1.0, 1.0])) == 1.0
    assert GAP.weighted(found, truth, np.array([1.0, 1.0, 0.0])) == 0.5


def test_dev_that_is_drawn_as_test_is_resembles_it():
    dev, test = RNG.normal(size=(400, 5)), RNG.normal(size=(600, 5))
    found, truth = answers(RNG.random(400), RNG.random(400) < 0.5)
    shift = measure_shift(dev, test, found.ids, found, truth, GAP)
    assert 0.4 < shift.area < 0.6
    assert shift.warning is None
    assert shift.weighted == pytest.approx(shift.score, abs=0.03)
    assert shift.effective > 300


def test_where_test_is_harder_the_weighted_gap_is_nearer_to_that_of_test_and_a_line_says_so():
    """Queries are answered rightly the more often the nearer their best photo is; test photos are further off."""

    def draw(count: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
        near = RNG.normal(mean, 1, count)
        return np.column_stack([near, RNG.normal(size=count)]), RNG.random(count) < 1 / (1 + np.exp(-2 * near))

    (dev, right), (test, right_of_test) = draw(3000, 1.0), draw(3000, -0.3)
    (found, _), (of_test, _) = answers(RNG.random(3000), right), answers(RNG.random(3000), right_of_test)
    shows = np.ones(3000, np.int64)
    truth, truth_of_test = np.where(right, shows, 2), np.where(right_of_test, shows, 2)
    shift = measure_shift(dev, test, found.ids, found, truth, GAP)
    real = gap(of_test.ids, truth_of_test, of_test.best, of_test.confidence)
    assert shift.area > WARNING_AREA
    assert abs(shift.weighted - real) < 0.3 * abs(shift.score - real)
    assert f"{shift.weighted:.3f}" in (shift.warning or "")


def test_two_queries_of_one_photo_do_not_tell_each_other_apart():
    """Noise in many dimensions: by its twin a query could be told to be of dev, were both not held out together."""
    noise = RNG.normal(size=(60, 200))
    dev, groups = np.concatenate([noise, noise]), np.array([f"p{row}" for row in range(60)] * 2)
    found, truth = answers(RNG.random(120), RNG.random(120) < 0.5)
    shift = measure_shift(dev, RNG.normal(size=(120, 200)), groups, found, truth, GAP)
    assert shift.area < 0.65


def test_the_features_need_no_label():
    blended = Predictions(np.array(["a", "b"]), np.array([[4, 5], [NO_LANDMARK, NO_LANDMARK]]),
                          np.array([[0.8, 0.3], [-np.inf, -np.inf]]))  # fmt: skip
    other = Predictions(np.array(["a", "b"]), np.array([[5], [NO_LANDMARK]]), np.array([[0.8], [-np.inf]]))
    found = query_features(
        np.array([[0.9, 0.7, 0.1], [0.2, 0.1, 0.1]]), np.array([0.3, 0.6]), blended, [blended, other]
    )
    np.testing.assert_allclose(found, [[0.9, 0.7, 0.3, 0.8, 0.5, 0.5], [0.2, 0.1, 0.6, 0, 0, 1]])
