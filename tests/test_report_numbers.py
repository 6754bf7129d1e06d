"""The numbers behind the report, against hands, slow twins and properties."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.evaluation import gap_of
from lmk.metrics import gap
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.report.costs import DISTRACTOR, QUIET, RIGHT, SILENT, WRONG, Loss, loss, mistake_costs, outcomes, verdict
from lmk.report.statistics import (
    calibration,
    calibration_error,
    difference,
    histogram,
    landmark_rows,
    ranking,
    stage_rows,
    wilson,
)
from lmk.report.svg import ticks


def answers(landmarks: list[int], scores: list[float]) -> Predictions:
    confidence = np.where(np.array(landmarks) == NO_LANDMARK, -np.inf, scores)
    ids = np.array([f"q{row:03d}" for row in range(len(landmarks))])
    return Predictions(ids, np.array(landmarks)[:, None], confidence[:, None])


def slow_costs(found: Predictions, truth: np.ndarray) -> np.ndarray:
    """Each mistake mended alone, and GAP computed anew."""
    before = gap(found.ids, truth, found.best, found.confidence)
    costs = []
    for row in range(len(truth)):
        best, confidence = found.best.copy(), found.confidence.copy()
        if best[row] == NO_LANDMARK and truth[row] != NO_LANDMARK:
            confidence[row] = confidence[np.isfinite(confidence)].min(initial=0) - 1
        best[row] = truth[row]
        costs.append(gap(found.ids, truth, best, confidence) - before)
    return np.array(costs)


queries = st.lists(
    st.tuples(st.sampled_from([NO_LANDMARK, 1, 2]), st.sampled_from([NO_LANDMARK, 1, 2]), st.integers(0, 4)),
    min_size=1,
    max_size=30,
)


@given(queries)
def test_the_cost_of_a_mistake_is_what_gap_gains_where_it_alone_is_mended(drawn):
    truth = np.array([1] + [row[0] for row in drawn])
    found = answers([2] + [row[1] for row in drawn], [2.0] + [float(row[2]) for row in drawn])
    np.testing.assert_allclose(mistake_costs(found, truth), slow_costs(found, truth), atol=1e-12)


def test_costs_of_a_worked_example():
    # Ranked: right 1/1, distractor, right 2/3; two landmarks. Without the distractor GAP is 1, so it costs 1/6.
    truth = np.array([7, NO_LANDMARK, 9])
    np.testing.assert_allclose(mistake_costs(answers([7, 9, 9], [0.9, 0.8, 0.7]), truth), [0, 1 / 6, 0])


@given(queries)
def test_what_is_lost_sums_to_what_gap_lacks(drawn):
    truth = np.array([1] + [row[0] for row in drawn])
    found = answers([2] + [row[1] for row in drawn], [2.0] + [float(row[2]) for row in drawn])
    parts = loss(found, truth)
    assert min(parts.wrong, parts.silent, parts.distractor) >= 0
    assert parts.total == pytest.approx(1 - gap_of(found, truth), abs=1e-12)


def test_what_is_lost_by_hand():
    # Ranked: right 1/1, distractor, right 2/3, a wrong landmark; one is not answered. GAP is (1 + 2/3) / 4.
    truth = np.array([7, NO_LANDMARK, 9, 5, 6])
    found = loss(answers([7, 9, 9, 7, NO_LANDMARK], [0.9, 0.8, 0.7, 0.6, 0.0]), truth)
    assert (found.wrong, found.silent) == (0.25, 0.25)
    assert found.distractor == pytest.approx(1 / 3 / 4)
    assert verdict(found).startswith("0.583 of GAP is lost: 0.250 to known landmarks named wrongly")
    assert verdict(loss(answers([7], [0.5]), np.array([7]))) == "Nothing of GAP is lost."


def test_the_parts_of_the_verdict_are_rounded_so_that_they_sum_to_its_total():
    # 0.0016 + 0.0016 + 0.0016 = 0.0048: rounded each by itself they would be 0.006 in all.
    assert verdict(Loss(0.0016, 0.0016, 0.0016)) == (
        "0.005 of GAP is lost: 0.002 to known landmarks named wrongly, 0.002 to known landmarks without an answer, "
        "0.001 to photos of no known landmark ranked high."
    )
    # Parts of 0.0004 each are 0.001 in all; one of them is shown.
    assert verdict(Loss(0.0004, 0.0, 0.0005)).startswith("0.001 of GAP is lost: 0.001 to photos of no known")
    assert verdict(Loss(0.0002, 0.0, 0.0002)) == "Less than 0.001 of GAP is lost."


@given(st.lists(st.floats(0, 1 / 3), min_size=3, max_size=3))
def test_the_verdict_sums_and_no_part_is_further_from_the_truth_than_a_shown_step(parts):
    found = Loss(*parts)
    total, *shown = [float(number) for number in re.findall(r"\d\.\d+", verdict(found))] or [0.0]
    if verdict(found).startswith(("Nothing", "Less")):
        assert found.total <= 0.0005
        return
    assert abs(total - found.total) <= 0.0005 + 1e-9
    assert sum(shown) == pytest.approx(total, abs=1e-9)
    assert shown == sorted(shown, reverse=True)
    for value, part in zip(shown, sorted(parts, reverse=True), strict=False):
        assert abs(value - part) < 0.001 + 1e-9


def test_every_query_has_one_of_five_outcomes():
    truth = np.array([7, 7, NO_LANDMARK, 7, NO_LANDMARK])
    found = answers([7, 8, 7, NO_LANDMARK, NO_LANDMARK], [1.0] * 5)
    assert outcomes(found, truth).tolist() == [RIGHT, WRONG, DISTRACTOR, SILENT, QUIET]


def test_gap_is_the_mean_precision_at_the_ranks_of_right_answers():
    rng = np.random.default_rng(0)
    truth = rng.choice([NO_LANDMARK, 1, 2], 50)
    found = answers(rng.choice([1, 2], 50).tolist(), rng.random(50).tolist())
    ranked = ranking(found, truth)
    by_hand = ranked.precision[ranked.outcome == RIGHT].sum() / (truth != NO_LANDMARK).sum()
    assert by_hand == pytest.approx(gap(found.ids, truth, found.best, found.confidence))


def test_a_histogram_counts_every_answer_once_under_its_outcome():
    truth = np.array([7, 7, NO_LANDMARK, 7])
    found = histogram(answers([7, 8, 7, NO_LANDMARK], [1.0, 0.0, 0.5, 0.5]), truth)
    assert {name: int(counts.sum()) for name, counts in found.counts.items()} == {RIGHT: 1, WRONG: 1, DISTRACTOR: 1}
    assert (found.edges[0], found.edges[-1]) == (0, 1)


def test_calibration_bins_hold_equally_many_answers_and_their_error_is_by_hand():
    # Ten answers of 0.25 with one right in five, ten of 0.75 with four in five: both bins are 0.05 off.
    truth = np.array([1, 0, 0, 0, 0] * 2 + [1, 1, 1, 1, 0] * 2)
    bins = calibration(answers([1] * 20, [0.25] * 10 + [0.75] * 10), truth, bins=2)
    assert [(bin.score, bin.right, bin.count) for bin in bins] == [(0.25, 0.2, 10), (0.75, 0.8, 10)]
    assert calibration_error(bins) == pytest.approx(0.05)


def test_scores_that_are_no_probabilities_have_no_calibration_error():
    assert calibration_error(calibration(answers([1, 1], [0.5, 3.0]), np.array([1, 1]))) is None


def test_wilson_interval_agrees_with_a_published_example():
    # Newcombe, Statistics in Medicine 1998, table I, method 3: 81 of 263 is 0.2553 to 0.3662.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_landmark_rows_count_queries_right_answers_and_wrong_ones_that_name_the_landmark():
    truth = np.array([7, 7, 9, NO_LANDMARK])
    rows = landmark_rows(answers([7, 9, 9, 7], [1.0] * 4), truth, {7: 3, 9: 1})
    assert [(row.landmark, row.photos, row.queries, row.right, row.false) for row in rows] == [
        (9, 1, 1, 1, 1),
        (7, 3, 2, 1, 1),
    ]


def test_a_stage_is_set_against_the_best_before_it_and_fusion_against_the_ensemble():
    truth = np.array([1, 2, 1, NO_LANDMARK])
    good, bad = answers([1, 2, 1, 1], [0.9, 0.8, 0.7, 0.1]), answers([1, 1, 2, 1], [0.1, 0.2, 0.3, 0.9])
    rows = stage_rows({"a": good, "b": bad, "retrieval": bad, "ensemble": bad, "fused": good}, truth, ["a", "b"])
    assert [row.before for row in rows] == [None, None, "a", "a", "ensemble"]
    assert rows[-1].added == pytest.approx(rows[-1].gap - rows[-2].gap)
    assert rows[-1].added_low <= rows[-1].added <= rows[-1].added_high


def test_the_sign_test_of_two_runs_agrees_with_the_binomial_by_hand():
    # Six queries are right in the second run alone, none in the first alone: 2 / 2^6.
    truth = np.array([1] * 10)
    found = difference(answers([2] * 6 + [1] * 4, [0.5] * 10), answers([1] * 10, [0.5] * 10), truth)
    assert (found.only_first, found.only_second) == (0, 6)
    assert found.p == pytest.approx(2 / 64)
    assert found.second == 1 and found.low > 0


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_few_round_numbers_within_the_range(low, width):
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * width <= value <= low + width * (1 + 1e-6) for value in found)
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])
