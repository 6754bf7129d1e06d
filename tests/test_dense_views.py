"""Dense views: the windows by hand, and one pass of them against crops of the feature map."""

import keras
import numpy as np
import pytest
from keras import ops

from lmk.models.dense_views import WindowGeM, dense_windows
from lmk.models.pooling import GeM

pytestmark = pytest.mark.networks  # also run on the other backends, see tests/test_backends.py


@pytest.mark.parametrize("views", [12, 22])
def test_with_their_mirrors_windows_make_the_views(views):
    windows = dense_windows(views)
    assert windows.shape == (views // 2, 4)
    left, top, right, bottom = windows.T
    assert (windows >= 0).all() and (windows <= 1).all()
    assert (left < right).all() and (top < bottom).all()
    assert windows[0].tolist() == [0, 0, 1, 1]


def test_windows_by_hand():
    # The whole; then of 70 % a side: top left, bottom left, top right, bottom right, centre.
    expected = [
        [0, 0, 1, 1],
        [0, 0, 0.7, 0.7],
        [0, 0.3, 0.7, 1],
        [0.3, 0, 1, 0.7],
        [0.3, 0.3, 1, 1],
        [0.15, 0.15, 0.85, 0.85],
    ]
    np.testing.assert_allclose(dense_windows(12), expected)


def test_a_mirrored_photos_windows_are_the_mirrored_windows():
    left, top, right, bottom = dense_windows(22).T
    mirrored = np.column_stack([1 - right, top, 1 - left, bottom])
    assert {tuple(window) for window in mirrored.round(9)} == {tuple(window) for window in dense_windows(22).round(9)}


@pytest.mark.parametrize("views", [0, 1, 2, 24])
def test_there_are_12_or_22_views(views):
    with pytest.raises(ValueError, match="12 or 22"):
        dense_windows(views)


def test_a_window_of_whole_cells_is_gem_of_that_crop():
    features = np.random.default_rng(0).random((2, 10, 10, 3), np.float32)
    found = ops.convert_to_numpy(WindowGeM(dense_windows(12))(features))
    crops = [features, features[:, :7, :7], features[:, 3:, :7], features[:, :7, 3:], features[:, 3:, 3:]]
    for window, crop in enumerate(crops):  # of 10 cells 70 % are 7
        np.testing.assert_allclose(found[:, window], ops.convert_to_numpy(GeM()(crop)), rtol=1e-5)


def test_the_layer_is_saved_and_loaded(tmp_path):
    images = keras.Input((4, 4, 2))
    model = keras.Model(images, WindowGeM(dense_windows(12), p=2.0)(images))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    features = np.random.default_rng(1).random((1, 4, 4, 2), np.float32)
    np.testing.assert_array_equal(model(features), loaded(features))
