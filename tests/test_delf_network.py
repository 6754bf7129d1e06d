"""DELF's network: where its cells look, what leaves the device, and that attention learns what tells photos apart."""

import keras
import numpy as np
import pytest

from lmk.local.delf import SCALES, Canvases, Cells, Delf, DelfOptions, Strongest
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
    one, four = (Delf(network.dense(50), network.fields, None, pixels=count * 64 * 96)(photos) for count in (1, 4))
    for alone, together in zip(one, four, strict=True):
        np.testing.assert_allclose(alone.locations, together.locations, atol=1e-3)
        np.testing.assert_allclose(alone.descriptors, together.descriptors, atol=1e-5)


def test_passes_side_by_side_give_the_same_bytes():
    network, photos = small(), [photo(64, 96 + 8 * seed, seed) for seed in range(6)]
    one, three = (Delf(network.dense(50), network.fields, None, threads=count)(photos) for count in (1, 3))
    for alone, beside in zip(one, three, strict=True):
        np.testing.assert_array_equal(alone.locations, beside.locations)
        np.testing.assert_array_equal(alone.descriptors, beside.descriptors)


def many_layers() -> DelfNetwork:
    """A network with every kind of layer that canvases know, biases and statistics drawn so that nothing stays 0."""
    keras.utils.set_random_seed(5)
    layers, inner = keras.layers, keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inner)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    x = layers.ZeroPadding2D(((0, 1), (1, 2)))(x)
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, strides=2, padding="valid")(x))
    vector = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(vector)])
    x = layers.Add()([x, layers.SeparableConv2D(8, 3, padding="same", activation="relu")(x)])
    x = layers.AveragePooling2D(2, 1)(layers.Conv2D(6, 3, dilation_rate=2, padding="same")(x))
    cut = keras.Model(inner, layers.Conv2D(6, 1, strides=2)(x))
    rng = np.random.default_rng(2)
    for layer in cut.layers:
        if not isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([weight + rng.uniform(0.1, 0.3, weight.shape) for weight in layer.get_weights()])
    images = keras.Input((None, None, 3))
    backbone = keras.Model(images, cut(keras.layers.Rescaling(1 / 127.5, -1)(images)))
    return DelfNetwork(backbone, build_attention(6), Cells(16, 0.0, 16))


def test_on_a_canvas_every_cell_is_what_it_is_without_one():
    network = many_layers()
    photos = [photo(height, width, height) for height, width in ((96, 128), (81, 90), (64, 79), (50, 101), (47, 47))]
    sizes = np.array([image.shape[:2] for image in photos], np.int32)
    canvases = np.full((len(photos), 96, 128, 3), 77, np.uint8)  # what lies beyond a photo must not count
    for canvas, image in zip(canvases, photos, strict=True):
        canvas[: image.shape[0], : image.shape[1]] = image
    together = network.dense(1000)(canvases, sizes)
    for row, image in enumerate(photos):
        alone = network.dense(1000)(image[None])
        count = alone.attention.shape[1]
        assert count == (together.attention[row] >= 0).sum()
        places = [
            np.lexsort((found.columns[place][:count], found.rows[place][:count]))
            for found, place in ((alone, 0), (together, row))
        ]
        for name in ("attention", "rows", "columns", "descriptors"):
            one, other = getattr(alone, name)[0][places[0]], getattr(together, name)[row][:count][places[1]]
            np.testing.assert_allclose(other, one, atol=1e-5, err_msg=name)


def test_features_on_canvases_are_those_of_photos_alone_and_few_sizes_are_compiled():
    network, seen = small(), set()
    photos = [photo(40 + 7 * number, 100 - 3 * number, number) for number in range(9)]
    options = DelfOptions(scales=(0.5, 1.0, 2.0), max_features=60)
    dense = network.dense(60)

    def watched(images: np.ndarray, sizes: np.ndarray | None = None) -> Strongest:
        seen.add(images.shape)
        return dense(images, sizes)

    alone = Delf(dense, network.fields, None, options)(photos)
    canvases = Canvases(pixels=4 * 256 * 256)
    together = Delf(watched, network.fields, None, options, threads=2, canvases=canvases)(photos)
    assert seen == {(4, 256, 256, 3)}
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-5)
        np.testing.assert_allclose(other.locations, one.locations, atol=1e-3)
        np.testing.assert_allclose(other.descriptors, one.descriptors, atol=1e-5)


def test_photos_of_333_sizes_at_seven_scales_need_17_canvases():
    rng = np.random.default_rng(0)
    sides = rng.integers(200, 1025, (333, 2))
    sizes = {(max(32, round(w * scale)), max(32, round(h * scale))) for w, h in sides for scale in SCALES}
    canvases = {Canvases().of(*size) for size in sizes}
    assert len(sizes) > 1500 and len(canvases) <= 17
    assert all(canvas[0] >= size[0] and canvas[1] >= size[1] for size in sizes for canvas in [Canvases().of(*size)])
    assert Canvases().of(2049, 100) == (2560, 512)  # beyond the largest
    assert Canvases().at_once((2048, 1536)) == 8 and Canvases().at_once((256, 256)) == 64


def test_delf_computes_in_the_precision_that_is_asked_for():
    keras.utils.set_random_seed(1)
    for policy, dtype in (("float32", "float32"), ("mixed_bfloat16", "bfloat16")):
        network = build_delf("tinymobilenetv2", "none", policy)
        assert network.backbone.outputs[0].dtype == dtype
        assert network.attention.outputs[0].dtype == "float32"
        assert keras.config.dtype_policy().name == "float32"
        found = network.dense(9)(photo(64, 64, 0)[None])
        assert found.descriptors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=2), 1, atol=1e-2)


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


def test_a_photo_without_any_activation_does_not_end_the_training_of_attention():
    """A cell of zeros has no direction; its gradient must be 0 and not NaN."""
    network, photos = small(), {str(row): photo(64, 64, row) for row in range(8)}
    kernel, bias = network.backbone.layers[-1].get_weights()
    network.backbone.layers[-1].set_weights([kernel * 0, bias - 1.0])
    training = DelfTraining(side=64, views=1, epochs=1, batch_size=4)
    history = train_delf(network, np.array(list(photos)), np.arange(8) // 2, photos.__getitem__, training)
    assert np.isfinite(history[0]["loss"])
    assert all(np.isfinite(weight).all() for weight in network.attention.get_weights())


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
