"""Batches: an epoch's order from its seed, every photo once, or every class as often."""

import numpy as np
import pytest

from lmk.data.batches import FeatureBatches, PhotoBatches, epoch_order
from lmk.predictions import NO_LANDMARK

CLASSES = np.array([0] * 60 + [1] * 3 + [2] * 30 + [NO_LANDMARK] * 7)


def everything(batches) -> tuple[np.ndarray, np.ndarray]:
    parts = [batches[place] for place in range(len(batches))]
    return np.concatenate([inputs for inputs, _ in parts]), np.concatenate([classes for _, classes in parts])


def test_an_epoch_shows_every_photo_once():
    assert sorted(epoch_order(CLASSES, False, np.random.default_rng(0))) == list(range(100))


def test_a_balanced_epoch_draws_classes_evenly():
    classes = np.tile(CLASSES, 100)
    order = epoch_order(classes, True, np.random.default_rng(0))
    assert len(order) == len(classes)
    _, counts = np.unique(classes[order], return_counts=True)
    # Four kinds, the photos of no landmark one of them: a quarter each, five deviations of a binomial aside.
    np.testing.assert_allclose(counts, 2500, atol=5 * np.sqrt(10_000 * 0.25 * 0.75))


def test_a_balanced_epoch_draws_the_photos_of_a_class_evenly():
    order = np.concatenate([epoch_order(CLASSES, True, np.random.default_rng(seed)) for seed in range(200)])
    counts = np.bincount(order, minlength=100)[:60]
    np.testing.assert_allclose(counts, counts.mean(), atol=6 * np.sqrt(counts.mean()))


def test_feature_batches_show_every_view_with_its_photos_class():
    features = np.arange(100 * 4 * 2).reshape(100, 4, 2).astype(np.float16)
    shown, classes = everything(FeatureBatches(features, CLASSES, 32, False, (0, 0, 0)))
    assert len(shown) == 400
    order = np.lexsort(shown.T[::-1])
    np.testing.assert_array_equal(shown[order], features.reshape(-1, 2))
    np.testing.assert_array_equal(classes[order], np.repeat(CLASSES, 4))
    assert classes.dtype == np.int32


def test_the_last_batch_holds_the_rest():
    batches = FeatureBatches(np.zeros((5, 3, 2), np.float16), np.zeros(5, int), 4, False, (0,))
    assert [len(batches[place][1]) for place in range(len(batches))] == [4, 4, 4, 3]


def test_feature_maps_keep_their_shape():
    batches = FeatureBatches(np.zeros((5, 3, 4, 4, 2), np.float16), np.zeros(5, int), 4, False, (0,))
    assert batches[0][0].shape == (4, 4, 4, 2)


@pytest.mark.parametrize("balance", [False, True])
def test_the_seed_gives_the_order(balance):
    features = np.random.default_rng(0).normal(size=(100, 2, 3)).astype(np.float16)

    def shown(*seed: int) -> np.ndarray:
        return everything(FeatureBatches(features, CLASSES, 32, balance, seed))[0]

    np.testing.assert_array_equal(shown(1, 0, 0), shown(1, 0, 0))
    for other in ((2, 0, 0), (1, 1, 0), (1, 0, 1)):
        assert (shown(1, 0, 0) != shown(*other)).any()


IDS = np.array([f"p{number}" for number in range(10)])


def read(name: str) -> np.ndarray:
    """A photo of one colour, by its id."""
    return np.full((20, 24, 3), 20 * int(name[1:]) + 10, np.uint8)


def photos(seed=(0, 1, 0), classes=None) -> PhotoBatches:
    return PhotoBatches(read, IDS, np.arange(10) if classes is None else classes, 16, 4, False, seed)


def test_photo_batches_show_every_photo_with_its_class():
    views, classes = everything(photos())
    assert views.shape == (10, 16, 16, 3)
    assert views.dtype == np.uint8
    assert classes.dtype == np.int32
    assert sorted(classes) == list(range(10))
    brightness = views.reshape(10, -1).mean(axis=1)
    assert np.corrcoef(brightness, classes)[0, 1] > 0.9  # light is changed a little, the photo stays known


def test_a_photo_of_no_landmark_keeps_its_mark():
    assert (everything(photos(classes=np.full(10, NO_LANDMARK)))[1] == NO_LANDMARK).all()


def test_photo_batches_are_the_same_in_whatever_order_workers_make_them():
    forward, backward = photos(), photos()
    made = {place: backward[place] for place in reversed(range(len(backward)))}
    for place in range(len(forward)):
        np.testing.assert_array_equal(forward[place][0], made[place][0])


def test_another_epoch_shows_other_views():
    first, second = everything(photos((0, 1, 0))), everything(photos((0, 1, 1)))
    assert (first[0][np.argsort(first[1])] != second[0][np.argsort(second[1])]).any()
