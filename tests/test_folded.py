"""Networks with normalizations folded into convolutions predict what the networks themselves do."""

import keras
import numpy as np
import pytest
from keras import layers

from lmk.models.folded import folded

RNG = np.random.default_rng(0)


def with_random_statistics(model):
    """The model, all its numbers drawn, and variances above 0."""
    for weight in model.weights:
        drawn = RNG.normal(size=weight.shape).astype("f4") * 0.5
        weight.assign(np.abs(drawn) + 0.5 if "variance" in weight.path else drawn)
    return model


def network(*stack):
    images = keras.Input((None, None, 3))
    x = images
    for layer in stack:
        x = layer(x)
    return with_random_statistics(keras.Model(images, x))


@pytest.mark.parametrize(
    ("stack", "left"),
    [
        ([lambda: layers.Conv2D(4, 3, use_bias=False), layers.BatchNormalization, layers.ReLU], 0),
        ([lambda: layers.Conv2D(4, 3, strides=2, padding="same"), layers.BatchNormalization], 0),
        ([lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), layers.BatchNormalization], 0),
        ([lambda: layers.SeparableConv2D(5, 3), lambda: layers.BatchNormalization(scale=False, center=False)], 0),
        ([lambda: layers.Conv2D(4, 1, activation="relu"), layers.BatchNormalization], 1),
        ([layers.BatchNormalization, lambda: layers.Conv2D(4, 3)], 1),
    ],
    ids=["convolution", "with a bias and a stride", "depthwise", "separable", "after an activation", "before"],
)
def test_outputs_stay_and_normalizations_after_convolutions_go(stack, left):
    model = network(*(make() for make in stack))
    found = folded(model)
    images = RNG.normal(size=(2, 9, 11, 3)).astype("f4")
    np.testing.assert_allclose(found(images), model(images, training=False), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(layer, layers.BatchNormalization) for layer in found.layers) == left


def test_a_convolution_that_others_read_keeps_its_normalization():
    images = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 1)(images)
    model = with_random_statistics(keras.Model(images, layers.Add()([x, layers.BatchNormalization()(x)])))
    some = RNG.normal(size=(1, 5, 5, 3)).astype("f4")
    np.testing.assert_allclose(folded(model)(some), model(some, training=False), rtol=1e-4, atol=1e-5)


def test_models_inside_are_folded_and_the_copy_does_not_follow_later_training():
    inner = network(layers.Conv2D(4, 3), layers.BatchNormalization())
    images = keras.Input((None, None, 3))
    model = keras.Model(images, layers.ReLU()(inner(layers.Rescaling(0.5)(images))))
    some = RNG.normal(size=(1, 7, 7, 3)).astype("f4")
    found, before = folded(model), np.array(model(some, training=False))
    np.testing.assert_allclose(found(some), before, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in found.get_layer(inner.name).layers)
    inner.set_weights([weights + 1 for weights in inner.get_weights()])
    np.testing.assert_allclose(found(some), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV2"])
def test_a_whole_backbone_keeps_its_features(name):
    model = with_random_statistics(
        getattr(keras.applications, name)(
            weights=None, include_top=False, input_shape=(64, 64, 3), alpha=0.35 if name[-1] == "2" else 0.25
        )
    )
    found = folded(model)
    images = RNG.uniform(-1, 1, (2, 64, 64, 3)).astype("f4")
    expected = np.array(model(images, training=False))
    np.testing.assert_allclose(found(images), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in found.layers)
