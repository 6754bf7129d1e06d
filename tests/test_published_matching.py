"""Matching as published with DELF: against the public example's own libraries, and laws that its parts obey."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from skimage.measure import ransac
from skimage.transform import AffineTransform

from lmk.local.compare import COMPARISONS, PUBLISHED, compare, comparison_settings
from lmk.local.features import FeatureTable, LocalFeatures
from lmk.local.kinds import LOCAL_FEATURES
from lmk.local.published import (
    RandomGallery,
    fit_by_samples,
    gallery_matches,
    over_passes,
    statistics,
)
from lmk.local.verify import verify
from lmk.predictions import Predictions
from lmk.util.store import ArrayStore


def directions(rng: np.random.Generator, count: int, dimensions: int = 40) -> np.ndarray:
    values = rng.normal(size=(count, dimensions)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def photo(locations: np.ndarray, descriptors: np.ndarray, size: tuple[int, int] = (500, 400)) -> LocalFeatures:
    count = len(locations)
    ones = np.ones(count, np.float32)
    return LocalFeatures(locations.astype(np.float32), descriptors, ones, ones, np.zeros(count, np.float32), size)


def two_views(seed: int, count: int = 120, true: int = 60, size=(384, 384)) -> tuple[LocalFeatures, LocalFeatures]:
    """Two photos of which so many features show the same by one affinity, with noise in place and description."""
    rng = np.random.default_rng(seed)
    places, others = rng.uniform(0, 384, (2, count, 2))
    matrix = np.array([[0.9, 0.1], [-0.15, 1.05]])
    others[:true] = places[:true] @ matrix.T + (12, -8) + rng.normal(0, 3, (true, 2))
    descriptors, unlike = directions(rng, count), directions(rng, count)
    unlike[:true] = descriptors[:true] + rng.normal(0, 0.05, (true, 40))
    unlike /= np.linalg.norm(unlike, axis=1, keepdims=True)
    zoom = np.array(size) / 384
    return photo(places * zoom, descriptors, size), photo(others * zoom, unlike.astype(np.float32), size)


def example_inliers(query: LocalFeatures, index: LocalFeatures, seed: int) -> int:
    """The public example with its libraries, as it stands in docs/seeds.md."""
    distances, rows = cKDTree(query.descriptors).query(index.descriptors, distance_upper_bound=0.8)
    near = np.flatnonzero(np.isfinite(distances))
    if len(near) < 3:
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ends = query.locations[rows[near]], index.locations[near]
        _, found = ransac(ends, AffineTransform, min_samples=3, residual_threshold=20, max_trials=1000, rng=seed)
    return 0 if found is None else int(found.sum())


@pytest.mark.parametrize("seed", range(3))
def test_each_gallery_feature_takes_what_a_tree_of_the_query_s_gives_it(seed):
    rng = np.random.default_rng(seed)
    query, index = directions(rng, 70, 6), directions(rng, 90, 6)
    found = gallery_matches(query, index, 0.5)
    distances, rows = cKDTree(query).query(index, distance_upper_bound=0.5)
    near = np.flatnonzero(np.isfinite(distances))
    assert sorted(map(tuple, found.tolist())) == sorted(zip(rows[near].tolist(), near.tolist(), strict=True))
    assert len(set(found[:, 0])) < len(found)  # many to one
    apart = np.linalg.norm(query[found[:, 0]] - index[found[:, 1]], axis=1)
    assert (np.diff(apart) > -1e-5).all()


def test_no_feature_on_either_side_gives_no_match():
    some = directions(np.random.default_rng(0), 4)
    for query, index in ((some[:0], some), (some, some[:0])):
        assert gallery_matches(query, index).shape == (0, 2)


@pytest.mark.parametrize("seed", range(6))
def test_inliers_are_as_many_as_the_public_example_finds(seed):
    query, index = two_views(seed, true=(0, 10, 25, 40, 60, 90)[seed])
    found = len(compare(query, index, PUBLISHED).inliers)
    theirs = [example_inliers(query, index, other) for other in range(3)]
    assert min(theirs) - 2 <= found <= max(theirs) + 2


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 9), st.integers(0, 1000))
def test_enough_samples_find_the_affinity_that_the_most_matches_agree_with(count, seed):
    rng = np.random.default_rng(seed)
    start, end = rng.uniform(0, 100, (2, count, 2))
    _, found = fit_by_samples(start, end, residual=20, trials=5000, seed=seed)
    most = 0
    for corners in itertools.combinations(range(count), 3):
        places = np.column_stack([start, np.ones(count)])
        if abs(np.linalg.det(places[list(corners)])) < 1e-2:
            continue
        affinity = np.linalg.solve(places[list(corners)], end[list(corners)])
        most = max(most, int((np.linalg.norm(places @ affinity - end, axis=1) < 20).sum()))
    assert found.sum() == most


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_matches_fix_nothing(count):
    places = np.arange(2.0 * count).reshape(count, 2)
    affinity, inliers = fit_by_samples(places, places)
    assert np.isnan(affinity).all() and inliers.shape == (count,) and not inliers.any()


def test_matches_at_one_place_or_on_one_line_fix_nothing():
    line = np.column_stack([np.arange(20.0), np.arange(20.0)])
    for start in (line, np.zeros((20, 2))):
        assert not fit_by_samples(start, line[::-1])[1].any()


def test_the_affinity_is_in_pixels_of_the_photos_whatever_the_frame():
    query, index = two_views(1, true=100, size=(600, 300))
    comparison = compare(query, index, PUBLISHED)
    places = query.locations[comparison.inliers[:, 0]]
    moved = places @ comparison.fit.transform[:, :2].T + comparison.fit.transform[:, 2]
    apart = np.abs(moved - index.locations[comparison.inliers[:, 1]])
    assert np.median(apart, axis=0) == pytest.approx([3 * 600 / 384 * 0.67, 3 * 300 / 384 * 0.67], rel=0.5)


def test_what_counts_is_the_square_that_photos_were_resized_to():
    square, wide = two_views(2), two_views(2, size=(1536, 768))
    assert len(compare(*square, PUBLISHED).inliers) == len(compare(*wide, PUBLISHED).inliers)


def test_comparisons_by_name_keep_seed_and_early_stop():
    assert COMPARISONS == ("default", "published")
    assert comparison_settings("delf", "published", seed=3, enough=36).trials == 1000
    assert comparison_settings("delf", "published", seed=3, enough=36).enough == 36
    assert comparison_settings("delf") == LOCAL_FEATURES["delf"].comparison


def test_a_query_meets_32_of_48_photos_anew_each_pass_and_never_itself():
    photos = [f"{number:02d}" for number in range(60)]
    gallery = RandomGallery(seed=1)
    first, again = gallery.choose("07", 5, photos), gallery.choose("07", 5, photos)
    second = gallery.choose("07", 5, photos, 1)
    assert first == again and len(set(first)) == 32 and set(first) <= set(photos[:48]) - {"07"}
    assert set(first) != set(second) and first != gallery.choose("08", 5, photos) != RandomGallery().choose(
        "08", 5, photos
    )
    assert sorted(gallery.choose("07", 5, photos[:5])) == photos[:5]


def test_statistics_are_the_most_the_mean_and_the_mean_of_the_best_16():
    counts = np.full((1, 2, 32), -1)
    counts[0, 0, :20] = np.arange(20)
    counts[0, 1, :3] = (4, 0, 2)
    found = statistics(counts)
    np.testing.assert_allclose(found["max"], [[19, 4]])
    np.testing.assert_allclose(found["mean"], [[9.5, 2]])
    np.testing.assert_allclose(found["mean_best"], [[np.arange(4, 20).mean(), 2]])
    nothing = statistics(np.full((3, 32), -1))
    assert all((values == 0).all() for values in nothing.values())


def test_of_several_passes_the_largest_of_each_statistic_counts():
    one, two = statistics(np.array([[5, 0]])), statistics(np.array([[3, 3]]))
    found = over_passes([one, two])
    assert (found["max"][0], found["mean"][0]) == (5, 3)


def test_verification_compares_with_the_photos_that_were_chosen(tmp_path):
    query, index = two_views(4, true=80)

    class Known:
        max_features, stored_as = 200, np.float16

    table = FeatureTable.pack(["q", "a", "b"], [query, index, two_views(9, true=0)[1]], Known())
    predictions = Predictions(np.array(["q"]), np.array([[7]]), np.array([[1.0]]))
    store = ArrayStore(tmp_path, "verification", {"chosen": "b, a"})
    evidence = verify(
        predictions,
        {7: ["a", "b"]},
        table,
        table,
        store,
        PUBLISHED,
        choose=lambda query, landmark, photos: photos[::-1],
    )
    assert evidence.best_photo[0, 0] == "a"
    assert evidence.counts[0, 0, 1] == evidence.inliers[0, 0] > 60 > evidence.counts[0, 0, 0] >= 0
    assert (evidence.counts[0, 0, 2:] == -1).all()
