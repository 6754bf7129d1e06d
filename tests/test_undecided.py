"""Which queries the first evidence leaves undecided, and with which photos they are matched."""

from types import SimpleNamespace

import numpy as np

from lmk.local.evidence import NOT_COMPARED
from lmk.predictions import NO_LANDMARK, Predictions
from research.undecided import gathered, photos_to_match, undecided


def lists(landmarks: list[list[int]], scores: list[list[float]]) -> Predictions:
    return Predictions(np.array([f"q{row}" for row in range(len(landmarks))]), landmarks, scores)


def test_a_query_is_undecided_between_two_probabilities_of_its_best_answer():
    fused = lists([[7, 9], [7, 9], [9, 7], [NO_LANDMARK] * 2], [[0.95, 0.5], [0.5, 0.1], [0.04, 0.01], [-np.inf] * 2])
    assert undecided(fused, (0.1, 0.9)).tolist() == [False, True, False, False]


def test_it_is_matched_with_the_best_photos_of_its_first_two_answers_and_with_no_more_than_three():
    proposed = lists([[7, 9, 8], [7, 9, 8]], [[3, 2, 1], [3, 2, 1]])
    fused = lists([[9, 7, 8], [9, 7, 8]], [[0.5, 0.2, 0.1], [0.99, 0, 0]])
    # Of landmark 9 the third and the first photo have the most inliers of both kinds; of 7 a single one was compared.
    one = [[[NOT_COMPARED, 0, -1, -1], [5, 2, 9, 0], [30, 30, 30, 30]]] * 2
    other = [[[NOT_COMPARED, 0, -1, -1], [5, 2, 9, 20], [0, 0, 0, 0]]] * 2
    evidence = {"first": SimpleNamespace(counts=np.array(one)), "second": SimpleNamespace(counts=np.array(other))}
    rows, places, columns = photos_to_match(proposed, fused, evidence, np.array([True, False]))
    assert list(zip(rows.tolist(), places.tolist(), columns.tolist(), strict=True)) == [(0, 1, 2), (0, 1, 0), (0, 0, 1)]


def test_photos_that_were_not_compared_are_not_matched_and_no_query_asks_for_none():
    proposed = lists([[7]], [[0.5]])
    evidence = {"only": SimpleNamespace(counts=np.full((1, 1, 4), NOT_COMPARED))}
    assert [len(part) for part in photos_to_match(proposed, proposed, evidence, np.array([True]))] == [0, 0, 0]


def test_a_proposal_has_the_most_inliers_of_its_photos():
    at = (np.array([0, 0, 1]), np.array([1, 1, 0]), np.array([2, 0, 1]))
    found = gathered(np.array([12, 30, 4]), at, (2, 2))
    assert found.inliers.tolist() == [[0, 30], [4, 0]]
    assert found.compared.tolist() == [[0, 2], [1, 0]]
