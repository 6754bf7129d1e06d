"""Batch normalization that was folded into convolutions learns again, and prediction stays as it was."""

import keras
import numpy as np

from lmk.models.normalization import match_normalization

RNG = np.random.default_rng(3)
VIEWS = RNG.integers(0, 256, (48, 12, 12, 3)).astype(np.uint8)


def folded() -> keras.Model:
    """An extractor as an inference format leaves it: convolutions of any scale, normalization that does nothing."""
    keras.utils.set_random_seed(2)
    inner = keras.Input((12, 12, 3))
    x = inner
    for width, scale in ((6, 0.02), (8, 0.05), (5, 30.0)):
        kernel = keras.initializers.RandomNormal(stddev=scale)
        x = keras.layers.Conv2D(width, 3, kernel_initializer=kernel)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    network = keras.Model(inner, x, name="network")
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(RNG.normal(size=layer.beta.shape) * 0.1 + 0.2)
    views = keras.Input((12, 12, 3))
    features = network(keras.layers.Rescaling(1 / 127.5, -1)(views))
    return keras.Model(views, keras.layers.GlobalAveragePooling2D()(features))


def features(extractor: keras.Model, training: bool) -> np.ndarray:
    """Of all views, without a change to the statistics."""
    before = extractor.get_weights()
    found = keras.ops.convert_to_numpy(extractor(VIEWS, training=training))
    extractor.set_weights(before)
    return found


def test_matched_normalization_predicts_the_same_and_trains_from_there():
    extractor = folded()
    before, in_training = features(extractor, False), features(extractor, True)
    assert np.abs(in_training - before).max() > 0.5 * before.std()  # folded: the batch's statistics change everything
    match_normalization(extractor, [VIEWS[:16], VIEWS[16:32], VIEWS[32:]])
    np.testing.assert_allclose(features(extractor, False), before, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(features(extractor, True), before, rtol=1e-2, atol=1e-3)


def test_statistics_that_are_right_already_stay():
    extractor = folded()
    match_normalization(extractor, [VIEWS])
    before = extractor.get_weights()
    match_normalization(extractor, [VIEWS[:24], VIEWS[24:]])
    for old, new in zip(before, extractor.get_weights(), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-4)


def test_an_extractor_without_batch_normalization_is_left_alone():
    inner = keras.Input((4, 4, 3))
    views = keras.Input((4, 4, 3))
    network = keras.Model(inner, keras.layers.Conv2D(2, 3)(inner))
    extractor = keras.Model(views, keras.layers.GlobalAveragePooling2D()(network(views)))
    before = extractor.get_weights()
    match_normalization(extractor, [VIEWS[:, :4, :4]])
    for old, new in zip(before, extractor.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
