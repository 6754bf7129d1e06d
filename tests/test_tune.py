"""Cross-fitting: nobody answers what taught them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmk.ensemble.tune import PARTS, cross_fit
from lmk.pipeline.results import Answers, Neighbours
from lmk.predictions import Predictions

GROUPS = st.lists(st.integers(0, 9), min_size=1, max_size=60).map(lambda groups: np.array(groups).astype(str))


def spied(groups: np.ndarray, seed: int = 0) -> tuple[Predictions, list[tuple[set[int], set[int]]]]:
    """What comes back when a row's answer is its own number, and the rows of each fit and of what it answered."""
    seen = []

    def fit(rows: np.ndarray) -> set[int]:
        return set(rows.tolist())

    def apply(taught: set[int], rows: np.ndarray) -> Predictions:
        seen.append((taught, set(rows.tolist())))
        return Predictions([f"row {row}" for row in rows], rows[:, None], np.ones((len(rows), 1)))

    return cross_fit(groups, fit, apply, seed), seen


@given(GROUPS)
def test_no_group_that_is_answered_was_fitted_on(groups):
    for taught, answered in spied(groups)[1]:
        assert not set(groups[sorted(taught)]) & set(groups[sorted(answered)])


@given(GROUPS)
def test_every_row_that_is_not_answered_is_fitted_on(groups):
    for taught, answered in spied(groups)[1]:
        assert taught | answered == set(range(len(groups)))


@given(GROUPS)
def test_every_row_is_answered_once_in_its_place(groups):
    found, _ = spied(groups)
    assert found.best.tolist() == list(range(len(groups)))
    assert found.ids.tolist() == [f"row {row}" for row in range(len(groups))]


def test_groups_are_dealt_evenly():
    _, seen = spied(np.arange(100).astype(str))
    assert [len(answered) for _, answered in seen] == [100 // PARTS] * PARTS


def test_the_seed_deals_the_groups():
    groups = np.arange(100).astype(str)
    assert spied(groups, 1)[1] == spied(groups, 1)[1]
    assert spied(groups, 1)[1] != spied(groups, 2)[1]


def test_lists_of_different_lengths_come_back_together():
    groups = np.arange(10).astype(str)

    def apply(fitted: None, rows: np.ndarray) -> Predictions:
        width = 1 + int(rows[0]) % 2
        return Predictions(groups[rows], np.ones((len(rows), width)), np.ones((len(rows), width)))

    assert len(cross_fit(groups, lambda rows: None, apply, 0)) == 10


def test_lists_that_a_stage_packed_come_back_after_its_own():
    ids = np.array(["a", "b"])
    own, *further = (Predictions(ids, [[landmark], [5]], [[0.5], [0.25]]) for landmark in (1, 2, 3))
    alone = tuple(Answers(one, own) for one in further)
    packed = Neighbours(own, own, np.zeros((2, 1)), np.zeros((2, 1)), alone)
    source = Neighbours.of(own, own, packed.arrays())
    assert [found.best.tolist() for found in source.lists("dev")] == [[1, 5], [2, 5], [3, 5]]
    assert [found.best.tolist() for found in source.lists("test")] == [[1, 5]] * 3
    assert all((found.ids == ids).all() for found in source.lists("dev"))
