"""Robust fits: points moved by a known transform, some of them spoiled."""

import cv2
import numpy as np
import pytest
from scenes import tilt

from lmk.local.ransac import fit, plausible
from lmk.local.spatial import Points

SIDE = 640
METHODS = [
    ("affine", "spatial"),
    ("affine", "magsac"),
    ("affine", "ransac"),
    ("homography", "magsac"),
    ("homography", "ransac"),
    ("similarity", "ransac"),
]


def matches(count: int, inliers: int, seed: int, transform: np.ndarray | None = None, noise: float = 1.0):
    """`count` matches, the first `inliers` of which follow `transform`, with frames as rough as a detector's."""
    rng = np.random.default_rng(seed)
    transform = tilt() if transform is None else transform
    start, end = rng.uniform(0, SIDE, (count, 2)), rng.uniform(0, SIDE, (count, 2))
    scales, angles = np.exp(rng.normal(1, 0.6, (2, count))), rng.uniform(-np.pi, np.pi, (2, count))
    good = slice(0, inliers)
    end[good] = start[good] @ transform[:, :2].T + transform[:, 2] + rng.normal(0, noise, (inliers, 2))
    zoom = np.sqrt(abs(np.linalg.det(transform[:, :2])))
    turn = np.arctan2(transform[1, 0] - transform[0, 1], transform[0, 0] + transform[1, 1])
    scales[1, good] = scales[0, good] * zoom * np.exp(rng.normal(0, 0.15, inliers))
    angles[1, good] = angles[0, good] + turn + rng.normal(0, 0.1, inliers)
    order = rng.permutation(count)
    true = order < inliers
    return (
        Points(start[order], scales[0, order], angles[0, order]),
        Points(end[order], scales[1, order], angles[1, order]),
        true,
    )


@pytest.mark.parametrize(("model", "method"), METHODS)
def test_a_known_transform_and_the_unspoiled_matches_come_back(model, method):
    turned = np.array([[0.9, -0.1, 20.0], [0.1, 0.9, -12.0]])  # a similarity, so that every model can fit it
    query, index, true = matches(120, 60, seed=1, transform=turned)
    found = fit(query, index, residual=8.0, model=model, method=method)
    assert found.inliers[true].mean() > 0.95 and found.inliers[~true].sum() <= 3
    matrix = found.transform / (found.transform[2, 2] if len(found.transform) == 3 else 1)
    corners = np.array([(0, 0, 1), (SIDE, 0, 1), (0, SIDE, 1), (SIDE, SIDE, 1)])
    moved = corners @ matrix.T
    moved = moved[:, :2] / (moved[:, 2:] if moved.shape[1] == 3 else 1)
    assert np.abs(moved - corners @ turned.T).max() < 4


def test_a_fundamental_matrix_tells_matches_that_keep_to_their_epipolar_lines():
    rng = np.random.default_rng(3)
    start, depth = rng.uniform(0, SIDE, (80, 2)), rng.uniform(2, 6, 80)
    end = start + np.column_stack([120 / depth, np.zeros(80)])  # a camera moved sideways
    end[50:] = rng.uniform(0, SIDE, (30, 2))
    frames = np.ones(80), np.zeros(80)
    found = fit(Points(start, *frames), Points(end, *frames), residual=1.5, model="fundamental", method="magsac")
    assert found.inliers[:50].all() and found.inliers[50:].sum() <= 5


@pytest.mark.parametrize("seed", range(5))
def test_single_matches_find_an_affinity_that_one_match_in_twenty_follows(seed):
    query, index, true = matches(300, 15, seed)
    found = fit(query, index, residual=8.0)
    assert found.inliers[true].mean() > 0.8


def test_matches_without_a_common_transform_have_few_inliers():
    counts = [fit(*matches(60, 0, seed)[:2], residual=8.0).inliers.sum() for seed in range(20)]
    assert max(counts) <= 5


FIXED_BY = [(3, "affine", "magsac"), (3, "affine", "ransac"), (4, "homography", "magsac"), (4, "homography", "ransac")]
FIXED_BY += [(2, "similarity", "ransac"), (7, "fundamental", "magsac"), (7, "fundamental", "ransac")]
FIXED_BY += [(2, "affine", "spatial")]


@pytest.mark.parametrize(("most", "model", "method"), FIXED_BY)
def test_matches_that_fix_the_model_prove_nothing(most, model, method):
    for count in range(most + 1):
        query, index, _ = matches(count, count, seed=5, noise=0.0)
        found = fit(query, index, residual=8.0, model=model, method=method)
        assert found.inliers.shape == (count,) and not found.inliers.any()
        assert np.isnan(found.transform).all()


@pytest.mark.parametrize(("model", "method"), METHODS)
@pytest.mark.parametrize(
    "linear",
    [np.diag([-1.0, 1.0]), np.diag([0.05, 0.05]), np.diag([1.0, 0.1]), np.array([[1.0, 4.0], [0.0, 1.0]])],
    ids=["mirrored", "collapsed", "flattened", "sheared"],
)
def test_transforms_that_no_change_of_place_makes_are_refused(model, method, linear):
    query, index, _ = matches(40, 40, seed=6, transform=np.column_stack([linear, [300.0, 300.0]]), noise=0.2)
    found = fit(query, index, residual=4.0, model=model, method=method)
    assert found.inliers.sum() <= 8  # never the 40 that agree


def test_points_on_one_line_still_have_a_sound_affinity():
    query = matches(30, 0, seed=7)[0]
    places = np.column_stack([np.linspace(50, 600, 30), np.full(30, 200.0)])
    found = fit(
        Points(places, query.scales, query.angles), Points(places + 5.0, query.scales, query.angles), residual=8.0
    )
    assert found.inliers.all()
    assert found.transform == pytest.approx(np.array([[1, 0, 5], [0, 1, 5]]), abs=1e-3)


@pytest.mark.parametrize(("model", "method"), METHODS)
def test_the_count_is_the_same_whatever_ran_before(model, method):
    query, index, _ = matches(150, 30, seed=8)
    first = fit(query, index, 8.0, model, method)
    cv2.setRNGSeed(12345)
    fit(*matches(100, 40, seed=9)[:2], 8.0, model, method)
    again = fit(query, index, 8.0, model, method)
    assert (first.inliers == again.inliers).all()
    np.testing.assert_array_equal(first.transform, again.transform)


def test_a_turn_beyond_the_limit_is_refused():
    query, index, _ = matches(40, 40, seed=10, transform=tilt(degrees=70))
    assert fit(query, index, 8.0, max_turn=np.deg2rad(90)).inliers.all()
    assert not fit(query, index, 8.0, max_turn=np.deg2rad(45)).inliers.any()


def test_a_homography_whose_horizon_runs_through_the_points_is_not_plausible():
    places = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    assert plausible(np.eye(3), places)
    assert not plausible(np.array([[1, 0, 0], [0, 1, 0], [-0.02, 0, 1.0]]), places)


def test_models_that_a_method_does_not_fit_are_an_error():
    query, index, _ = matches(20, 20, seed=11)
    with pytest.raises(ValueError, match="spatial"):
        fit(query, index, 8.0, model="homography", method="spatial")
    with pytest.raises(ValueError, match="magsac"):
        fit(query, index, 8.0, model="similarity", method="magsac")
