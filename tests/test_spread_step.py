"""The step that spreads: pairs compared once within a budget, folds and holdout, and lists in their order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.data.splits import UNSEEN, Queries
from lmk.ensemble.spreading import OFF
from lmk.ensemble.tune import cross_fit_parts, fit_by_part, parts_of_dev
from lmk.evaluation import gap_of
from lmk.pipeline.described import Described, describe_part, nearest_landmarks, ridge_landmarks
from lmk.pipeline.spread import spread_lists, verified_edges
from lmk.predictions import NO_LANDMARK, Predictions, best_of
from lmk.retrieval.descriptors import normalize
from lmk.retrieval.graph import pairs_of
from lmk.retrieval.neighbours import Options, find_landmarks

RNG = np.random.default_rng(0)
PLACES = normalize(RNG.normal(size=(9, 10)))
"""Six known landmarks, and three places that no training photo shows."""
POINTS: dict[str, np.ndarray] = {}
"""The descriptor of each photo, the same in every part."""


def photos(name: str, shown: np.ndarray) -> np.ndarray:
    ids = np.array([f"{name}{row}" for row in range(len(shown))])
    for photo, place in zip(ids.tolist(), shown.tolist(), strict=True):
        base = PLACES[place] if place >= 0 else normalize(RNG.normal(size=(1, 10)))[0]
        POINTS[photo] = normalize((base + 0.22 * RNG.normal(size=10))[None])[0]
    return ids


TRAIN_SHOWN = np.repeat(np.arange(6), 12)
TRAIN = photos("train", TRAIN_SHOWN)
DISTRACTORS = photos("none", np.full(20, -1))
TEST_SHOWN = RNG.integers(0, 9, 120)
TEST = photos("test", TEST_SHOWN)
TEST_TRUTH = np.where(TEST_SHOWN < 6, TEST_SHOWN, NO_LANDMARK)
FOLD = np.arange(len(TRAIN)) % 3
LANDMARK_FOLD = np.array([0, 0, 1, 1, 2, 2])


def described(fold: int | None) -> Described:
    """A fold asks a third of the photos of landmarks it knows, those of two that it does not know, and distractors."""
    unseen = np.zeros(len(TRAIN), bool) if fold is None else LANDMARK_FOLD[TRAIN_SHOWN] == fold
    held_out = np.zeros(len(TRAIN), bool) if fold is None else (fold == FOLD) & ~unseen
    of_none = np.zeros(len(DISTRACTORS), bool) if fold is None else np.arange(len(DISTRACTORS)) % 3 == fold
    shown = np.concatenate([TRAIN[held_out], TRAIN[unseen], DISTRACTORS[of_none]])
    ids = np.concatenate([TRAIN[held_out], np.char.add(TRAIN[unseen], UNSEEN), DISTRACTORS[of_none]])
    truth = np.concatenate([TRAIN_SHOWN[held_out], np.full(unseen.sum() + of_none.sum(), NO_LANDMARK)])
    gallery, others = TRAIN[~held_out & ~unseen], DISTRACTORS[~of_none]

    def points(names: np.ndarray) -> np.ndarray:
        return np.stack([POINTS[name] for name in names.tolist()]).astype(np.float32)

    return Described(
        Queries(ids, shown, truth), TEST, gallery, TRAIN_SHOWN[~held_out & ~unseen], others,
        points(np.concatenate([shown, TEST])), points(np.concatenate([gallery, others])),
    )  # fmt: skip


def weak_lists(ids: np.ndarray, shown: np.ndarray, known: np.ndarray, seed: int) -> Predictions:
    """Half of the answers are right; those of photos of no known landmark are no less sure."""
    rng = np.random.default_rng(seed)
    best = np.where((rng.random(len(ids)) < 0.5) & np.isin(shown, known), shown, rng.choice(known, len(ids)))
    other = known[(np.searchsorted(known, best) + 1) % len(known)]
    scores = np.stack([0.4 + 0.4 * rng.random(len(ids)), np.full(len(ids), 0.2)], axis=1)
    return best_of(ids, np.stack([best, other], axis=1), scores, 2)


def inliers_of(pairs: np.ndarray) -> np.ndarray:
    """Many where the descriptors are near, as if verified; one kind."""
    near = [POINTS[a] @ POINTS[b] for a, b in pairs.tolist()]
    return np.rint(40 * np.maximum(0, np.array(near)))[:, None]


@pytest.mark.parametrize("holdout", [False, True], ids=["folds", "holdout"])
def test_lists_become_better_on_dev_and_on_test(holdout):
    whole, folds = described(None), [described(fold) for fold in range(3)]
    if holdout:
        folds = folds[:1]
    queries = [one.queries for one in folds]
    of_fold = np.repeat(np.arange(len(folds)), [len(one) for one in queries])
    dev_photos = np.concatenate([one.photos for one in queries])
    parts = parts_of_dev(of_fold, dev_photos, seed=0)
    owner = [0] * 5 if holdout else [0, 1, 2]
    starts = np.cumsum([0, *map(len, queries)])
    rows = [np.flatnonzero(parts == part) - starts[fold] for part, fold in enumerate(owner)]
    shown = [np.where(np.isin(one.photos, DISTRACTORS), -1, _shown(one.photos)) for one in queries]
    lists = [
        (
            weak_lists(one.queries.ids, real, np.unique(one.landmarks), seed),
            weak_lists(TEST, TEST_SHOWN, np.unique(one.landmarks), 10 + seed),
        )
        for seed, (one, real) in enumerate(zip(folds, shown, strict=True))
    ]
    graphs = [one.graph(6) for one in (*folds, whole)]
    sure = [np.full(len(graph.nodes), 0.5) for graph in graphs]
    edges = list(zip(graphs, verified_edges([*folds, whole], graphs, sure, inliers_of), strict=True))
    test_lists = weak_lists(TEST, TEST_SHOWN, np.arange(6), 99)
    found = spread_lists(
        [folds[fold] for fold in owner], [edges[fold] for fold in owner], [lists[fold] for fold in owner], rows,
        whole, edges[-1], test_lists, (TRAIN, TRAIN_SHOWN),
    )  # fmt: skip
    order = np.concatenate([rows[part] + starts[fold] for part, fold in enumerate(owner)])
    before = np.concatenate([one.queries.ids for one in folds])
    np.testing.assert_array_equal(found.dev.ids, before[order])
    np.testing.assert_array_equal(found.test.ids, TEST)
    assert [one.ids.tolist() for one in found.context] == [TEST.tolist()] * len(owner)
    truth = np.concatenate([one.truth for one in queries])[order]
    assert gap_of(found.dev, truth) > found.learned.gaps[OFF] + 0.1
    assert gap_of(found.test, TEST_TRUTH) > gap_of(test_lists, TEST_TRUTH) + 0.1
    assert {reason.query for reason in found.reasons} == set(TEST[found.test.best != test_lists.best].tolist())


def test_a_part_is_answered_by_its_own_gallery_as_retrieval_and_a_ridge_head_answer():
    fold = described(1)
    part = describe_part(
        fold.queries, TEST, (fold.gallery, fold.landmarks), fold.distractors,
        lambda names: np.stack([POINTS[name] for name in names.tolist()]).astype(np.float32),
    )  # fmt: skip
    (near, likeness), head = nearest_landmarks(part, 5), ridge_landmarks(part, 5)
    ids = np.concatenate([fold.queries.ids, TEST])
    split = len(fold.gallery)
    expected, expected_likeness = find_landmarks(
        ids, fold.known[:split], fold.landmarks, fold.known[split:], fold.asked, Options(), 5
    )
    np.testing.assert_array_equal(near.landmarks, expected.landmarks)
    np.testing.assert_allclose(likeness, expected_likeness, rtol=1e-4)
    for found in (near, head):
        np.testing.assert_array_equal(found.ids, ids)
        assert set(np.unique(found.landmarks)) - {NO_LANDMARK} <= set(fold.landmarks.tolist())
        assert gap_of(found.take(np.arange(len(fold.queries))), fold.queries.truth) > 0.7


def _shown(names: np.ndarray) -> np.ndarray:
    where = dict(zip(TRAIN.tolist(), TRAIN_SHOWN.tolist(), strict=True))
    return np.array([where.get(name, -1) for name in names.tolist()])


def test_pairs_are_compared_once_for_all_graphs_and_the_budget_holds():
    parts = [described(0), described(1)]
    graphs = [one.graph(4) for one in parts]
    asked: list[np.ndarray] = []

    def compare(pairs: np.ndarray) -> np.ndarray:
        asked.append(pairs)
        return inliers_of(pairs)

    sure = [np.linspace(0, 1, len(graph.nodes)) for graph in graphs]
    whole = verified_edges(parts, graphs, sure, compare)
    assert len(asked) == 1
    assert len({tuple(sorted(pair)) for pair in asked[0].tolist()}) == len(asked[0])
    for part, graph, found in zip(parts, graphs, whole, strict=True):
        expected = inliers_of(part.photos[graph.edges])
        np.testing.assert_array_equal(found, expected)
    few = verified_edges(parts, graphs, sure, compare, budget=30)
    assert len(asked[1]) <= 30
    for graph, found, every in zip(graphs, few, whole, strict=True):
        verified = np.isfinite(found).all(axis=1)
        assert len(np.unique(pairs_of(graph)[1][verified])) == 15
        np.testing.assert_array_equal(found[verified], every[verified])


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 50))
def test_no_part_learns_from_a_photo_that_it_asks(folds, count, seed):
    rng = np.random.default_rng(seed)
    groups = np.array([f"p{photo}" for photo in rng.integers(0, count, 2 * count)])
    parts = parts_of_dev(rng.integers(0, folds, 2 * count), groups, seed)
    assert set(parts.tolist()) == set(range(parts.max() + 1))
    for part, rows in enumerate(fit_by_part(parts, groups, lambda rows: rows)):
        assert not set(groups[rows].tolist()) & set(groups[parts == part].tolist())
        everything_else = ~np.isin(groups, groups[parts == part])
        assert len(rows) == everything_else.sum()


def test_test_photos_of_a_part_are_answered_by_what_answers_its_queries():
    """What is fitted is the sum of the labels that it learned from; it shows in the score of every answer."""
    labels, photos = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array(["a", "b", "c", "a", "d"])
    parts = np.array([1, 0, 1, 0, 2])  # photo a is asked in two parts

    def answers(ids: list[str], score: float) -> Predictions:
        return Predictions(np.array(ids), np.ones((len(ids), 1), np.int64), np.full((len(ids), 1), score))

    dev, context = cross_fit_parts(
        parts,
        photos,
        lambda rows: float(labels[rows].sum()),
        lambda fitted, rows: answers([f"{photos[row]}{row}" for row in rows], fitted),
        lambda fitted, part: answers([f"t{part}"], fitted),
    )
    assert dev.ids.tolist() == ["a0", "b1", "c2", "a3", "d4"]
    learned = [4.0 + 16, 2.0 + 16, 1.0 + 2 + 4 + 8]  # by part: none of the photos that the part asks
    assert dev.confidence.tolist() == [learned[part] for part in parts]
    assert [(one.ids[0], one.confidence[0]) for one in context] == [(f"t{part}", learned[part]) for part in range(3)]
