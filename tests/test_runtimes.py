"""Another runtime and another precision give the same features, near enough, and say what they lack."""

import importlib.util

import keras
import numpy as np
import pytest

from lmk.models.device import POLICIES, on_all_devices
from lmk.models.network import build_extractor
from lmk.models.recipe_files import find_recipe
from lmk.models.runtimes import predictor
from lmk.util.errors import LmkError


@pytest.fixture(scope="module")
def extractor() -> keras.Model:
    return build_extractor(find_recipe("tinymobilenet-gem"), "tiny")


@pytest.fixture(scope="module")
def views() -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3))
    return blocks.repeat(16, axis=1).repeat(16, axis=2).astype(np.uint8)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_keras_predicts_what_the_extractor_does_and_on_a_gpu_with_the_extractor_itself(extractor, monkeypatch):
    views = np.random.default_rng(0).integers(0, 256, (2, *extractor.input_shape[1:]), np.uint8)
    found = predictor(extractor, "keras", False).predict_on_batch(views)
    np.testing.assert_allclose(found, extractor.predict_on_batch(views), rtol=1e-3, atol=1e-4)
    monkeypatch.setattr("lmk.models.runtimes.has_gpu", lambda: True)
    assert predictor(extractor, "keras", False) is extractor


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_openvino_gives_the_features_of_keras(extractor, views):
    own = extractor.predict_on_batch(views)
    found = predictor(extractor, "openvino", False).predict_on_batch(views)
    assert found.shape == own.shape
    np.testing.assert_allclose(found, own, atol=1e-4 * np.abs(own).max())
    with on_all_devices(POLICIES["bf16"]):  # as a run with `--precision bf16` builds it
        half = build_extractor(find_recipe("tinymobilenet-gem"), "tiny")
    assert cosines(predictor(half, "openvino", True).predict_on_batch(views), own).min() > 0.99


def test_bf16_gives_nearly_the_features_of_float32(extractor, views):
    with on_all_devices(POLICIES["bf16"]):
        half = build_extractor(find_recipe("tinymobilenet-gem"), "tiny")
    found = np.asarray(half.predict_on_batch(views))
    assert found.dtype == np.float32  # pooling computes in full precision
    assert cosines(found, extractor.predict_on_batch(views)).min() > 0.99
    assert keras.config.dtype_policy().name == "float32"


def test_openvino_that_is_not_installed_is_named_with_its_mend(extractor, monkeypatch):
    monkeypatch.setattr("lmk.models.runtimes.find_spec", lambda name: None)
    with pytest.raises(LmkError, match="pip install openvino"):
        predictor(extractor, "openvino", False)
