"""Heads: cosines by hand, and from outputs to scores."""

import keras
import numpy as np
import pytest
from keras import ops

from lmk.models.heads import HEADS, LEAST_SAMPLE, NO_OUTPUT, CosineHead, Head, SampledOutputs, descriptor_neck

pytestmark = pytest.mark.networks  # also run on the other backends, see tests/test_backends.py

RNG = np.random.default_rng(3)


def unit(values, axis):
    return values / np.linalg.norm(values, axis=axis, keepdims=True)


def test_one_centre_gives_the_cosine_to_it():
    descriptors = RNG.normal(size=(4, 8)).astype("float32")
    head = CosineHead(5)
    cosines = ops.convert_to_numpy(head(descriptors))
    expected = unit(descriptors, 1) @ unit(ops.convert_to_numpy(head.kernel), 0)
    np.testing.assert_allclose(cosines, expected, atol=1e-6)


def test_of_three_centres_the_nearest_counts():
    head = CosineHead(2, centres=3)
    head.build((None, 2))
    # Centres of the first class lie at 0, 90 and 180 degrees, all of the second's at 270.
    head.kernel.assign([[1, 0, -1, 0, 0, 0], [0, 2, 0, -1, -1, -3]])
    angles = np.deg2rad([10, 100, 300])
    cosines = ops.convert_to_numpy(head(np.stack([np.cos(angles), np.sin(angles)], axis=1)))
    nearest = np.cos(np.deg2rad([[10, 100], [10, 170], [60, 30]]))
    np.testing.assert_allclose(cosines, nearest, atol=1e-6)


def test_sigmoid_scores_may_all_be_low_and_softmax_scores_sum_to_one():
    outputs = np.float32([[-8, -9, -10]])
    assert ops.convert_to_numpy(HEADS["sigmoid"].scores(outputs)).max() < 0.001
    assert ops.convert_to_numpy(HEADS["softmax"].scores(outputs)).sum() == pytest.approx(1)


def test_cosines_are_scores_as_they_are():
    cosines = np.float32([[0.25, -0.5, 1]])
    np.testing.assert_array_equal(ops.convert_to_numpy(HEADS["cosine"].scores(cosines)), cosines)


def test_cosines_under_a_softmax_are_scaled_first():
    cosines = np.float32([[0.25, -0.5, 1]])
    scores = ops.convert_to_numpy(Head("softmax", centres=1, scale=10.0).scores(cosines))
    expected = np.exp(cosines * 10) / np.exp(cosines * 10).sum()
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_the_background_class_takes_its_share_and_is_left_out():
    scores = ops.convert_to_numpy(HEADS["softmax"].scores(np.log(np.float32([[1, 2, 5]])), "class"))
    np.testing.assert_allclose(scores, [[1 / 8, 2 / 8]], rtol=1e-5)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("background", "outputs"), [("zero", 7), ("class", 8)])
def test_every_head_has_an_output_a_landmark_and_one_for_the_background_class(name, background, outputs):
    layer = HEADS[name].layer(7, background)
    values = layer(RNG.normal(size=(3, 4)).astype("float32"))
    assert tuple(values.shape) == (3, outputs)
    assert tuple(HEADS[name].scores(values, background).shape) == (3, 7)


def test_outputs_stay_in_full_precision_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        outputs = [head.layer(3)(ops.ones((2, 4), dtype="bfloat16")) for head in HEADS.values()]
    finally:
        keras.config.set_dtype_policy("float32")
    assert {keras.backend.standardize_dtype(values.dtype) for values in outputs} == {"float32"}


@pytest.mark.parametrize("activation", [None, "silu"])
def test_a_neck_gives_the_layer_named_descriptor(activation):
    pooled = keras.Input((16,))
    model = keras.Model(pooled, descriptor_neck(pooled, 6, dropout=0.1, activation=activation))
    assert model.get_layer("descriptor").output.shape == (None, 6)
    assert not model.get_layer("descriptor_dense").use_bias


@pytest.mark.parametrize("name", HEADS)
def test_a_saved_head_predicts_the_same_when_loaded(name, tmp_path):
    pooled = keras.Input((16,))
    model = keras.Model(pooled, HEADS[name].layer(5)(descriptor_neck(pooled, 6)))
    model.save(tmp_path / "head.keras")
    loaded = keras.models.load_model(tmp_path / "head.keras", safe_mode=True)
    values = RNG.normal(size=(3, 16)).astype("float32")
    np.testing.assert_array_equal(loaded.predict(values, verbose=0), model.predict(values, verbose=0))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("background", ["zero", "class"])
def test_sampled_outputs_are_those_of_the_head(name, background):
    head = HEADS[name].layer(70, background)
    descriptors = RNG.normal(size=(6, 4)).astype("float32")
    classes = np.array([0, 3, -1, 69, 3, 2])
    every = keras.ops.convert_to_numpy(head(descriptors))
    sampled = SampledOutputs(head, 0.5, background == "class")
    found = keras.ops.convert_to_numpy(sampled([descriptors, classes[:, None]]))
    assert found.shape == (6, 1 + LEAST_SAMPLE + (background == "class"))
    shown = classes >= 0
    np.testing.assert_allclose(found[shown, 0], every[shown, classes[shown]], atol=1e-5)
    assert found[2, 0] == NO_OUTPUT
    if background == "class":
        np.testing.assert_allclose(found[:, -1], every[:, -1], atol=1e-5)
    others = found[:, 1 : 1 + LEAST_SAMPLE]
    assert ((others == NO_OUTPUT).sum(axis=1) == shown).all()  # a photo's own class is no rival of itself
    for row in range(6):  # what is left are outputs of the head, of distinct classes
        left = others[row][others[row] != NO_OUTPUT]
        assert np.abs(left[:, None] - every[row]).min(axis=1).max() < 1e-5
        assert len(np.unique(left)) == len(left)


def test_each_step_draws_other_classes_and_the_same_seed_the_same():
    head = HEADS["cosine"].layer(2000)
    descriptors, classes = RNG.normal(size=(3, 4)).astype("float32"), np.array([[5], [6], [7]])
    head.build(descriptors.shape)
    first, second = (SampledOutputs(head, 0.1, False, seed=1) for _ in range(2))
    steps = [keras.ops.convert_to_numpy(first([descriptors, classes])) for _ in range(2)]
    assert steps[0].shape == (3, 201)
    assert (np.sort(steps[0]) != np.sort(steps[1])).any()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(second([descriptors, classes])), steps[0])
