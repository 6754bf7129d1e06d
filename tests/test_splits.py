"""The split holds out photos, landmarks and distractors, and no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.data.splits import NEVER, choose_galleries, make_split, photo_of
from lmk.predictions import NO_LANDMARK


def competition(counts: list[int], distractors: int):
    landmarks = np.repeat(np.arange(len(counts)) * 10 + 3, counts)
    ids = np.array([f"t{row:04d}" for row in range(len(landmarks))])
    return ids, landmarks, np.array([f"d{row:04d}" for row in range(distractors)], dtype=str)


competitions = st.builds(competition, st.lists(st.integers(1, 12), min_size=2, max_size=20), st.integers(0, 40))


@settings(max_examples=60, deadline=None)
@given(competitions, st.integers(3, 6), st.floats(0.2, 0.9), st.integers(0, 99))
def test_no_model_sees_what_it_is_asked(tables, folds, share, seed):
    ids, landmarks, distractors = tables
    split = make_split(ids, landmarks, distractors, folds, share, seed)
    for fold in range(folds):
        photos, others = split.training(fold)
        queries = split.queries(fold)
        assert not set(queries.photos) & (set(ids[photos]) | set(distractors[others]))
        landmark = dict(zip(ids, landmarks, strict=True))
        for query, photo, truth in zip(queries.ids, queries.photos, queries.truth, strict=True):
            known = photo in landmark and landmark[photo] in landmarks[photos]
            assert (truth != NO_LANDMARK) == known
            assert query.endswith("/unseen") == (photo in landmark and not known)
            if known:
                assert truth == landmark[photo]


@settings(max_examples=60, deadline=None)
@given(competitions, st.integers(3, 6), st.integers(0, 99))
def test_every_query_is_asked_once_over_all_folds(tables, folds, seed):
    split = make_split(*tables, folds, 0.5, seed)
    asked = np.concatenate([split.queries(fold).ids for fold in range(folds)])
    assert len(np.unique(asked)) == len(asked)


def test_a_landmark_with_one_photo_is_always_trained_on():
    ids, landmarks, distractors = competition([1, 5, 5, 5], 10)
    split = make_split(ids, landmarks, distractors, 5, 0.5, seed=1)
    assert all(split.training(fold)[0][0] for fold in range(5))


def test_a_landmark_with_two_photos_keeps_one_in_training_when_the_other_is_asked():
    ids, landmarks, distractors = competition([2, 2, 2, 2], 10)
    split = make_split(ids, landmarks, distractors, 4, 0.5, seed=1)
    for fold in range(4):
        queries = split.queries(fold)
        trained = set(landmarks[split.training(fold)[0]])
        assert set(queries.truth[queries.truth != NO_LANDMARK]) <= trained


@pytest.mark.parametrize("share", [0.3, 0.6, 0.75])
@pytest.mark.parametrize("distractors", [0, 150, 600])
def test_dev_has_the_share_of_queries_without_landmark_that_was_asked_for(share, distractors):
    split = make_split(
        *competition([60, 40, 30, 24, 20, 16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2], distractors), 5, share, 0
    )
    truth = np.concatenate([split.queries(fold).truth for fold in range(5)])
    assert (truth == NO_LANDMARK).mean() == pytest.approx(share, abs=0.01)


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    tables = competition([9, 8, 7, 6, 5], 20)
    folds = [make_split(*tables, 5, 0.5, seed).photo_fold.tolist() for seed in (4, 4, 5)]
    assert folds[0] == folds[1] != folds[2]


def test_large_landmarks_do_not_share_a_held_out_fold():
    ids, landmarks, distractors = competition([100, 90, 80, 3, 3, 3], 0)
    split = make_split(ids, landmarks, distractors, 3, 0.5, seed=0)
    large = [split.unseen_fold[landmarks == landmark][0] for landmark in (3, 13, 23)]
    assert sorted(large) == [0, 1, 2]
    assert NEVER not in split.unseen_fold


def test_the_photo_of_a_query_is_its_id_without_the_mark():
    assert photo_of(np.array(["ab12", "cd34/unseen"])).tolist() == ["ab12", "cd34"]


def test_a_split_of_two_folds_or_an_impossible_share_is_refused():
    for folds, share in ((2, 0.5), (3, 0.0), (3, 1.0)):
        with pytest.raises(ValueError, match="folds"):
            make_split(*competition([3, 3], 3), folds, share, 0)


@given(competitions, st.integers(1, 5), st.integers(0, 99))
def test_a_gallery_holds_photos_of_its_landmark_and_all_where_they_are_few(tables, most, seed):
    ids, landmarks, _ = tables
    chosen = choose_galleries(ids, landmarks, most, seed)
    assert chosen.keys() == set(landmarks.tolist())
    for landmark, photos in chosen.items():
        there = ids[landmarks == landmark].tolist()
        assert set(photos) <= set(there)
        assert len(set(photos)) == len(photos) == min(most, len(there))
        assert photos == sorted(photos)
    assert chosen == choose_galleries(ids, landmarks, most, seed)


def test_another_seed_chooses_another_gallery():
    ids, landmarks, _ = competition([40], 0)
    assert choose_galleries(ids, landmarks, 10, 0) != choose_galleries(ids, landmarks, 10, 1)


def test_a_dev_of_too_many_queries_asks_a_choice_of_each_kind_in_the_same_shares():
    tables = competition([60, 40, 30, 24, 20, 16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2], 90)
    whole, capped = make_split(*tables, 4, 0.6, 0), make_split(*tables, 4, 0.6, 0, most=120)
    asked = [np.concatenate([split.queries(fold).ids for fold in range(4)]) for split in (whole, capped)]
    assert len(asked[0]) > 400
    assert len(asked[1]) == pytest.approx(120, abs=1)
    assert set(asked[1]) < set(asked[0])
    shares = [
        [np.char.startswith(ids, "d").mean(), np.char.endswith(ids, "/unseen").mean()] for ids in asked
    ]  # of distractors and of unseen landmarks
    np.testing.assert_allclose(shares[0], shares[1], atol=0.01)
    for fold in range(4):
        assert capped.training(fold)[0].sum() >= whole.training(fold)[0].sum()


def test_a_most_that_is_not_passed_changes_nothing():
    tables = competition([9, 8, 7, 6, 5], 20)

    def asked(**most) -> list[list[str]]:
        split = make_split(*tables, 5, 0.5, 4, **most)
        return [split.queries(fold).ids.tolist() for fold in range(5)]

    count = sum(map(len, asked()))
    assert asked(most=count) == asked() != asked(most=count - 2)
