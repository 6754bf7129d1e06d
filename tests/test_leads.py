"""Leads between two ways to answer: their error, and what is taken when it is larger than the lead."""

import numpy as np
import pytest

from lmk.ensemble.leads import lead_and_error, settle
from lmk.metrics import gap
from lmk.predictions import NO_LANDMARK, Predictions

COUNT = 240
TRUTH = np.where(np.arange(COUNT) % 3 > 0, 1, NO_LANDMARK)


def answered(right: np.ndarray) -> Predictions:
    """Landmark 1 where `right`, else landmark 2, the surest first."""
    ids = np.array([f"q{row:03}" for row in range(len(right))])
    return Predictions(ids, np.where(right, 1, 2)[:, None], np.linspace(1, 0, len(right))[:, None])


SOME = np.random.default_rng(0).random(COUNT) < 0.6
EVERY = np.ones(COUNT, bool)


def test_a_lead_is_the_difference_of_gap_and_its_error_that_of_many_draws_of_queries():
    """The bootstrap's error is what GAP's difference varies by from one set of queries to the next."""
    first, second = answered(SOME), answered(SOME | (np.arange(COUNT) % 7 == 0))
    lead, error = lead_and_error(first, second, TRUTH)
    by_hand = [gap(lists.ids, TRUTH, lists.best, lists.confidence) for lists in (first, second)]
    assert lead == pytest.approx(by_hand[1] - by_hand[0])
    rng, differences = np.random.default_rng(1), []
    for _ in range(200):
        right = rng.random(COUNT) < 0.6
        better = right | (rng.random(COUNT) < 1 / 7)
        gaps = [gap(first.ids, TRUTH, np.where(hits, 1, 2), first.confidence) for hits in (right, better)]
        differences.append(gaps[1] - gaps[0])
    assert 0.5 * np.std(differences) < error < 2 * np.std(differences)
    assert lead_and_error(first, first, TRUTH) == (0.0, 0.0)
    assert lead_and_error(first, second, np.full(COUNT, NO_LANDMARK)) == (0.0, 0.0)


def test_what_is_meant_stays_within_an_error_and_gives_way_beyond_it():
    one_more = SOME.copy()
    one_more[np.flatnonzero(~SOME & (TRUTH == 1))[-1]] = True
    meant, hardly, far = answered(SOME), answered(one_more), answered(EVERY)
    assert lead_and_error(meant, hardly, TRUTH)[0] > 0
    assert settle([hardly, meant], TRUTH, 1) == 1
    assert settle([far, meant], TRUTH, 1) == 0
    assert settle([meant, hardly, far], TRUTH, 0) == 2
    assert settle([far, meant], TRUTH, 0) == 0


def test_of_a_way_that_changes_nothing_the_milder_one_is_taken():
    lists = answered(SOME)
    assert settle([lists, answered(SOME), answered(SOME)], TRUTH, 1) == 0
