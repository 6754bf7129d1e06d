"""Stacking: both models learn what tells right proposals from wrong ones."""

import numpy as np
import pytest

from lmk.predictions import NO_LANDMARK, Predictions
from research.stack import Stack


def proposals(queries: int, seed: int) -> tuple[Predictions, np.ndarray, np.ndarray]:
    """Two proposals a query; the second feature tells which is right, the first one is noise."""
    rng = np.random.default_rng(seed)
    second = rng.random(queries) < 0.5
    right = np.column_stack([~second, second])
    features = np.stack([rng.normal(0, 1, right.shape), right + rng.normal(0, 0.3, right.shape)], axis=2)
    ids = np.char.mod("%04d", np.arange(queries))
    return Predictions(ids, np.tile([7, 9], (queries, 1)), np.tile([0.6, 0.4], (queries, 1))), features, right


@pytest.mark.parametrize("kind", ["logistic", "boosted"])
def test_proposals_are_re_ranked_by_what_was_learned(kind):
    _, features, right = proposals(300, 0)
    model = Stack(kind, features, right)
    found, asked, truth = proposals(200, 1)
    answers = model(found, asked)
    assert (answers.best == np.where(truth[:, 1], 9, 7)).mean() > 0.85
    assert answers.scores.min() >= 0
    assert answers.scores.max() <= 1


@pytest.mark.parametrize("kind", ["logistic", "boosted"])
def test_an_empty_place_stays_empty_and_a_query_does_not_know_its_neighbours(kind):
    _, features, right = proposals(200, 0)
    model = Stack(kind, features, right)
    found, asked, _ = proposals(5, 1)
    landmarks = found.landmarks.copy()
    landmarks[2, 1] = NO_LANDMARK
    scores = np.where(landmarks == NO_LANDMARK, -np.inf, found.scores)
    whole = model(Predictions(found.ids, landmarks, scores), asked)
    assert whole.landmarks[2].tolist() == [7, NO_LANDMARK]
    alone = model(found.take(np.array([4])), asked[4:])
    np.testing.assert_allclose(alone.scores[0], whole.scores[4])
