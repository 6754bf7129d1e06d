"""Fusion: the published rules by hand, and the learned one by what it must do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.data.splits import Queries
from lmk.ensemble.fuse import (
    LearnedFusion,
    Proposals,
    proposal_features,
    published_sum,
    published_threshold,
    source_features,
)
from lmk.ensemble.fusion_rules import DIVISORS, FUSIONS, LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD
from lmk.local.evidence import gather
from lmk.metrics import gap
from lmk.pipeline import fuse as fusing
from lmk.pipeline.results import Answers, Neighbours, Verified
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.errors import LmkError

RECOGNIZED = Predictions(
    ["a", "b", "c"],
    [[7, 3], [5, NO_LANDMARK], [NO_LANDMARK, NO_LANDMARK]],
    [[0.8, 0.1], [0.4, -np.inf], [-np.inf, -np.inf]],
)


def test_the_published_sum_by_hand():
    found = published_sum(RECOGNIZED, np.array([[20, 90], [40, 0], [0, 0]]), largest=40)
    assert found.best.tolist() == [7, 5, NO_LANDMARK]
    np.testing.assert_allclose(found.confidence, [0.85 * 20 / 40 + 0.15 * 0.8, 0.85 + 0.15 * 0.4, -np.inf])


def test_the_published_sum_bears_evidence_of_nothing():
    found = published_sum(RECOGNIZED, np.zeros((3, 2), int), largest=0)
    np.testing.assert_allclose(found.confidence, [0.15 * 0.8, 0.15 * 0.4, -np.inf])


def test_the_published_threshold_by_hand():
    counts = np.full((3, 2, 32), -1)
    counts[0, 0, 3] = 36  # more than 35 within the first 20
    counts[1, 0, :20], counts[1, 0, 20] = 35, 99  # not more than 35, or too late
    found = published_threshold(RECOGNIZED, counts)
    assert found.best.tolist() == [7, NO_LANDMARK, NO_LANDMARK]
    assert found.confidence.tolist() == [0.8, -np.inf, -np.inf]


def test_inliers_of_another_proposal_do_not_bear_out_the_first():
    counts = np.full((3, 2, 32), -1)
    counts[:, 1, 0] = 99
    assert (published_threshold(RECOGNIZED, counts).best == NO_LANDMARK).all()


def proposals(inliers: list[list[int]]) -> Proposals:
    counts = np.full((3, 2, 32), -1)
    counts[:, :, 5] = inliers
    return Proposals(RECOGNIZED, np.array(inliers), counts)


@pytest.mark.parametrize("name", FUSIONS)
def test_every_rule_by_name_is_a_function_of_arrays(name):
    predictions, features, right, truth = drawn_queries(60, 1)
    asked = Proposals(predictions, right.astype(int), right[:, :, None].astype(int), features)
    fused = FUSIONS[name].fit(asked, truth, "dev")(asked)
    assert fused.ids.tolist() == predictions.ids.tolist()


def test_the_published_sum_divides_by_dev_or_by_the_queries_that_are_asked():
    dev, asked = proposals([[80, 0], [1, 99], [0, 0]]), proposals([[20, 90], [40, 0], [0, 0]])
    truth = np.array([7, 5, NO_LANDMARK])
    by_dev, by_batch = (FUSIONS[PUBLISHED_SUM].fit(dev, truth, divisor)(asked) for divisor in DIVISORS)
    np.testing.assert_allclose(by_dev.confidence[:2], [0.85 * 20 / 80 + 0.12, 0.85 * 40 / 80 + 0.06])
    np.testing.assert_allclose(by_batch.confidence[:2], [0.85 * 20 / 40 + 0.12, 0.85 + 0.06])
    alone = FUSIONS[PUBLISHED_SUM].fit(dev, truth, "dev")(asked.take(np.array([0])))
    assert alone.confidence[0] == by_dev.confidence[0]  # no other query moves it


def test_the_rule_of_35_answers_nothing_that_was_not_verified():
    found = FUSIONS[PUBLISHED_THRESHOLD].fit(proposals([[0, 0]] * 3), np.array([7, 5, 1]), "dev")(
        proposals([[36, 0], [35, 99], [99, 99]])
    )
    assert found.best.tolist() == [7, NO_LANDMARK, NO_LANDMARK]


def test_the_learned_rule_by_name_is_the_learned_fusion():
    predictions, features, right, truth = drawn_queries(60, 1)
    asked = Proposals(predictions, right.astype(int), right[:, :, None].astype(int), features)
    found = FUSIONS[LEARNED].fit(asked, truth, "dev")(asked)
    expected = LearnedFusion.fit(features, right)(predictions, features)
    np.testing.assert_array_equal(found.scores, expected.scores)
    with pytest.raises(ValueError, match="features"):
        FUSIONS[LEARNED].fit(Proposals(predictions, asked.inliers, asked.counts), truth, "dev")


def drawn_queries(count: int, seed: int):
    """Proposals of three landmarks a query: recognition is weak, and inliers tell the right one apart."""
    rng = np.random.default_rng(seed)
    landmarks = np.array([rng.permutation(12)[:3] for _ in range(count)])
    scores = -np.sort(-rng.random((count, 3)), axis=1)
    place = np.where(rng.random(count) < 0.5, rng.integers(0, 3, count), -1)
    truth = np.where(place >= 0, landmarks[np.arange(count), place], NO_LANDMARK)
    right = landmarks == truth[:, None]
    inliers = np.where(right, rng.integers(15, 60, (count, 3)), rng.integers(0, 14, (count, 3)))
    predictions = Predictions([f"{seed}-{row}" for row in range(count)], landmarks, scores)
    evidence = {"inliers": inliers, "coverage": inliers / 100}
    features = proposal_features(predictions, {3: 9}, rng.random((count, 1)), evidence)
    return predictions, features, right, truth


def test_the_learned_rule_trusts_evidence_that_tells_right_from_wrong():
    _, features, right, _ = drawn_queries(200, 0)
    predictions, asked, _, truth = drawn_queries(200, 1)
    fused = LearnedFusion.fit(features, right)(predictions, asked)
    before = gap(predictions.ids, truth, predictions.best, predictions.confidence)
    after = gap(fused.ids, truth, fused.best, fused.confidence)
    assert before < 0.5
    assert after > 0.95
    assert ((fused.scores >= 0) & (fused.scores <= 1)).all()


def test_a_querys_fused_score_does_not_change_when_other_queries_are_removed():
    predictions, features, right, _ = drawn_queries(60, 2)
    fusion = LearnedFusion.fit(features, right)
    rows = np.array([4, 31, 50])
    alone, together = fusion(predictions.take(rows), features[rows]), fusion(predictions, features).take(rows)
    np.testing.assert_array_equal(alone.landmarks, together.landmarks)
    np.testing.assert_allclose(alone.scores, together.scores, rtol=1e-12)


def test_features_of_a_query_do_not_change_when_other_queries_are_removed():
    predictions, *_ = drawn_queries(10, 3)
    rows = np.array([2, 7])
    evidence = {"inliers": np.random.default_rng(0).integers(0, 50, (10, 3))}

    def features(rows):
        asked = predictions.take(rows)
        kept = {name: values[rows] for name, values in evidence.items()}
        return proposal_features(asked, {1: 4}, np.ones((len(rows), 1)), kept)

    np.testing.assert_array_equal(features(rows), features(np.arange(10))[rows])


@pytest.mark.parametrize("right", [False, True])
def test_a_dev_of_which_nothing_can_be_learned_is_refused_and_a_rule_named(right):
    with pytest.raises(LmkError, match=r"no fusion can be learned.*--fusion seed-0.85-0.15"):
        LearnedFusion.fit(np.zeros((4, 2, 3)), np.full((4, 2), right))


def test_features_by_hand():
    predictions = Predictions(["q"], [[4, 9]], [[0.6, 0.5]])
    evidence = {"inliers": np.array([[7, 0]]), "coverage": np.array([[0.25, 0.5]])}
    found = proposal_features(predictions, {4: 3}, np.array([[0.9]]), evidence)
    first = [0.6, 0.1, 0, np.log(4), 0.9, np.log(8), np.log(8), 0.25, -0.25]
    second = [0.5, -0.1, 1, 0, 0.9, 0, -np.log(8), 0.5, 0.25]
    np.testing.assert_allclose(found, [[first, second]], atol=1e-12)


def test_what_was_blended_by_hand():
    source = Predictions(["q"], [[9, 4, 2]], [[0.8, 0.3, 0.1]])
    silent = Predictions(["q"], [[NO_LANDMARK]], [[-np.inf]])
    found = source_features(np.array([[4, 9, 5]]), [source, silent])
    # 5 is not named by the first source: it gets the lowest score there
    told = [[0.3, 0.3 - 0.8, 0, 0, 0], [0.8, 0.8 - 0.3, 0, 0, 1], [0.1, 0.1 - 0.8, 0, 0, 0]]
    np.testing.assert_allclose(found, [told], atol=1e-12)


@pytest.mark.parametrize("enough, seen", [(200, True), (201, False)])
def test_only_a_large_dev_shows_fusion_what_was_blended(monkeypatch, enough, seen):
    monkeypatch.setattr(fusing, "ENOUGH_FOR_SOURCES", enough)
    predictions, _, right, truth = drawn_queries(200, 3)
    one = Predictions(predictions.ids, predictions.landmarks, np.where(right, 0.9, 0.1))  # it knows every answer
    likeness, none = np.zeros((200, 1), np.float32), np.zeros((200, 3, 2), np.int16)
    silent = gather(predictions.ids, predictions.landmarks, [["p", "q"]] * 600, none, none, none, 8)
    found = fusing.fuse(
        fusing.Proposed(
            sources={"one": Answers(one, one)},
            neighbours=Neighbours(predictions, predictions, likeness, likeness),
            blended=Answers(predictions, predictions),
            verified=Verified({"rootsift": silent}, {"rootsift": silent}),
            dev=Queries(predictions.ids, predictions.ids, truth),
            photo_counts={},
            seed=0,
        ),
        LEARNED,
    )
    assert (gap(found.dev.ids, truth, found.dev.best, found.dev.confidence) > 0.95) == seen


def test_two_kinds_of_evidence_are_told_side_by_side():
    predictions = Predictions(["q"], [[4, 9]], [[0.6, 0.5]])
    first = {"rootsift:inliers": np.array([[7, 0]]), "rootsift:coverage": np.array([[0.25, 0.5]])}
    second = {"delf:inliers": np.array([[1, 3]]), "delf:coverage": np.array([[0.0, 0.75]])}
    no_query_features = np.zeros((1, 0))
    both = proposal_features(predictions, {}, no_query_features, first | second)
    alone = proposal_features(predictions, {}, no_query_features, first)
    np.testing.assert_array_equal(both[:, :, : alone.shape[2]], alone)
    told = [np.log([2, 4]), np.log([0.5, 2]), [0, 0.75], [-0.75, 0.75]]  # each with its lead
    np.testing.assert_allclose(both[0, :, alone.shape[2] :], np.transpose(told), atol=1e-12)


@given(st.integers(1, 4), st.integers(0, 1000))
def test_features_are_finite_also_for_empty_places(k, seed):
    rng = np.random.default_rng(seed)
    landmarks = np.sort(np.array([rng.permutation(6)[:k] for _ in range(5)]), axis=1)
    scores = -np.sort(-rng.random((5, k)), axis=1)
    empty = rng.integers(0, k + 1, 5)
    gone = np.arange(k) >= empty[:, None]
    predictions = Predictions(list("abcde"), np.where(gone, NO_LANDMARK, landmarks), np.where(gone, -np.inf, scores))
    found = proposal_features(predictions, {}, np.zeros((5, 1)), {"inliers": np.zeros((5, k))})
    assert np.isfinite(found).all()
    assert found.shape[:2] == (5, k)
