"""Suppression: what dev taught is taken off, and nothing where it taught nothing."""

import numpy as np
import pytest

from lmk.evaluation import gap_of
from lmk.predictions import NO_LANDMARK, Predictions
from research.suppress import Suppression, fit_suppression


def drawn(queries: int = 300, seed: int = 0, alike: float = 0.3) -> tuple[Predictions, np.ndarray, np.ndarray]:
    """Answers that score distractors as high as landmarks, likeness that tells them apart, and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(queries) < 0.5, rng.integers(0, 8, queries), NO_LANDMARK)
    best = np.where(truth == NO_LANDMARK, rng.choice([3, 3, 3, 5], queries), truth)
    scores = rng.uniform(0.3, 0.9, queries)
    likeness = rng.normal(0.5, 0.1, queries) + alike * (truth == NO_LANDMARK)
    ids = np.char.mod("%04d", np.arange(queries))
    other = (best + 1) % 8
    return Predictions(ids, np.column_stack([best, other]), np.column_stack([scores, scores - 0.2])), likeness, truth


def test_likeness_and_penalties_are_taken_off():
    found = Predictions(["a", "b"], [[3, 5], [5, NO_LANDMARK]], [[0.9, 0.8], [0.7, -np.inf]])
    less = Suppression(0.5, ((3, 0.25),))(found, np.array([0.2, 0.4]))
    assert less.landmarks.tolist() == [[5, 3], [5, NO_LANDMARK]]
    np.testing.assert_allclose(less.scores, [[0.7, 0.55], [0.5, -np.inf]])


def test_likeness_that_tells_distractors_apart_raises_gap():
    found, likeness, truth = drawn()
    off = fit_suppression(found, likeness, truth, overuse_weights=(0.0,))
    assert off.likeness > 0
    assert off.penalties == ()
    again, alike, shown = drawn(seed=1)
    assert gap_of(off(again, alike), shown) > gap_of(again, shown) + 0.05


def test_labels_that_were_answered_too_often_are_penalised():
    found, likeness, truth = drawn(alike=0.0)
    off = dict(fit_suppression(found, likeness, truth, likeness_weights=(0.0,)).penalties)
    assert off[3] > off[5] > off[0] >= 0
    again, alike, shown = drawn(seed=2, alike=0.0)
    done = fit_suppression(found, likeness, truth, likeness_weights=(0.0,))
    assert gap_of(done(again, alike), shown) > gap_of(again, shown)


def test_where_nothing_helps_nothing_is_taken_off():
    found, _, truth = drawn()
    perfect = Predictions(found.ids, truth[:, None], np.where(truth == NO_LANDMARK, -np.inf, 1.0)[:, None])
    assert fit_suppression(perfect, np.zeros(len(truth)), truth) == Suppression(0.0, ())


@pytest.mark.parametrize("queries", [0, 1])
def test_few_queries_teach_nothing(queries):
    found, likeness, truth = drawn(queries)
    assert fit_suppression(found, likeness, np.full(len(truth), NO_LANDMARK)) == Suppression(0.0, ())
