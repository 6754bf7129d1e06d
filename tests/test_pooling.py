"""Pooling: against formulas, at its edges, and over windows of one feature map."""

import keras
import numpy as np
import pytest
from keras import ops

from lmk.models.pooling import POOLINGS, RMAC, GeM, rmac_regions, window_gem, window_weights

pytestmark = pytest.mark.networks  # also run on the other backends, see tests/test_backends.py

RNG = np.random.default_rng(7)
FEATURES = RNG.uniform(0.1, 4, (2, 5, 6, 3)).astype("float32")


def pooled(layer, features=FEATURES):
    return ops.convert_to_numpy(layer(features))


def by_hand(features, p):
    return (np.maximum(features, 1e-6).astype(float) ** p).mean(axis=(1, 2)) ** (1 / p)


@pytest.mark.parametrize("p", [1.0, 2.2, 3.0, 6.5])
def test_gem_is_the_root_of_the_mean_of_powers(p):
    np.testing.assert_allclose(pooled(GeM(p)), by_hand(FEATURES, p), rtol=1e-5)


def test_gem_is_the_average_at_one_and_nears_the_maximum_as_p_grows():
    np.testing.assert_allclose(pooled(GeM(1.0)), FEATURES.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pooled(GeM(500.0)), FEATURES.max(axis=(1, 2)), rtol=0.01)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e12])
def test_gem_neither_overflows_nor_vanishes(scale):
    values = pooled(GeM(10.0), FEATURES * np.float32(scale))
    np.testing.assert_allclose(values, by_hand(FEATURES * scale, 10.0), rtol=1e-4)


def test_gem_of_each_channel_has_its_own_exponent():
    layer = GeM(per_channel=True)
    layer.build(FEATURES.shape)
    layer.p.assign([1.0, 3.0, 5.0])
    expected = np.stack([by_hand(FEATURES, p)[:, channel] for channel, p in enumerate((1, 3, 5))], axis=1)
    np.testing.assert_allclose(pooled(layer), expected, rtol=1e-5)


def gradient_of_p(features, p):
    """The gradient of the mean pooled value, read off one step of plain descent at rate 1."""
    model = keras.Sequential([keras.Input(features.shape[1:]), GeM(p)])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, values: ops.mean(values, axis=-1), jit_compile=False)
    model.fit(features, np.zeros(len(features)), batch_size=len(features), verbose=0)
    return p - float(model.layers[0].p)


def test_the_gradient_of_p_is_that_of_the_formula():
    step = 1e-4
    expected = (by_hand(FEATURES, 3 + step).mean() - by_hand(FEATURES, 3 - step).mean()) / (2 * step)
    assert gradient_of_p(FEATURES, 3.0) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("p", [3.0, 20.0])
def test_a_dead_feature_map_gives_a_finite_gradient(p):
    assert np.isfinite(gradient_of_p(np.zeros((2, 4, 4, 3), "float32"), p))


def test_gem_stays_in_full_precision_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        values = GeM()(ops.cast(FEATURES, "bfloat16"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(values.dtype) == "float32"


@pytest.mark.parametrize("name", POOLINGS)
def test_every_pooling_by_name_gives_one_vector_an_image(name):
    values = pooled(POOLINGS[name](name="descriptor"))
    assert values.shape == (2, 3)
    assert np.isfinite(values).all()


def test_rmac_of_a_constant_map_points_the_same_way_in_every_window():
    values = pooled(RMAC(), np.broadcast_to(np.float32([3, 4, 0]), (1, 6, 6, 3)))
    np.testing.assert_allclose(values, len(rmac_regions(6, 6)) * np.array([[0.6, 0.8, 0]]), rtol=1e-5)


def test_rmac_windows_of_a_square_map():
    # Scale 1: the whole; scale 2: four of side 2 * 6 / 3; scale 3: nine of side 2 * 6 / 4.
    regions = rmac_regions(6, 6)
    assert regions[0] == (0, 0, 6)
    assert regions[1:5] == [(0, 0, 4), (0, 2, 4), (2, 0, 4), (2, 2, 4)]
    assert len(regions) == 1 + 4 + 9
    assert regions[-1] == (3, 3, 3)


def test_rmac_windows_of_a_wide_map_cover_it():
    regions = rmac_regions(6, 12)
    assert {side for _, _, side in regions} == {6, 4, 3}
    assert max(left + side for _, left, side in regions) == 12


def test_gem_over_the_whole_window_is_gem():
    windows = np.array([[0, 0, 1, 1]])
    values = ops.convert_to_numpy(window_gem(FEATURES, windows, 3.0))
    np.testing.assert_allclose(values[:, 0], pooled(GeM(3.0)), rtol=1e-5)


def test_gem_over_a_window_of_whole_cells_is_gem_of_the_cut():
    left, top, right, bottom = 1 / 6, 2 / 5, 4 / 6, 1
    values = ops.convert_to_numpy(window_gem(FEATURES, np.array([[0, 0, 1, 1], [left, top, right, bottom]]), 2.5))
    assert values.shape == (2, 2, 3)
    np.testing.assert_allclose(values[:, 1], by_hand(FEATURES[:, 2:5, 1:4], 2.5), rtol=1e-5)


def test_a_cell_counts_with_the_part_that_the_window_covers():
    # Of 2 x 2 cells the window covers columns 0.5 to 2 and row 0 alone.
    weights = window_weights(np.array([[0.25, 0, 1, 0.5]]), 2, 2)
    np.testing.assert_allclose(weights, [[1 / 3, 2 / 3, 0, 0]])


@pytest.mark.parametrize("window", [[0.5, 0, 0.5, 1], [0, 0, 1.1, 1], [-0.1, 0, 1, 1], [0, 0.9, 1, 0.2]])
def test_an_empty_window_or_one_outside_the_image_is_an_error(window):
    with pytest.raises(ValueError, match="left < right"):
        window_weights(np.array([window]), 4, 4)
