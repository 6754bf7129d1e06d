"""Label spreading: the same as a slow loop, no leak from the queries whose answers are judged, off where it harms."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from lmk.ensemble.edges import EdgeModel, edge_matrix
from lmk.ensemble.spread import (
    UNKNOWN,
    Asked,
    class_scores,
    fixed_scores,
    reasons,
    spread,
    spread_dev,
    spread_test,
)
from lmk.ensemble.spreading import OFF, TRIED, Spreading
from lmk.metrics import gap
from lmk.predictions import NO_LANDMARK, Predictions, best_of
from lmk.retrieval.descriptors import normalize
from lmk.retrieval.graph import nearest_photos

CLASSES = np.array([3, 5, 8])


def slowly(scores, fixed, weights, share, rounds):
    """Spreading as the formula reads, query by query, edge by edge."""
    found = scores.copy()
    for _ in range(rounds):
        known, after = np.concatenate([found, fixed]), np.zeros_like(scores)
        for query in range(len(scores)):
            total = weights[query].sum()
            for node in range(len(known)):
                after[query] += share * weights[query, node] / max(1.0, total) * known[node]
            after[query] += (1 - share * min(1.0, total)) * scores[query]
        found = after
    return found


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 4), st.floats(0, 0.95), st.integers(0, 5), st.integers(0, 999))
def test_spreading_is_what_a_slow_loop_gives(queries, others, share, rounds, seed):
    rng = np.random.default_rng(seed)
    scores = rng.random((queries, 3)) * (rng.random((queries, 3)) < 0.6)
    fixed = rng.random((others, 3)) * (rng.random((others, 3)) < 0.4)
    weights = rng.random((queries, queries + others)) * (rng.random((queries, queries + others)) < 0.5)
    found = spread(*map(sparse.csr_array, (scores, fixed, weights)), Spreading(share, rounds=rounds))
    expected = slowly(scores, fixed, weights, share, rounds)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-12)
    assert found.max() <= max(scores.max(), fixed.max(initial=0)) + 1e-12  # an average of scores, never more


def test_a_query_without_edges_keeps_its_scores_and_one_with_half_an_edge_half_of_what_is_shared():
    scores = sparse.csr_array(np.array([[0.8, 0.0, 0.2], [0.0, 0.6, 0.0]]))
    fixed = sparse.csr_array(np.array([[0.0, 1.0, 0.0]]))
    weights = sparse.csr_array(np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]))
    found = spread(scores, fixed, weights, Spreading(0.4, rounds=1)).toarray()
    np.testing.assert_allclose(found, [[0.8 * 0.8, 0.4 * 0.5, 0.2 * 0.8], [0, 0.6, 0]])


def test_only_the_best_landmarks_of_a_query_are_kept_between_rounds():
    scores = sparse.csr_array(np.array([[0.5, 0.4, 0.3]]))
    found = spread(scores, sparse.csr_array((0, 3)), sparse.csr_array((1, 1)), Spreading(0.5, rounds=1), kept=2)
    np.testing.assert_allclose(found.toarray(), [[0.5, 0.4, 0.0]])


@given(st.integers(1, 5), st.integers(0, 99))
def test_lists_become_class_scores_and_lists_again(k, seed):
    rng = np.random.default_rng(seed)
    ids = np.array(["a", "b", "c", "d"])
    lists = best_of(ids, np.tile(CLASSES, (4, 1)), rng.normal(size=(4, 3)), min(k, 3))
    back = class_scores(lists, CLASSES).predictions(ids, min(k, 3))
    np.testing.assert_array_equal(back.landmarks, lists.landmarks)
    np.testing.assert_allclose(back.scores, lists.scores, atol=1e-12)


def test_a_gallery_photo_has_a_high_score_of_its_landmark_and_a_distractor_has_none():
    confident = np.linspace(0.1, 1.0, 10)
    lists = Predictions(
        np.array([f"q{row}" for row in range(12)]),
        np.array([[3]] * 10 + [[5], [NO_LANDMARK]]),
        np.concatenate([confident, [0.4], [-np.inf]])[:, None],
    )
    scores = class_scores(lists, CLASSES, lowest=0.0)
    found = fixed_scores(scores, np.array([3, 5, 8, NO_LANDMARK])).toarray()
    assert found[0, 0] == pytest.approx(np.quantile(confident, 0.9))
    assert found[1, 1] == pytest.approx(0.4)
    assert found[2, 2] == pytest.approx(np.quantile([*confident, 0.4], 0.9))  # no query answers it: of all answers
    assert not found[3].any()
    assert np.count_nonzero(found) == 3


def test_an_edge_weighs_by_how_much_likelier_right_than_wrong_it_is_and_holds_for_both_queries():
    nodes = np.array([[1, 2], [2, 0], [1, 3]])
    found = edge_matrix(nodes, np.array([[0.9, 0.5], [0.2, 0.6], [0.7, 1.0]]), 4).toarray()
    expected = [[0, 0.8, 0, 0], [0.8, 0, 0.4, 0], [0, 0.4, 0, 1.0]]  # 1 to 2: 0.2 from one end, 0.7 from the other
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_inliers_tell_pairs_apart_that_cosines_do_not_and_are_calibrated():
    rng = np.random.default_rng(0)
    inliers = rng.integers(0, 40, (6000, 1)).astype(float)
    same = rng.random(6000) < 1 / (1 + np.exp(-2 * (np.log1p(inliers[:, 0]) - 2.5)))
    cosines = rng.random(6000)
    model = EdgeModel.fit(cosines, inliers, same)
    found = model(cosines, inliers)
    for low in (0.1, 0.3, 0.5, 0.7):
        rows = (found >= low) & (found < low + 0.2)
        assert same[rows].mean() == pytest.approx(found[rows].mean(), abs=0.06)
    unverified = model(cosines, np.full((6000, 1), np.nan))
    np.testing.assert_allclose(unverified, same.mean(), atol=0.05)


def test_without_pairs_to_learn_from_there_are_no_edges():
    few = EdgeModel.fit(np.ones(5), np.ones((5, 1)), np.ones(5, bool))
    differ = EdgeModel.fit(np.ones(50), np.ones((50, 1)), np.zeros(50, bool))
    for model in (few, differ):
        assert not model(np.ones(5), np.ones((5, 1))).any()
        assert not model(np.ones(5), np.full((5, 0), np.nan)).any()
    agree = EdgeModel.fit(np.ones(50), np.ones((50, 1)), np.ones(50, bool))
    assert (agree(np.ones(5), np.ones((5, 1))) == 1).all()


class World:
    """A competition whose photos are points near their place's point; lists name a place rightly or at random."""

    def __init__(self, seed: int = 0, places: int = 6, noise: float = 0.45, right: float = 0.55, helpful: bool = True):
        self.rng = np.random.default_rng(seed)
        self.points = normalize(self.rng.normal(size=(places + 4, 12)))
        self.places, self.noise, self.right, self.helpful = places, noise, right, helpful

    def photos(self, shown: np.ndarray) -> np.ndarray:
        points = self.points if self.helpful else normalize(self.rng.normal(size=self.points.shape))
        return normalize(points[shown] + self.noise * self.rng.normal(size=(len(shown), 12)) / np.sqrt(12) * 2)

    def lists(self, ids: np.ndarray, shown: np.ndarray) -> Predictions:
        """Of places known; a photo of none is answered, with less confidence."""
        wrong = self.rng.integers(0, self.places, len(ids))
        best = np.where((self.rng.random(len(ids)) < self.right) & (shown < self.places), shown, wrong)
        other = (best + 1 + self.rng.integers(0, self.places - 1, len(ids))) % self.places
        confidence = 0.3 + 0.4 * self.rng.random(len(ids)) + 0.1 * (best == shown)
        return best_of(ids, np.stack([best, other], 1), np.stack([confidence, 0.2 * np.ones(len(ids))], 1), 2)

    def asked(self, name: str, dev: int, test: int) -> tuple[Asked, np.ndarray]:
        """A graph with dev queries and test photos, and what the queries really show."""
        shown = self.rng.integers(0, self.places + 4, dev + test)
        known = np.repeat(np.arange(self.places), 3)
        queries, gallery = self.photos(shown), self.photos(known)
        distractors = normalize(self.rng.normal(size=(6, 12)))
        graph = nearest_photos(queries, gallery, distractors, 5)
        ids = np.array([f"{name}{row}" for row in range(dev)] + [f"t{row}" for row in range(test)])
        photos = np.concatenate([ids, [f"{name}g{row}" for row in range(len(known))], [f"d{row}" for row in range(6)]])
        fixed = np.concatenate([known, np.full(6, NO_LANDMARK)])
        places = np.concatenate([shown[:dev], np.full(test, UNKNOWN), fixed])
        truth = np.where(shown < self.places, shown, NO_LANDMARK)
        return (
            Asked(
                self.lists(ids, shown), photos, places, fixed, graph.nodes, graph.cosines,
                np.empty((graph.nodes.size, 0)), np.arange(dev), truth[:dev],
            ),
            truth,
        )  # fmt: skip


def test_answers_that_agree_are_better_on_dev_and_on_test():
    world = World()
    parts = [world.asked(name, 60, 120)[0] for name in "abc"]
    learned = spread_dev(parts)
    test, truth = world.asked("x", 0, 150)
    after = spread_test(test, learned)
    before = gap(test.lists.ids, truth, test.lists.best, test.lists.confidence)
    assert learned.how.share > 0
    assert learned.gaps[learned.how] > learned.gaps[OFF] + 0.05
    assert gap(after.ids, truth, after.best, after.confidence) > before + 0.05
    np.testing.assert_array_equal(after.ids, test.lists.ids)
    assert len(learned.dev) == 180
    assert [len(lists) for lists in learned.parts] == [180] * 3


def test_where_likeness_says_nothing_spreading_is_off_and_changes_nothing():
    world = World(helpful=False, noise=2.0, right=0.9)
    parts = [world.asked(name, 80, 40)[0] for name in "abc"]
    learned = spread_dev(parts)
    assert learned.gaps[learned.how] >= learned.gaps[OFF]
    off = dataclasses.replace(learned, how=OFF)
    test, _ = world.asked("x", 0, 50)
    assert spread_test(test, off) is test.lists
    assert not reasons(test, off)


def with_changed(part: Asked, row: int, truth: int, place: int) -> Asked:
    """The same part with another label of one of its queries."""
    truths, places = part.truth.copy(), part.places.copy()
    truths[row], places[row] = truth, place
    return dataclasses.replace(part, truth=truths, places=places)


def test_the_answer_to_a_dev_query_does_not_depend_on_its_label():
    """A query's label may teach edges and share to others, in whichever part they stand, never to its own part."""
    world = World(seed=3)
    parts = [world.asked(name, 40, 60)[0] for name in "abc"]
    # The photo of query 0 of the first part is asked in the second part as well, as a photo of no known landmark.
    second = parts[1].photos.copy()
    second[7] = parts[0].photos[0]
    truth = parts[1].truth.copy()
    truth[7] = NO_LANDMARK
    parts[1] = dataclasses.replace(parts[1], photos=second, truth=truth)
    plain = spread_dev(parts)
    for label in range(3):
        planted = [with_changed(parts[0], 0, label, label), with_changed(parts[1], 7, NO_LANDMARK, label), parts[2]]
        told = spread_dev(planted)
        for place in (0, 1):  # both parts that ask the photo
            np.testing.assert_array_equal(told.parts[place].landmarks, plain.parts[place].landmarks)
            np.testing.assert_array_equal(told.parts[place].scores, plain.parts[place].scores)


def test_the_labels_of_the_gallery_take_part():
    world = World()
    learned = spread_dev([world.asked(name, 60, 120)[0] for name in "abc"])
    test, _ = world.asked("x", 0, 80)
    other = dataclasses.replace(test, known=np.roll(test.known, 3))
    assert (spread_test(test, learned).best != spread_test(other, learned).best).any()


def test_a_setting_that_leads_is_taken_and_none_where_spreading_changes_nothing():
    world = World()
    parts = [world.asked(name, 60, 120)[0] for name in "abc"]
    learned = spread_dev(parts)
    assert list(learned.gaps) == list(TRIED)
    # Of such lists neighbours know more than the query itself: dev says by more than an error that 0.9 is better.
    assert learned.how == Spreading(0.9)
    assert learned.gaps[learned.how] == max(learned.gaps.values())
    edgeless = [dataclasses.replace(part, places=np.full(len(part.places), UNKNOWN)) for part in parts]
    assert spread_dev(edgeless).how == OFF


def test_a_changed_answer_names_the_neighbours_that_changed_it():
    world = World()
    learned = spread_dev([world.asked(name, 60, 120)[0] for name in "abc"])
    test, _ = world.asked("x", 0, 150)
    after = spread_test(test, learned)
    found = reasons(test, learned)
    changed = np.flatnonzero(after.best != test.lists.best)
    assert [reason.query for reason in found] == test.lists.ids[changed].tolist()
    weights = test.weights(learned.model)
    for reason, row in zip(found, changed.tolist(), strict=True):
        assert (reason.before, reason.after) == (test.lists.best[row], after.best[row])
        neighbours = set(test.photos[weights[[row]].indices].tolist())
        assert set(reason.photos) <= neighbours
        assert list(reason.shares) == sorted(reason.shares, reverse=True)
        assert min(reason.shares) > 0
