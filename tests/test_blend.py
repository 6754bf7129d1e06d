"""The blend: label-aware sums as a slow twin makes them, and weights that dev deserves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.ensemble.blend import Blend, fit_blend
from lmk.ensemble.calibrate import Calibration
from lmk.ensemble.candidates import gather
from lmk.metrics import gap
from lmk.predictions import NO_LANDMARK, Predictions, best_of

PLAIN = Calibration(odds=False, slope=1.0, intercept=0.0)


@st.composite
def sources_and_truth(draw):
    """One to three sources of up to 8 queries, each naming distinct landmarks of 0 to 5 or nothing."""
    queries, count = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    ids = np.array([f"q{place}" for place in range(queries)])
    sources = []
    for _ in range(count):
        width = draw(st.integers(1, 4))
        lists = [draw(st.lists(st.integers(0, 5), max_size=width, unique=True)) for _ in range(queries)]
        landmarks = np.array([named + [NO_LANDMARK] * (width - len(named)) for named in lists])
        scores = np.array([[draw(st.floats(0, 1, width=16)) for _ in range(width)] for _ in range(queries)])
        sources.append(best_of(ids, landmarks, scores, width))
    truth = np.array([draw(st.integers(-1, 5)) for _ in range(queries)])
    return sources, truth


def slow_blend(sources, weights, k):
    """What `Blend` promises, query by query in plain dictionaries."""
    answers = []
    for row in range(len(sources[0])):
        total = {}
        for source, weight in zip(sources, weights, strict=True):
            for landmark, score in zip(source.landmarks[row].tolist(), source.scores[row].tolist(), strict=True):
                if landmark != NO_LANDMARK:
                    total[landmark] = total.get(landmark, 0.0) + weight * float(PLAIN(np.array(score)))
        answers.append(sorted(total.items(), key=lambda item: (-round(item[1], 12), item[0]))[:k])
    return answers


@given(sources_and_truth(), st.integers(1, 6))
def test_a_blend_sums_each_landmarks_weighted_probabilities(drawn, k):
    sources, _ = drawn
    weights = np.arange(1.0, len(sources) + 1) / sum(range(1, len(sources) + 1))
    found = Blend((PLAIN,) * len(sources), tuple(weights))(sources, k)
    for row, expected in enumerate(slow_blend(sources, weights, k)):
        named = found.landmarks[row] != NO_LANDMARK
        assert named.sum() == len(expected)
        np.testing.assert_allclose(found.scores[row][named], [score for _, score in expected])
        by_landmark = dict(zip(found.landmarks[row][named].tolist(), found.scores[row][named].tolist(), strict=True))
        assert by_landmark == pytest.approx(dict(expected)) or len(expected) == k  # of equal sums either may be cut
        assert np.isneginf(found.scores[row][~named]).all()


@given(sources_and_truth())
@settings(max_examples=8)
def test_weights_are_shares(drawn):
    weights = fit_blend(*drawn, seed=0).weights
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1)


@given(sources_and_truth())
def test_candidates_are_each_landmark_once_in_ascending_order(drawn):
    sources, _ = drawn
    found = gather(sources, [PLAIN] * len(sources))
    for row in range(len(found.ids)):
        named = set().union(*(source.landmarks[row].tolist() for source in sources)) - {NO_LANDMARK}
        listed = found.landmarks[row][found.landmarks[row] != NO_LANDMARK].tolist()
        assert listed == sorted(named)
        assert (found.sums([1.0] * len(sources))[row][found.landmarks[row] == NO_LANDMARK] == 0).all()


def answers(truth: np.ndarray, share_right: float, seed: int) -> Predictions:
    """A source that is right for a share of the queries, and sure where it is."""
    rng = np.random.default_rng(seed)
    right = (rng.random(len(truth)) < share_right) & (truth != NO_LANDMARK)
    landmarks = np.where(right, truth, rng.integers(0, 20, len(truth)))
    scores = np.clip(np.where(right, 0.75, 0.35) + rng.normal(0, 0.12, len(truth)), 0, 1)
    return Predictions([f"{row:04d}" for row in range(len(truth))], landmarks[:, None], scores[:, None])


def truth_of(queries: int) -> np.ndarray:
    rng = np.random.default_rng(9)
    return np.where(rng.random(queries) < 0.5, rng.integers(0, 20, queries), NO_LANDMARK)


def test_a_source_that_is_noise_gets_little_weight():
    truth = truth_of(300)
    good, noise = answers(truth, 0.8, 1), answers(truth, 0.0, 2)
    weights = fit_blend([noise, good], truth, seed=0).weights
    assert weights[0] < 0.2


def test_two_sources_that_know_different_halves_beat_each_alone():
    truth = truth_of(400)
    first, second = answers(truth, 0.6, 3), answers(truth, 0.6, 4)
    blend = fit_blend([first, second], truth, seed=0)
    assert min(blend.weights) > 0.2
    blended = blend([first, second], 3)
    score = gap(blended.ids, truth, blended.best, blended.confidence)
    for source in (first, second):
        assert score > gap(source.ids, truth, source.best, source.confidence) + 0.05


def test_a_source_blended_with_itself_keeps_its_answers():
    truth = truth_of(50)
    source = answers(truth, 0.7, 5)
    blended = fit_blend([source, source], truth, seed=0)([source, source], 1)
    np.testing.assert_array_equal(blended.best, source.best)
    np.testing.assert_array_equal(np.argsort(blended.confidence, kind="stable"), np.argsort(source.confidence))


def test_the_same_seed_gives_the_same_blend():
    truth = truth_of(60)
    sources = [answers(truth, 0.6, 6), answers(truth, 0.5, 7)]
    assert fit_blend(sources, truth, seed=3) == fit_blend(sources, truth, seed=3)


def test_a_querys_blend_does_not_depend_on_other_queries():
    truth = truth_of(40)
    sources = [answers(truth, 0.6, 8), answers(truth, 0.5, 9)]
    blend = fit_blend(sources, truth, seed=0)
    rows = np.array([3, 17])
    alone = blend([source.take(rows) for source in sources], 2)
    together = blend(sources, 2).take(rows)
    np.testing.assert_array_equal(alone.landmarks, together.landmarks)
    np.testing.assert_allclose(alone.scores, together.scores, rtol=1e-12)


def test_queries_that_show_no_landmark_give_every_source_the_same_weight():
    truth = np.full(10, NO_LANDMARK)
    assert fit_blend([answers(truth, 0, 1), answers(truth, 0, 2)], truth, seed=0).weights == pytest.approx((0.5, 0.5))


def test_sources_in_another_order_are_refused():
    source = answers(truth_of(5), 0.5, 1)
    with pytest.raises(ValueError, match="same order"):
        gather([source, source.take(np.arange(5)[::-1])], [PLAIN, PLAIN])
