"""GAP is the hosts': its published vectors, its laws, and a slow clear twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.metrics import gap, gap_interval, ranked_hits, top1_accuracy
from lmk.predictions import NO_LANDMARK


def slow_gap(ids, truth, predicted, confidence):
    """The definition, one prediction at a time; truth is a list of sets."""
    answers = [row for row in range(len(ids)) if predicted[row] != NO_LANDMARK]
    answers.sort(key=lambda row: (-confidence[row], ids[row], predicted[row]))
    hits, total = 0, 0.0
    for place, row in enumerate(answers, start=1):
        if predicted[row] in truth[row]:
            hits += 1
            total += hits / place
    return total / sum(bool(landmarks) for landmarks in truth)


def padded(truth):
    width = max(1, *(len(landmarks) for landmarks in truth))
    return np.array([sorted(landmarks) + [NO_LANDMARK] * (width - len(landmarks)) for landmarks in truth])


def test_gap_of_a_worked_example():
    # Ranked: right 1/1, wrong, right 2/3, distractor, right 3/5; four queries show a landmark.
    truth, predicted = np.array([7, 7, 9, NO_LANDMARK, 5]), np.array([7, 8, 9, 9, 5])
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    ids = np.array(["a", "b", "c", "d", "e"])
    assert gap(ids, truth, predicted, confidence) == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 4)


def test_gap_of_the_hosts_own_test():
    ids = np.array(["01", "02", "03", "04", "05"])
    truth = padded([{0, 12}, {100, 200, 300}, {1}, set(), set()])
    predicted = np.array([NO_LANDMARK, 0, 1, 150, NO_LANDMARK])
    confidence = np.array([0, 0.01, 10.0, 15.0, 0])
    assert gap(ids, truth, predicted, confidence) == pytest.approx(0.166667, abs=1e-6)
    known = slice(0, 3)
    assert gap(ids[known], truth[known], predicted[known], confidence[known]) == pytest.approx(1 / 3)
    assert top1_accuracy(truth, predicted) == pytest.approx(1 / 3)


def test_gap_of_the_published_example_with_ten_queries():
    truth = np.array([123, -1, 999, 123, 999, 888, 666, 666, -1, 666])
    predicted = np.array([123, 123, 999, -1, 999, -1, 555, 666, -1, 666])
    confidence = np.array([0.15, 0.10, 0.30, 0, 0.40, 0, 0.60, 0.70, 0, 0.99])
    ids = np.array([f"{row:03d}" for row in range(1, 11)])
    assert gap(ids, truth, predicted, confidence) == pytest.approx(0.5479166667, abs=1e-10)


def test_ties_are_ranked_by_id():
    ids, predicted, confidence = np.array(["a", "b"]), np.array([1, 1]), np.array([0.5, 0.5])
    assert gap(ids, np.array([1, -1]), predicted, confidence) == 1.0
    assert gap(ids, np.array([-1, 1]), predicted, confidence) == 0.5


def test_gap_without_a_landmark_is_refused():
    with pytest.raises(ValueError, match="none of the 2 queries"):
        gap(np.array(["a", "b"]), np.array([-1, -1]), np.array([1, 2]), np.array([0.1, 0.2]))


def test_a_confidence_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        gap(np.array(["a", "b"]), np.array([1, 1]), np.array([1, 2]), np.array([np.nan, 0.2]))


queries = st.lists(
    st.tuples(st.sets(st.integers(0, 4), max_size=2), st.integers(-1, 4), st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    min_size=1,
    max_size=30,
).filter(lambda rows: any(row[0] for row in rows))


@settings(max_examples=200, deadline=None)
@given(queries, st.randoms())
def test_gap_equals_its_definition(rows, random):
    ids = np.array([f"{row:02d}" for row in range(len(rows))])
    random.shuffle(ids)
    truth, predicted, confidence = zip(*rows, strict=True)
    expected = slow_gap(ids, truth, predicted, confidence)
    assert gap(ids, padded(truth), np.array(predicted), np.array(confidence)) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(queries, st.integers(0, 2**32 - 1))
def test_gap_does_not_change_under_an_increasing_transform_or_another_order(rows, seed):
    ids = np.array([f"{row:02d}" for row in range(len(rows))])
    truth, predicted, confidence = padded([row[0] for row in rows]), *map(np.array, list(zip(*rows, strict=True))[1:])
    order = np.random.default_rng(seed).permutation(len(rows))
    value = gap(ids, truth, predicted, confidence)
    assert gap(ids[order], truth[order], predicted[order], np.exp(confidence[order]) - 7) == pytest.approx(value)


@settings(max_examples=100, deadline=None)
@given(queries)
def test_an_answer_below_all_others_never_lowers_gap(rows):
    ids = np.array([f"{row:02d}" for row in range(len(rows))])
    truth, predicted, confidence = padded([row[0] for row in rows]), *map(np.array, list(zip(*rows, strict=True))[1:])
    filled = np.where(predicted == NO_LANDMARK, 0, predicted)
    last = np.where(predicted == NO_LANDMARK, -1.0, confidence)
    assert gap(ids, truth, filled, last) >= gap(ids, truth, predicted, confidence) - 1e-12


def test_the_interval_holds_the_value_and_narrows_with_more_queries():
    rng = np.random.default_rng(0)
    widths = []
    for count in (200, 5000):
        shows = rng.random(count) < 0.4
        correct = shows & (rng.random(count) < np.linspace(1, 0.2, count))
        value = (np.cumsum(correct) / np.arange(1, count + 1) * correct).sum() / shows.sum()
        low, high = gap_interval(correct, shows, draws=300, seed=1)
        assert low < value < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_ranked_hits_count_the_queries_that_show_a_landmark_once_each():
    hits, num_landmarks = ranked_hits(
        np.array(["a", "b"]), np.array([[1, 2], [-1, -1]]), np.array([2, 2]), np.array([0.1, 0.9])
    )
    assert hits.tolist() == [False, True]
    assert num_landmarks == 1
