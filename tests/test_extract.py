"""Features: in the photos' order, whatever the batch; computed once; nothing but what is missing."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from lmk.data.batches import FeatureBatches
from lmk.data.images import resize
from lmk.data.views import make_views
from lmk.models import extract
from lmk.models.dense_views import WindowGeM, dense_windows
from lmk.models.extract import forward, view_features
from lmk.models.recipe import Recipe, Stage
from lmk.util.store import ArrayStore

SIDE = 16
CROPS = Recipe("crops", "mobilenet", SIDE, (Stage(1, 0.1),), views=12)
DENSE = replace(CROPS, name="dense", dense=True)
IDS = np.array([f"photo-{number}" for number in range(11)])


def read(name: str) -> np.ndarray:
    """A photo that its id draws."""
    number = int(name.rpartition("-")[2])
    return np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), np.uint8)


def mean_colours(recipe: Recipe) -> keras.Model:
    """An extractor whose features are mean colours; dense windows of whole pixels."""
    images = keras.Input((SIDE, SIDE, 3))
    pixels = keras.layers.Rescaling(1 / 255)(images)
    pooling = WindowGeM(dense_windows(12), p=1.0) if recipe.dense else keras.layers.GlobalAveragePooling2D()
    return keras.Model(images, pooling(pixels))


class Spy:
    """Counts the batches that an extractor gets."""

    def __init__(self, model: keras.Model):
        self.model, self.shapes = model, []

    def predict_on_batch(self, views: np.ndarray) -> np.ndarray:
        self.shapes.append(views.shape)
        return self.model.predict_on_batch(views)


def test_features_of_crops_are_those_of_each_view():
    found = forward(mean_colours(CROPS), CROPS, read, IDS)
    assert found.dtype == np.float16
    for row, name in enumerate(IDS):
        expected = make_views(read(name), SIDE, 12).mean(axis=(1, 2)) / 255
        np.testing.assert_allclose(found[row], expected, atol=1e-3)


def test_dense_features_are_each_window_then_its_mirror():
    found = forward(mean_colours(DENSE), DENSE, read, IDS[:3])
    assert found.shape == (3, 12, 3)
    model = mean_colours(DENSE)
    for row, name in enumerate(IDS[:3]):
        photo = resize(read(name), SIDE, SIDE)
        plain, mirrored = ops.convert_to_numpy(model(np.stack([photo, photo[:, ::-1]])))
        np.testing.assert_allclose(found[row, 0::2], plain, atol=1e-3)
        np.testing.assert_allclose(found[row, 1::2], mirrored, atol=1e-3)


@pytest.mark.parametrize("recipe", [CROPS, DENSE])
def test_batches_have_one_shape_and_change_nothing(recipe, monkeypatch):
    whole = forward(mean_colours(recipe), recipe, read, IDS)
    monkeypatch.setattr(extract, "PASS_VIEWS", 4 * (2 if recipe.dense else 12))
    spy = Spy(mean_colours(recipe))
    parts = forward(spy, recipe, read, IDS)
    assert len(spy.shapes) == 3  # 11 photos, four at a time
    assert len(set(spy.shapes)) == 1
    np.testing.assert_array_equal(parts, whole)


def test_a_photo_has_the_same_features_whoever_is_asked_with_it():
    model = mean_colours(CROPS)
    np.testing.assert_array_equal(forward(model, CROPS, read, IDS)[4:6], forward(model, CROPS, read, IDS[4:6]))


def test_large_images_go_in_one_photo_at_a_time(monkeypatch):
    monkeypatch.setattr(extract, "PASS_PIXELS", 1)
    spy = Spy(mean_colours(CROPS))
    forward(spy, CROPS, read, IDS[:3])
    assert [shape[0] for shape in spy.shapes] == [12, 12, 12]


def test_a_photo_that_cannot_be_read_stops_it():
    def broken(name: str) -> np.ndarray:
        if name == IDS[9]:
            raise OSError("gone")
        return read(name)

    with pytest.raises(OSError, match="gone"):
        forward(mean_colours(CROPS), CROPS, broken, IDS)


def test_what_is_stored_is_not_computed_again(tmp_path):
    def unneeded() -> keras.Model:
        raise AssertionError("computed again")

    store = ArrayStore(tmp_path, "features", {"of": "crops"})
    first = view_features(lambda: mean_colours(CROPS), CROPS, read, IDS, store)
    again = view_features(unneeded, CROPS, read, IDS[::-1], store)
    np.testing.assert_array_equal(again, first[::-1])


def test_after_an_interruption_only_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "SHARD", 4)
    asked = []

    def interrupted(name: str) -> np.ndarray:
        asked.append(name)
        if len(asked) == 7:
            raise KeyboardInterrupt
        return read(name)

    store = ArrayStore(tmp_path, "features", {"of": "crops"})
    with pytest.raises(KeyboardInterrupt):
        view_features(lambda: mean_colours(CROPS), CROPS, interrupted, IDS, store)
    asked.clear()
    found = view_features(lambda: mean_colours(CROPS), CROPS, lambda name: asked.append(name) or read(name), IDS, store)
    assert sorted(asked) == sorted(IDS[4:])
    np.testing.assert_array_equal(found, forward(mean_colours(CROPS), CROPS, read, IDS))


def test_features_in_a_mapped_file_have_the_same_bytes_in_any_order_and_train_the_same(tmp_path, monkeypatch):
    store = ArrayStore(tmp_path, "features", {"of": "crops"})
    asked = np.concatenate([IDS[::-1], IDS[:3]])  # three of them twice
    expected = view_features(lambda: mean_colours(CROPS), CROPS, read, asked, store)
    monkeypatch.setattr("lmk.util.store.IN_MEMORY", 100)
    mapped = view_features(lambda: pytest.fail("they are stored"), CROPS, read, asked, store)
    assert isinstance(mapped, np.memmap)
    assert mapped.tobytes() == expected.tobytes()
    classes = np.arange(len(asked)) % 3
    for batch in range(5):
        pair = [FeatureBatches(features, classes, 32, False, (0, 1))[batch] for features in (expected, mapped)]
        np.testing.assert_array_equal(pair[0][0], pair[1][0])
