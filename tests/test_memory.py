"""A batch that the device holds, or one line that names what to lower."""

import keras
import pytest

from lmk.models.memory import accumulation, device_bytes, memory_errors, training_bytes
from lmk.util.errors import LmkError


def model() -> keras.Model:
    """100 weights in one layer, 60 values a photo in all outputs."""
    inputs = keras.Input((10,))
    inner = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10, use_bias=False)])
    return keras.Model(inputs, keras.layers.ReLU()(keras.layers.Dense(20, trainable=False)(inner(inputs))))


def test_training_takes_weights_with_their_moments_and_what_each_photo_leaves_for_the_backward_pass():
    fixed, each = training_bytes(model())
    assert fixed == 4 * (5 * 100 + 220)  # itself, its gradient, two moments, an update; what is frozen counts once
    assert each == 2 * 4 * (10 + 10 + 20 + 20)


@pytest.mark.parametrize(("photos", "parts"), [(1000, 1), (32, 1), (31, 2), (16, 2), (11, 3), (1, 32)])
def test_a_batch_is_cut_into_as_few_parts_as_fit(photos, parts):
    fixed, each = training_bytes(model())
    assert accumulation(model(), 32, int((fixed + photos * each) / 0.8) + 2, "some") == parts


def test_a_device_of_unknown_memory_is_taken_to_hold_the_batch():
    assert accumulation(model(), 32, 0, "some") == 1


def test_a_device_that_holds_no_photo_is_an_error_that_names_what_to_lower():
    with pytest.raises(LmkError, match=r"Training some needs .* image_size, .*train_from"):
        accumulation(model(), 32, 2000, "some")


@pytest.mark.parametrize("text", ["RESOURCE_EXHAUSTED: ...", "CUDA out of memory.", "OOM when allocating tensor"])
def test_a_backend_that_ran_out_of_memory_is_one_line(text):
    with pytest.raises(LmkError, match="does not hold a batch of 8 in training some"), memory_errors("some", 8):
        raise RuntimeError(text)


def test_other_errors_stay_what_they_are():
    with pytest.raises(ValueError, match="else"), memory_errors("some", 8):
        raise ValueError("something else")


def test_the_memory_of_this_machine_is_known():
    assert device_bytes() > 1 << 28
