"""From features of views to each photo's best landmarks, by hand and against a slow twin."""

from collections import defaultdict

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.models import prediction as predict
from lmk.models.heads import HEADS
from lmk.models.network import Network
from lmk.models.prediction import predict_features, top_k, vote_views
from lmk.models.recipe import Recipe, Stage
from lmk.predictions import NO_LANDMARK

LANDMARKS = np.array([3, 10, 40, 700])


def network(vote: str, head: str = "sigmoid", background: str = "zero") -> Network:
    """A top whose outputs are its features."""
    recipe = Recipe("plain", "mobilenet", 32, (Stage(1, 0.1),), head=head, background=background, vote=vote)
    features = keras.Input((len(LANDMARKS) + (background == "class"),))
    top = keras.Model(features, keras.layers.Identity()(features))
    return Network(recipe, top, top, HEADS[head])


def test_a_vote_by_hand():
    # Photo a: two views say 10 (0.9 and 0.3), one says 3 (0.8); photo b: one says 40, and two say 3.
    answers = np.array([[10, 3, 10], [40, 3, 3]])
    scores = np.array([[0.9, 0.8, 0.3], [0.9, 0.1, 0.2]])
    found = vote_views(np.array(["a", "b"]), answers, scores, 3)
    assert found.landmarks.tolist() == [[10, 3, NO_LANDMARK], [40, 3, NO_LANDMARK]]
    np.testing.assert_allclose(found.scores, [[1.2 / 3, 0.8 / 3, -np.inf], [0.3, 0.1, -np.inf]])


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10_000))
def test_the_vote_is_its_slow_twins(photos, views, k, seed):
    rng = np.random.default_rng(seed)
    answers, scores = rng.integers(0, 4, (photos, views)), rng.integers(1, 8, (photos, views)) / 8
    found = vote_views(np.arange(photos).astype(str), answers, scores, k)
    for row in range(photos):
        sums: dict[int, float] = defaultdict(float)
        for landmark, score in zip(answers[row].tolist(), scores[row].tolist(), strict=True):
            sums[landmark] += score / views
        expected = sorted(((round(total, 9), -landmark) for landmark, total in sums.items()), reverse=True)[:k]
        kept = found.landmarks[row] != NO_LANDMARK
        named = zip(found.scores[row][kept].tolist(), found.landmarks[row][kept].tolist(), strict=True)
        assert sorted(((round(total, 9), -landmark) for total, landmark in named), reverse=True) == expected


def test_equal_scores_come_in_the_order_of_the_landmarks():
    scores = np.array([[0.2, 0.5, 0.5, 0.2]])
    assert top_k(np.array(["a"]), scores, LANDMARKS, 4).landmarks.tolist() == [[10, 40, 3, 700]]


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_the_k_best_are_those_of_a_full_sort_ties_and_all(k, seed):
    scores = np.random.default_rng(seed).integers(0, 3, (4, 4)) / 2
    found = top_k(np.arange(4).astype(str), scores, LANDMARKS, k)
    for row in range(4):
        ranked = sorted(zip((-scores[row]).tolist(), LANDMARKS.tolist(), strict=True))[:k]
        assert found.landmarks[row][:4].tolist() == [landmark for _, landmark in ranked]


def test_more_places_than_landmarks_stay_empty():
    found = top_k(np.array(["a"]), np.array([[0.1, 0.2, 0.3, 0.4]]), LANDMARKS, 6)
    assert found.landmarks.tolist() == [[700, 40, 10, 3, NO_LANDMARK, NO_LANDMARK]]


def test_views_are_averaged_after_the_activation():
    features = np.float16([[[0, 2, 0, 0], [0, -3, 1, 0]]])
    found = predict_features(network("mean"), np.array(["a"]), features, LANDMARKS, 2)
    sigmoid = 1 / (1 + np.exp(-features[0].astype(float)))
    assert found.landmarks.tolist() == [[40, 3]]  # 3 and 700 have 0.5 each: the first of them
    np.testing.assert_allclose(found.scores, [[sigmoid[:, 2].mean(), 0.5]], rtol=1e-5)


def test_the_mean_of_descriptors_is_asked_once():
    features = np.float16([[[0, 4, 0, 0], [0, -6, 3, 0]]])
    found = predict_features(network("descriptors"), np.array(["a"]), features, LANDMARKS, 2)
    assert found.landmarks.tolist() == [[40, 3]]
    np.testing.assert_allclose(found.scores, [[1 / (1 + np.exp(-1.5)), 0.5]], rtol=1e-5)


def test_views_vote_for_their_best_landmark():
    features = np.float16([[[0, 2, 0, 0], [0, -2, 1, 0]]])
    found = predict_features(network("vote"), np.array(["a"]), features, LANDMARKS, 3)
    sigmoid = 1 / (1 + np.exp(-features[0].astype(float)))
    assert found.landmarks.tolist() == [[10, 40, NO_LANDMARK]]
    np.testing.assert_allclose(found.scores[0][:2], [sigmoid[0, 1] / 2, sigmoid[1, 2] / 2], rtol=1e-5)


def test_the_background_class_is_never_answered():
    features = np.float16([[[1, 0, 0, 0, 9]]])
    found = predict_features(network("mean", "softmax", "class"), np.array(["a"]), features, LANDMARKS, 5)
    assert found.landmarks.tolist() == [[3, 10, 40, 700, NO_LANDMARK]]
    assert found.scores[0, :4].sum() < 0.01


@pytest.mark.parametrize("vote", ["mean", "vote", "descriptors"])
def test_blocks_change_nothing(vote, monkeypatch):
    features = np.random.default_rng(0).normal(size=(7, 3, 4)).astype(np.float16)
    ids = np.arange(7).astype(str)
    whole = predict_features(network(vote), ids, features, LANDMARKS, 3)
    monkeypatch.setattr(predict, "BLOCK_SCORES", 2 * 3 * 4)  # two photos at a time
    blocks = predict_features(network(vote), ids, features, LANDMARKS, 3)
    np.testing.assert_array_equal(blocks.landmarks, whole.landmarks)
    np.testing.assert_allclose(blocks.scores, whole.scores, rtol=1e-6)


def test_the_most_scores_are_held_a_block_at_a_time(monkeypatch):
    monkeypatch.setattr(predict, "BLOCK_SCORES", 20)
    sizes = []
    plain = network("mean")

    class Spy:
        def __call__(self, features, training):
            sizes.append(features.shape)
            return plain.top(features, training=training)

    spied = Network(plain.recipe, plain.extractor, Spy(), plain.head)
    predict_features(spied, np.arange(5).astype(str), np.zeros((5, 2, 4), np.float16), LANDMARKS, 1)
    assert max(np.prod(size) for size in sizes) <= 20
