"""Schedules, learning rates by depth, averaged weights."""

import keras
import numpy as np
import pytest

from lmk.models.schedules import Scaled, depth_multipliers, make_optimizer, warmup_cosine


def test_the_rate_rises_evenly_and_falls_along_a_cosine():
    schedule = warmup_cosine(1.0, steps=110, warmup_steps=10, start=0.1, floor=0.2)
    rates = [float(schedule(step)) for step in (0, 5, 10, 60, 110, 500)]
    assert rates == pytest.approx([0.1, 0.55, 1.0, 0.2 + 0.8 * 0.5, 0.2, 0.2], rel=1e-5)


def test_without_a_warm_up_the_rate_starts_at_its_peak():
    assert float(warmup_cosine(0.3, steps=10)(0)) == pytest.approx(0.3)


def test_a_warm_up_longer_than_the_training_is_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        warmup_cosine(0.1, steps=10, warmup_steps=10)


def test_a_scaled_schedule_is_the_schedule_times_its_factor_and_survives_saving():
    schedule = Scaled(warmup_cosine(0.4, steps=10, warmup_steps=2), 0.25)
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert float(loaded(2)) == pytest.approx(0.1)
    assert [float(loaded(step)) for step in range(12)] == [float(schedule(step)) for step in range(12)]


def two_layers():
    keras.utils.set_random_seed(4)
    layers = [keras.layers.Dense(3, use_bias=False, name=name) for name in ("first", "second")]
    return keras.Sequential([keras.Input((2,)), *layers])


def fit(model, optimizer, epochs, callbacks=()):
    """Train on one batch, a step an epoch."""
    model.compile(optimizer, "mse", jit_compile=False)
    inputs, targets = np.float32([[1, 2], [3, -1]]), np.float32([[1, 0, 2], [0, 1, 1]])
    model.fit(inputs, targets, batch_size=2, epochs=epochs, callbacks=list(callbacks), verbose=0)


def one_step(name, rate, factor=None):
    """How far a step moves each layer's weights; `factor`: of the first layer's rate."""
    model = two_layers()
    before = model.get_weights()
    fit(model, make_optimizer(name, rate, {model.layers[0].kernel.path: factor} if factor else None), epochs=1)
    return [after - start for after, start in zip(model.get_weights(), before, strict=True)]


@pytest.mark.parametrize("rate", [0.05, warmup_cosine(0.05, steps=100)])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_multiplier_shortens_the_step_of_its_layer_alone(name, rate):
    whole, parts = one_step(name, rate), one_step(name, rate, factor=0.1)
    np.testing.assert_allclose(parts[0], whole[0] * 0.1, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-5)


def test_early_layers_learn_more_slowly():
    layers = [keras.layers.Dense(2, name=f"layer{place}") for place in range(6)]
    multipliers = depth_multipliers(keras.Sequential([keras.Input((2,)), *layers]), groups=3, decay=0.5)
    kernels = [multipliers[layer.kernel.path] for layer in layers]
    assert kernels == pytest.approx([1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 2, 1 / 2])
    assert len(multipliers) == 12


@pytest.mark.parametrize("factor", [None, 0.5])
def test_averaged_weights_take_the_place_of_the_last_ones_when_training_ends(factor):
    def trained(ema_momentum, callbacks=()):
        model = two_layers()
        multipliers = {model.layers[0].kernel.path: factor} if factor else None
        fit(model, make_optimizer("sgd", 0.01, multipliers, ema_momentum=ema_momentum), 4, callbacks)
        return model

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            steps.append(self.model.get_weights())

    steps = []
    trained(None, [Record()])
    average = steps[0]
    for weights in steps[1:]:
        average = [0.8 * mean + 0.2 * new for mean, new in zip(average, weights, strict=True)]
    for found, expected in zip(trained(0.8).get_weights(), average, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
