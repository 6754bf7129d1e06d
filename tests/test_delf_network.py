"""DELF's network: where its cells look, what leaves the device, and that attention learns what tells photos apart."""

import keras
import numpy as np
import pytest

from lmk.local.delf import Cells, Delf
from lmk.models.backbones.catalogue import BACKBONES
from lmk.models.delf.network import DelfNetwork, build_attention, build_delf
from lmk.models.delf.receptive import receptive_fields
from lmk.models.delf.recipe import CUTS, DelfTraining
from lmk.models.delf.training import AttentionPooling, chosen_photos, train_delf
from lmk.util.errors import LmkError


def linear_centre(cut: keras.Model, side: int) -> tuple[float, float]:
    """Where the middle cell of a network with equal positive weights looks at, (x, y): the mean place of what moves it.

    Weights are so small that no activation saturates; a maximum looks to the brighter side, so a rising and a falling
    ramp are averaged.
    """
    for layer in cut.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            kernel = layer.weights[0]
            spread = np.prod(kernel.shape[:2]) * (
                1 if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel.shape[2]
            )
            kernel.assign(np.full(kernel.shape, 1 / spread))
            if layer.use_bias:
                layer.weights[1].assign(np.zeros(layer.weights[1].shape))
    ramp = np.arange(side, dtype=np.float32) / side
    found = []
    for axis in (1, 0):
        centres = []
        for values in (ramp, ramp[::-1]):
            image = np.broadcast_to(values[None, :, None] if axis else values[:, None, None], (side, side, 3)) * 1e-2
            row = cut.predict_on_batch(image[None])[0, ..., 0]
            middle = row[row.shape[0] // 2, row.shape[1] // 2]
            flat = cut.predict_on_batch(np.full((1, side, side, 3), 1e-2, np.float32))[0, ..., 0]
            centre = middle / flat[flat.shape[0] // 2, flat.shape[1] // 2] * side
            centres.append(centre if values is ramp else side - 1 - centre)
        found.append(float(np.mean(centres)))
    return found[0], found[1]


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenet"])
def test_cells_look_where_a_linear_network_looks(name):
    network = getattr(keras.applications, BACKBONES[name].build)(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    cut = keras.Model(network.inputs, network.get_layer(CUTS[name]).output)
    cells, side = receptive_fields(cut), 320
    assert cells.stride == 16
    middle = cells.first + cells.stride * (side // 32)
    assert linear_centre(cut, side) == pytest.approx((middle, middle), abs=0.6)


def test_resnet50_is_cut_where_it_was_published():
    network = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    cut = keras.Model(network.inputs, network.get_layer(CUTS["resnet50"]).output)
    assert receptive_fields(cut) == Cells(stride=16, first=0.0, field=291)
    assert cut.output_shape[-1] == 1024


def test_a_field_through_layers_by_hand():
    # 3 x 3 at stride 2 after one cell of padding, then 3 x 3: the second one's cells see 3 + 2 * 2 = 7 pixels.
    assert Cells().through(3, 2, 1) == Cells(2, 0.0, 3)
    assert Cells(2, 0.0, 3).through(3, 1, 1) == Cells(2, 0.0, 7)
    assert Cells(2, 0.0, 3).through(2, 2, 0) == Cells(4, 1.0, 5)


def small(channels: int = 8) -> DelfNetwork:
    """A network of random weights that looks at squares of 16 x 16 pixels."""
    keras.utils.set_random_seed(3)
    images = keras.Input((None, None, 3))
    inner = keras.Input((None, None, 3))
    cut = keras.Model(inner, keras.layers.Conv2D(channels, 16, strides=16, activation="relu", name="cut")(inner))
    features = cut(keras.layers.Rescaling(1 / 255)(images))
    return DelfNetwork(keras.Model(images, features), build_attention(channels), receptive_fields(cut))


def photo(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("most", [5, 1000])
def test_the_strongest_cells_are_those_of_the_whole_map(most):
    network, images = small(), np.stack([photo(48, 80, seed) for seed in (0, 1)])
    features = network.backbone.predict_on_batch(images)
    attention = network.attention.predict_on_batch(features)[..., 0]
    found = network.dense(most)(images)
    assert found.attention.shape == (2, min(most, 15)) and found.descriptors.shape == (2, min(most, 15), 8)
    for row in range(2):
        np.testing.assert_allclose(found.attention[row], np.sort(attention[row].ravel())[::-1][:most], rtol=1e-5)
        cells = attention[row][found.rows[row], found.columns[row]]
        np.testing.assert_allclose(found.attention[row], cells, rtol=1e-5)
        own = features[row][found.rows[row], found.columns[row]]
        np.testing.assert_allclose(found.descriptors[row], own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-5)


def test_features_do_not_depend_on_the_batch():
    network, photos = small(), [photo(64, 96, seed) for seed in range(4)]
    one, four = (Delf(network.dense(50), network.fields, None, at_once=count)(photos) for count in (1, 4))
    for alone, together in zip(one, four, strict=True):
        np.testing.assert_allclose(alone.locations, together.locations, atol=1e-3)
        np.testing.assert_allclose(alone.descriptors, together.descriptors, atol=1e-5)


def test_passes_side_by_side_give_the_same_bytes():
    network, photos = small(), [photo(64, 96 + 8 * seed, seed) for seed in range(6)]
    one, three = (Delf(network.dense(50), network.fields, None, threads=count)(photos) for count in (1, 3))
    for alone, beside in zip(one, three, strict=True):
        np.testing.assert_array_equal(alone.locations, beside.locations)
        np.testing.assert_array_equal(alone.descriptors, beside.descriptors)


def test_attention_learns_to_look_at_what_tells_landmarks_apart():
    """Each photo is noise with one coloured square, whose colour is the landmark's; noise is everywhere the same."""
    colours = np.array([(250, 30, 30), (30, 250, 30), (30, 30, 250)])
    landmarks, photos = np.repeat([7, 70, 700], 8), {}
    for row, landmark in enumerate(landmarks):
        rng = np.random.default_rng(row)
        grey = np.repeat(rng.integers(90, 160, (64, 64, 1), dtype=np.uint8), 3, axis=2)
        top, left = rng.integers(0, 4, 2) * 16
        grey[top : top + 16, left : left + 16] = colours[[7, 70, 700].index(landmark)]
        photos[str(row)] = grey
    network = small(32)
    training = DelfTraining(side=64, views=2, epochs=12, learning_rate=2e-2, batch_size=16)
    history = train_delf(network, np.array(list(photos)), landmarks, photos.__getitem__, training)
    assert len(history) == 12 and history[-1]["loss"] < 0.5 * history[0]["loss"]
    hits = 0
    for image in photos.values():
        found = network.dense(1)(image[None])
        square = image[found.rows[0, 0] * 16 + 8, found.columns[0, 0] * 16 + 8].astype(int)
        hits += np.ptp(square) > 100  # the coloured one of 16 cells
    assert hits >= 20, hits


def test_the_same_seed_trains_the_same_attention():
    photos = {str(row): photo(64, 64, row) for row in range(8)}
    training = DelfTraining(side=64, views=1, epochs=2, batch_size=4)
    weights = []
    for _ in range(2):
        network = small()
        train_delf(network, np.array(list(photos)), np.arange(8) // 2, photos.__getitem__, training)
        weights.append(network.attention.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_backbone_that_is_tuned_changes_and_a_frozen_one_does_not():
    photos = {str(row): photo(64, 64, row) for row in range(8)}
    for epochs in (0, 1):
        network = small()
        before = [np.array(weight) for weight in network.backbone.get_weights()]
        training = DelfTraining(side=64, views=1, epochs=1, batch_size=4, tune_epochs=epochs)
        history = train_delf(network, np.array(list(photos)), np.arange(8) // 2, photos.__getitem__, training)
        same = all((old == new).all() for old, new in zip(before, network.backbone.get_weights(), strict=True))
        assert same == (epochs == 0)
        assert [record["stage"] for record in history] == [0] * epochs + [1]


def test_photos_to_learn_from_are_those_of_the_largest_landmarks():
    landmarks = np.repeat([4, 9, 2, 5], [6, 1, 3, 9])
    chosen = landmarks[chosen_photos(landmarks, DelfTraining(photos=10, photos_a_landmark=5))]
    assert sorted(chosen.tolist()) == [4] * 5 + [5] * 5
    every = landmarks[chosen_photos(landmarks, DelfTraining())]
    assert sorted(every.tolist()) == [2] * 3 + [4] * 6 + [5] * 9  # of 9 there is one photo: nothing to tell apart by


def test_a_backbone_that_nobody_cut_is_refused():
    with pytest.raises(LmkError, match="does not know where to cut 'convnexttiny'"):
        build_delf("convnexttiny", "none")


def test_as_published_the_pooled_vector_is_the_mean_of_the_weighted_directions():
    rng = np.random.default_rng(0)
    features, attention = rng.normal(size=(2, 3, 4, 5)).astype(np.float32), rng.random((2, 3, 4, 1)).astype(np.float32)
    directions = features / np.linalg.norm(features, axis=-1, keepdims=True)
    expected = (directions * attention).mean(axis=(1, 2))
    plain, fixed = AttentionPooling(normalize=False), AttentionPooling()
    np.testing.assert_allclose(plain([features, attention]), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(plain([features, 3 * attention]), 3 * expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fixed([features, 3 * attention]), fixed([features, attention]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(fixed([features, attention]), axis=1), 5**0.5, rtol=1e-4)
    assert AttentionPooling.from_config(plain.get_config()).normalize is False
