"""Searches for weights: their quick GAP is the metric's, and what they find cannot be bettered by one step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.blend import run as benchmark
from lmk.ensemble.blend_rules import learned_rules
from lmk.ensemble.candidates import Candidates, gather
from lmk.ensemble.climb import FACTORS, SHARES, Climb, coordinate, greedy, hill_climb
from lmk.metrics import gap
from lmk.predictions import NO_LANDMARK, best_of

SEARCHES = {name: rule.search for name, rule in learned_rules().items() if rule.search is not None}


def lists(queries: int, count: int, seed: int, labels: int = 3) -> tuple[Candidates, np.ndarray]:
    """Noisy sources of continuous scores, so that no two are equal; and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(queries) < 0.5, rng.integers(0, 9, queries), NO_LANDMARK)
    ids = np.char.mod("%05d", np.arange(queries))
    sources = []
    for number in range(count):
        scores = rng.random((queries, 9))
        shown = truth != NO_LANDMARK
        scores[shown, truth[shown]] += rng.uniform(0, 0.3 + 0.2 * number, shown.sum())
        sources.append(best_of(ids, np.tile(np.arange(9), (queries, 1)), scores, labels))
    return gather(sources, [lambda scores: scores] * count), truth


def slow_gap(found: Candidates, truth: np.ndarray, weights: np.ndarray) -> float:
    blended = found.best(weights, 1)
    return gap(blended.ids, truth, blended.best, blended.confidence)


@given(st.integers(0, 200), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
@settings(max_examples=60)
def test_the_quick_gap_is_the_metrics(seed, weights):
    found, truth = lists(40, 3, seed)
    climb = Climb(found, truth)
    climb.reset(np.array(weights))
    assert climb.gap() == pytest.approx(slow_gap(found, truth, np.array(weights)), abs=1e-9)


@given(st.integers(0, 200), st.floats(0, 2), st.floats(0.1, 1))
@settings(max_examples=60)
def test_a_trial_along_a_line_is_the_gap_after_that_step(seed, tried, had):
    found, truth = lists(40, 3, seed)
    climb = Climb(found, truth)
    climb.reset(np.array([0.4, had, 0.3]))
    line = climb.line(1, had)
    trial = line.gap(tried)
    line.settle(tried)
    assert trial == climb.gap()
    assert trial == pytest.approx(slow_gap(found, truth, np.array([0.4, tried, 0.3])), abs=1e-9)


def ragged(queries: int, count: int, seed: int) -> tuple[Candidates, np.ndarray]:
    """Noisy sources of unequal width, which name from no to four of nine landmarks a query; and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(queries) < 0.7, rng.integers(0, 9, queries), NO_LANDMARK)
    ids = np.char.mod("%05d", np.arange(queries))
    sources = []
    for _ in range(count):
        width = int(rng.integers(1, 5))
        labels = np.tile(np.arange(9), (queries, 1))
        labels[np.arange(9) >= rng.integers(0, width + 1, queries)[:, None]] = NO_LANDMARK
        labels = rng.permuted(labels, axis=1)
        scores = rng.random((queries, 9)) + (labels == truth[:, None])
        sources.append(best_of(ids, labels, scores, width))
    return gather(sources, [lambda scores: scores] * count), truth


@given(st.integers(0, 500), st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.floats(0.01, 2))
@settings(max_examples=100)
def test_lists_with_empty_places_are_tried_as_the_metric_counts_them(seed, weights, tried):
    found, truth = ragged(30, 3, seed)
    climb = Climb(found, truth)
    climb.reset(np.array(weights))
    assert climb.gap() == pytest.approx(slow_gap(found, truth, np.array(weights)), abs=1e-9)
    line = climb.line(1, weights[1])
    expected = slow_gap(found, truth, np.array([weights[0], tried, weights[2]]))
    assert line.gap(tried) == pytest.approx(expected, abs=1e-9)
    line.settle(tried)
    assert climb.gap() == pytest.approx(expected, abs=1e-9)


def test_a_query_with_several_true_landmarks_is_right_with_any_of_them():
    found, truth = lists(60, 2, 5)
    other = np.where(truth == NO_LANDMARK, NO_LANDMARK, (truth + 1) % 9)
    climb = Climb(found, np.column_stack([truth, other]))
    climb.reset(np.array([0.5, 0.5]))
    blended = found.best([0.5, 0.5], 1)
    expected = gap(blended.ids, np.column_stack([truth, other]), blended.best, blended.confidence)
    assert climb.gap() == pytest.approx(expected, abs=1e-9)


def test_equal_scores_never_help():
    """Two queries with one score: the wrong one counts first, whatever their ids."""
    ids = np.array(["a", "b"])
    source = best_of(ids, np.array([[1], [1]]), np.array([[0.5], [0.5]]), 1)
    found = gather([source, source], [lambda scores: scores] * 2)
    climb = Climb(found, np.array([1, NO_LANDMARK]))
    climb.reset(np.array([1.0, 0.0]))
    assert climb.gap() == 0.5


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_tells_the_gap_of_its_weights_and_beats_every_source(search):
    found, truth = lists(400, 4, 3)
    done = SEARCHES[search](found, truth)
    assert done.weights.sum() == pytest.approx(1)
    assert done.weights.min() >= 0
    assert done.gap == pytest.approx(slow_gap(found, truth, done.weights), abs=1e-6)
    assert done.gap >= max(slow_gap(found, truth, row) for row in np.eye(4)) - 1e-9


def test_greedy_makes_the_choices_of_its_slow_twin():
    found, truth = lists(120, 3, 4)
    counts, best = np.zeros(3), (-1.0, np.zeros(3))
    for _ in range(30):
        gaps = [slow_gap(found, truth, counts + row) for row in np.eye(3)]
        counts[int(np.argmax(gaps))] += 1
        if max(gaps) > best[0] + 1e-9:
            best = max(gaps), counts / counts.sum()
    assert greedy(found, truth).gap == pytest.approx(best[0], abs=1e-6)


def test_hill_climbing_ends_where_no_share_of_any_source_helps():
    found, truth = lists(200, 4, 6)
    done = hill_climb(found, truth)
    for row in np.eye(4):
        for share in SHARES:
            assert slow_gap(found, truth, (1 - share) * done.weights + share * row) <= done.gap + 1e-6


def test_coordinate_search_ends_where_no_factor_of_any_weight_helps():
    found, truth = lists(200, 4, 7)
    done = coordinate(found, truth)
    for source in range(4):
        for factor in FACTORS:
            moved = done.weights.copy()
            moved[source] *= factor
            assert slow_gap(found, truth, moved) <= done.gap + 1e-6


def test_where_nothing_is_right_all_weights_are_equal():
    found, _ = lists(20, 3, 8)
    wrong = np.full(20, 77)
    for search in SEARCHES.values():
        assert search(found, wrong).gap == 0
    np.testing.assert_allclose(greedy(found, wrong).weights, 1 / 3)


def test_the_benchmarks_peers_and_their_fast_twin_end_at_the_same_weights():
    whole = benchmark(queries=1500, lists=4, grid=0.1, steps=None)
    part = benchmark(queries=1500, lists=4, grid=0.1, steps=1)
    assert part["peer_steps_timed"] == 1
    assert part["peer_steps"] == whole["peer_steps"] == whole["peer_steps_timed"]
    assert part["peer_gap"] == pytest.approx(whole["peer_gap"], abs=1e-6)
    assert part["gap"] > part["best_list_gap"]
