"""The rules that learn nothing, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.ensemble.blend_rules import fixed_rules
from lmk.ensemble.combine import AGREEMENT, FLOOR, combination, min_max, ranks
from lmk.predictions import NO_LANDMARK, Predictions, best_of

IDS = np.array(["a", "b", "c"])
FIRST = best_of(IDS, np.array([[1, 2], [1, 3], [5, NO_LANDMARK]]), np.array([[10, 5], [8, 2], [0, 0]]), 2)
SECOND = best_of(IDS, np.array([[1, 4], [3, 1], [6, NO_LANDMARK]]), np.array([[0.9, 0.1], [0.8, 0.5], [0.3, 0]]), 2)
"""Stretched to [0, 1]: (1, .5) (.8, .2) (0) and (1, 0) (.875, .5) (.25)."""


def blended(rule: str, weights=None) -> Predictions:
    return combination(rule, [FIRST, SECOND], weights)([FIRST, SECOND], 3)


def score(found: Predictions, query: str, landmark: int) -> float:
    row = IDS.tolist().index(query)
    return found.scores[row][found.landmarks[row].tolist().index(landmark)]


def test_a_vote_counts_sources_and_parts_ties_by_score():
    found = blended("vote")
    assert found.best.tolist() == [1, 1, 6]
    assert score(found, "a", 1) == pytest.approx(1 + 1 / 4)
    assert score(found, "b", 1) == pytest.approx(0.5 + (0.8 + 0.5) / 2 / 4)
    assert score(found, "b", 3) == pytest.approx(0.5 + (0.2 + 0.875) / 2 / 4)


def test_min_max_adds_a_bonus_where_sources_agree():
    found = blended("min-max")
    assert score(found, "a", 1) == pytest.approx(1 + AGREEMENT * 0.5)
    assert score(found, "b", 3) == pytest.approx((0.2 + 0.875) / 2)
    assert score(found, "b", 1) == pytest.approx((0.8 + 0.5) / 2)


def test_the_mean_takes_scores_as_they_are():
    found = blended("mean")
    assert score(found, "a", 1) == pytest.approx((10 + 0.9) / 2)
    assert score(found, "c", 6) == pytest.approx(0.15)


def test_the_rank_mean_averages_shares_of_entries_that_are_not_surer():
    found = blended("rank-mean")
    assert score(found, "a", 1) == pytest.approx((1 + 1) / 2)
    assert score(found, "b", 3) == pytest.approx((2 / 5 + 4 / 5) / 2)


def test_the_log_product_needs_every_sources_support():
    found = blended("log-product")
    assert score(found, "b", 1) == pytest.approx(np.sqrt(0.8 * 0.5))
    assert score(found, "a", 2) == pytest.approx(np.sqrt(0.5 * FLOOR))
    assert score(found, "c", 5) == pytest.approx(FLOOR)


def test_a_weight_of_zero_silences_a_source():
    found = blended("mean", [0, 1])
    assert found.best.tolist() == [1, 3, 6]
    assert found.confidence.tolist() == pytest.approx([0.9, 0.8, 0.3])


@pytest.mark.parametrize("rule", fixed_rules())
def test_a_query_that_nobody_answers_stays_without_an_answer(rule):
    empty = Predictions(IDS, np.full((3, 1), NO_LANDMARK), np.full((3, 1), -np.inf))
    found = combination(rule, [empty, empty])([empty, empty], 2)
    assert (found.landmarks == NO_LANDMARK).all()
    assert np.isneginf(found.scores).all()


@pytest.mark.parametrize("rule", fixed_rules())
def test_what_the_spread_of_dev_tells_a_query_does_not_depend_on_its_neighbours(rule):
    rule_of_dev = combination(rule, [FIRST, SECOND])
    row = np.array([1])
    alone = rule_of_dev([FIRST.take(row), SECOND.take(row)], 3)
    together = rule_of_dev([FIRST, SECOND], 3).take(row)
    np.testing.assert_array_equal(alone.landmarks[alone.landmarks >= 0], together.landmarks[together.landmarks >= 0])
    np.testing.assert_allclose(alone.confidence, together.confidence)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50), st.sampled_from([min_max, ranks]))
def test_a_spread_keeps_the_order_and_stays_in_its_range(scores, spread):
    values = spread(np.array(scores))(np.sort(scores))
    assert (np.diff(values) >= 0).all()
    assert values.min() >= 0
    assert values.max() <= 1


def test_unknown_rules_and_odd_weights_are_refused():
    with pytest.raises(ValueError, match="No rule"):
        combination("best", [FIRST])
    for weights in ([1], [1, -1], [0, 0]):
        with pytest.raises(ValueError, match="Weights"):
            combination("mean", [FIRST, SECOND], weights)
