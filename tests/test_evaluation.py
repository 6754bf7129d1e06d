"""Evaluation: GAP by usage and by hand, its interval, and what the hosts would refuse."""

import numpy as np
import pytest

from lmk.data.tables import Solution
from lmk.evaluation import check_submission, evaluate, gap_and_interval, gap_of, paired_interval
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.errors import LmkError

# Ranked: a right, b wrong, c right, d shows no landmark, e right; f is not answered.
ANSWERS = Predictions(list("abcde"), [[7], [8], [9], [9], [5]], [[0.9], [0.8], [0.7], [0.6], [0.5]])
TRUTH = np.array([7, 7, 9, NO_LANDMARK, 5, 6])
SOLUTION = Solution(
    np.array(list("abcdef")), TRUTH[:, None], np.array(["Public", "Public", "Private", "Private", "Private", "Private"])
)


def many(queries: int, share_right: float, seed: int) -> tuple[Predictions, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(queries) < 0.6, rng.integers(0, 50, queries), NO_LANDMARK)
    best = np.where(rng.random(queries) < share_right, truth, 99)
    return Predictions(np.arange(queries).astype(str), best[:, None], rng.random((queries, 1))), truth


def test_an_evaluation_by_hand():
    found = evaluate(ANSWERS, SOLUTION, draws=50)
    assert found.gap == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 5)
    assert found.gap_public == pytest.approx((1 / 1) / 2)
    assert found.gap_private == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert found.gap_landmark_only == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 5)
    assert found.top1 == pytest.approx(3 / 5)
    assert (found.queries, found.landmark_queries) == (6, 5)
    assert found.low <= found.gap <= found.high


def test_a_query_that_is_ignored_counts_nowhere():
    usage = SOLUTION.usage.copy()
    usage[1] = "Ignored"
    found = evaluate(ANSWERS, Solution(SOLUTION.ids, SOLUTION.truth, usage), draws=50)
    assert found.gap == pytest.approx((1 / 1 + 2 / 2 + 3 / 4) / 4)
    assert found.queries == 5


def test_a_list_that_shows_no_landmark_has_no_gap():
    usage = np.where(SOLUTION.ids == "d", "Public", "Private")
    found = evaluate(ANSWERS, Solution(SOLUTION.ids, SOLUTION.truth, usage), draws=50)
    assert found.gap_public is None
    assert found.gap_private == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 5)


def test_any_of_a_photos_landmarks_is_right():
    truth = np.column_stack([TRUTH, np.full(6, NO_LANDMARK)])
    truth[1, 1] = 8
    assert evaluate(ANSWERS, Solution(SOLUTION.ids, truth, SOLUTION.usage), draws=50).top1 == pytest.approx(4 / 5)


def test_the_order_of_a_submissions_rows_does_not_matter():
    shuffled = ANSWERS.take(np.array([3, 1, 4, 0, 2]))
    assert evaluate(shuffled, SOLUTION, draws=50) == evaluate(ANSWERS, SOLUTION, draws=50)


def test_an_answer_that_the_solution_does_not_know_is_refused():
    foreign = Predictions(["a", "z"], [[7], [1]], [[0.9], [0.1]])
    with pytest.raises(LmkError, match="1 answered ids are not in the solution; first: 'z'"):
        evaluate(foreign, SOLUTION)


def test_an_id_that_is_not_answered_may_be_unknown():
    silent = Predictions(["a", "z"], [[7], [NO_LANDMARK]], [[0.9], [-np.inf]])
    assert evaluate(silent, SOLUTION, draws=10).gap == pytest.approx(1 / 5)


def test_a_solution_without_landmarks_is_refused():
    nothing = Solution(SOLUTION.ids, np.full((6, 1), NO_LANDMARK), SOLUTION.usage)
    with pytest.raises(LmkError, match="shows a landmark"):
        evaluate(ANSWERS, nothing)


def test_gap_without_landmarks_or_without_queries_is_0():
    assert gap_of(ANSWERS, np.full(5, NO_LANDMARK)) == 0
    assert gap_and_interval(ANSWERS, np.full(5, NO_LANDMARK)) == (0, 0, 0)
    nobody = Predictions(np.empty(0, str), np.empty((0, 3)), np.empty((0, 3)))
    assert gap_of(nobody, np.empty(0, np.int64)) == 0
    assert gap_and_interval(nobody, np.empty(0, np.int64)) == (0, 0, 0)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    # Queries of one population: the GAP of very many of them is the truth that 95 % of the intervals should hold.
    whole, truth = many(40_000, 0.7, 0)
    real = gap_of(whole, truth)
    held = 0
    for trial in range(40):
        rows = np.arange(trial * 500, (trial + 1) * 500)
        _, low, high = gap_and_interval(whole.take(rows), truth[rows], draws=120)
        held += low <= real <= high
    assert held >= 34


def test_more_queries_make_the_interval_narrower():
    widths = []
    for queries in (100, 10_000):
        gap, low, high = gap_and_interval(*many(queries, 0.7, 1), draws=100)
        assert low <= gap <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 4


def test_the_same_seed_gives_the_same_interval():
    predictions, truth = many(200, 0.6, 2)
    assert gap_and_interval(predictions, truth, 50, 3) == gap_and_interval(predictions, truth, 50, 3)
    assert gap_and_interval(predictions, truth, 50, 3) != gap_and_interval(predictions, truth, 50, 4)


def test_predictions_do_not_differ_from_themselves():
    predictions, truth = many(100, 0.6, 4)
    assert paired_interval(predictions, predictions, truth, draws=50) == (0, 0)


def test_a_gain_that_every_query_shares_is_seen_where_intervals_alone_overlap():
    first, truth = many(400, 0.6, 5)
    hit = np.where(np.arange(400) % 12 == 0, truth, first.best)
    second = Predictions(first.ids, hit[:, None], first.scores)
    low, high = paired_interval(first, second, truth, draws=200)
    assert 0 < low < gap_of(second, truth) - gap_of(first, truth) < high
    assert gap_and_interval(first, truth, 200)[2] > gap_and_interval(second, truth, 200)[1]
    assert paired_interval(second, first, truth, draws=200) == pytest.approx((-high, -low))


SAMPLE = np.array(["a", "b", "c"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "c"], "1 ids of the sample are missing; first: 'b'"),
        (["a", "b", "c", "z"], "1 ids are not in the sample; first: 'z'"),
    ],
)
def test_a_submission_of_other_ids_is_refused(ids, message):
    predictions = Predictions(ids, np.ones((len(ids), 1)), np.ones((len(ids), 1)))
    with pytest.raises(LmkError, match=message):
        check_submission(predictions, SAMPLE)


@pytest.mark.parametrize(("ids", "in_order"), [(["a", "b", "c"], True), (["b", "a", "c"], False)])
def test_rows_in_another_order_than_the_samples_are_taken_and_told(ids, in_order):
    assert check_submission(Predictions(ids, np.ones((3, 1)), np.ones((3, 1))), SAMPLE) == in_order


def test_an_id_that_is_answered_twice_is_refused():
    with pytest.raises(LmkError, match="some stand twice"):
        check_submission(Predictions([*SAMPLE, "a"], np.ones((4, 1)), np.ones((4, 1))), SAMPLE)


def test_a_score_that_is_not_finite_is_refused_where_something_is_answered():
    check_submission(Predictions(SAMPLE, [[1], [NO_LANDMARK], [2]], [[1], [-np.inf], [0]]), SAMPLE)
    with pytest.raises(LmkError, match="not finite"):
        check_submission(Predictions(SAMPLE, [[1], [3], [2]], [[1], [np.inf], [0]]), SAMPLE)
