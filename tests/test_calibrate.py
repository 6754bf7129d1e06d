"""Calibration keeps a source's order and gives probabilities that are true on what it was fitted on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from lmk.ensemble.calibrate import Calibration, fit_calibration

NUMBERS = st.floats(-5, 5, allow_nan=False, width=32)
SHARES = st.floats(0, 1, allow_nan=False, width=32)


@st.composite
def answers(draw, values):
    scores = draw(arrays(float, st.integers(1, 30), elements=values))
    return scores, draw(arrays(bool, len(scores)))


@settings(max_examples=40)
@given(answers(NUMBERS), arrays(float, 12, elements=NUMBERS))
def test_the_order_of_scores_stays(fitted, asked):
    probabilities = fit_calibration(*fitted)(np.sort(asked))
    assert (np.diff(probabilities) >= 0).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@settings(max_examples=40)
@given(answers(SHARES), arrays(float, 12, elements=SHARES))
def test_the_order_of_scores_in_0_to_1_stays_where_log_odds_are_taken(fitted, asked):
    assert (np.diff(fit_calibration(*fitted)(np.sort(asked))) >= 0).all()


@settings(max_examples=40)
@given(answers(NUMBERS))
def test_on_its_own_answers_the_mean_probability_is_the_share_that_is_right(fitted):
    # The likelihood's derivative by the intercept is their difference, so at its maximum they are equal.
    scores, correct = fitted
    if 0 < correct.sum() < len(correct):
        assert fit_calibration(scores, correct)(scores).mean() == pytest.approx(correct.mean(), abs=0.01)


def test_probabilities_are_found_again():
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, 20_000)
    correct = rng.random(20_000) < expit(1.7 * scores - 0.6)
    found = fit_calibration(scores, correct)
    assert (found.slope, found.intercept) == (pytest.approx(1.7, abs=0.1), pytest.approx(-0.6, abs=0.1))
    assert not found.odds


def test_the_likelier_of_log_odds_and_plain_scores_is_taken():
    rng = np.random.default_rng(0)
    shares = rng.random(5000)
    assert fit_calibration(shares, rng.random(5000) < shares).odds  # a probability that is true as it is
    steep = expit(6 * shares - 3)
    assert not fit_calibration(shares, rng.random(5000) < steep).odds


def test_a_true_probability_stays_what_it_is():
    rng = np.random.default_rng(1)
    shares = rng.random(20_000)
    found = fit_calibration(shares, rng.random(20_000) < shares)
    np.testing.assert_allclose(found(np.array([0.1, 0.5, 0.9])), [0.1, 0.5, 0.9], atol=0.02)


def test_a_cosine_below_0_is_never_taken_for_a_probability():
    assert not fit_calibration(np.array([-0.1, 0.5, 0.9]), np.array([False, True, True])).odds


def test_an_empty_place_has_probability_0_and_does_not_teach():
    scores, correct = np.array([0.2, 0.9, -np.inf]), np.array([False, True, False])
    found = fit_calibration(scores, correct)
    assert found == fit_calibration(scores[:2], correct[:2])
    assert found(np.array([-np.inf, 0.5]))[0] == 0


@pytest.mark.parametrize("right", [False, True])
def test_answers_that_are_all_right_or_all_wrong_have_a_finite_calibration(right):
    scores = np.linspace(0, 1, 8)
    found = fit_calibration(scores, np.full(8, right))
    assert np.isfinite([found.slope, found.intercept]).all()
    assert (found(scores) > 0.99).all() if right else (found(scores) < 0.01).all()


def test_equal_scores_get_the_share_that_is_right():
    found = fit_calibration(np.full(40, 0.3), np.arange(40) < 10)
    np.testing.assert_allclose(found(np.array([0.3])), 0.25, atol=0.01)


def test_without_answers_scores_keep_their_order():
    found = fit_calibration(np.full(3, -np.inf), np.zeros(3, bool))
    assert (np.diff(found(np.array([0.1, 0.2, 0.7]))) > 0).all()


def test_a_calibration_by_hand():
    odds = Calibration(odds=True, slope=2.0, intercept=0.0)  # squares the odds
    np.testing.assert_allclose(odds(np.array([0.5, 0.75])), [0.5, 9 / 10])
    plain = Calibration(odds=False, slope=1.0, intercept=np.log(3))
    np.testing.assert_allclose(plain(np.array([[0.0]])), [[0.75]])
