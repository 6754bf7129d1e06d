"""Several devices, and GPUs that are not there: two logical processors stand for two GPUs, patched lists for the rest.

What needs two devices runs in a process of its own, since a backend looks for devices once.
"""

import os
import subprocess
import sys

import keras
import pytest

from lmk.models import device

TWO = """
import os
import sys
backend = os.environ["KERAS_BACKEND"]
if backend == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import numpy as np
from contextlib import contextmanager
from lmk.models import device
device.gpus = lambda: ["gpu:0", "gpu:1"]
device.policy_for_device = lambda: "float32"
if backend == "tensorflow":
    from lmk.models import device_tensorflow
    mirrored = device_tensorflow.mirrored_scope
    device_tensorflow.mirrored_scope = lambda: mirrored(["CPU:0", "CPU:1"])
    device_tensorflow.device_memory = lambda: 0
sys.path.insert(0, "tests")
import tiny
tiny.install(tiny._put)
tiny.install_network(tiny._put)
"""
FORWARD = """
from lmk.models import extract
from lmk.models.extract import forward
from lmk.models.network import build_extractor
from lmk.models.recipe_files import find_recipe
extract.GPU_VIEWS = 6
recipe = find_recipe("tiny-frozen")
photos = {str(n): np.random.default_rng(n).integers(0, 256, (40, 40, 3), np.uint8) for n in range(7)}
ids = np.array(list(photos))
keras.utils.set_random_seed(1)
alone = build_extractor(recipe, "none")
expected = forward(alone, recipe, photos.__getitem__, ids)
with device.on_all_devices():
    keras.utils.set_random_seed(1)
    shared = build_extractor(recipe, "none")
    shared.set_weights(alone.get_weights())
    assert device.replicas(shared) == 2, device.replicas(shared)
    odd = np.stack([photos[name][:32, :32] for name in ids])  # seven views: two devices cannot share them evenly
    assert device.predict(shared, odd).shape[0] == 7
    np.testing.assert_allclose(device.predict(shared, odd), device.predict(alone, odd), atol=1e-5)
    found = forward(shared, recipe, photos.__getitem__, ids)
assert found.shape == expected.shape, (found.shape, expected.shape)
np.testing.assert_allclose(found, expected, atol=2e-3)
"""
TRAIN = """
from pathlib import Path
import tempfile
from dataclasses import replace
from lmk.models.network import build_extractor, build_network
from lmk.models.recipe_files import find_recipe
from lmk.models.learner import TrainingSet
from lmk.models.training import Trainer
rng = np.random.default_rng(0)
classes = np.arange(24) % 4 - 1
colours = rng.integers(60, 200, (5, 3))
noisy = [np.clip(colours[c] + rng.normal(size=(40, 40, 3)) * 20, 0, 255).astype(np.uint8) for c in classes]
photos = {str(n): photo for n, photo in enumerate(noisy)}
ids = np.array(list(photos))
with device.on_all_devices():
    for name in ("tiny-frozen", "tiny-tuned"):
        recipe = find_recipe(name)
        recipe = replace(recipe, stages=tuple(replace(stage, patience=None) for stage in recipe.stages))
        keras.utils.set_random_seed(0)
        network = build_network(recipe, build_extractor(recipe, "none"), 3)
        features = None
        if recipe.frozen:
            from lmk.models.extract import forward
            features = forward(network.extractor, recipe, photos.__getitem__, ids)
        data = TrainingSet(ids, classes, features, photos.__getitem__)
        with tempfile.TemporaryDirectory() as folder:
            history = Trainer(network, data, 0, Path(folder) / "state.npz").run()
        assert all(np.isfinite(record["loss"]) and 0 <= record["train_score"] <= 1 for record in history), history
"""
METRIC = """
from lmk.models.batch_metrics import TrainingMetric, ranked_gap
from lmk.models.heads import HEADS
rng = np.random.default_rng(4)
outputs = rng.normal(size=(48, 6)).astype(np.float32)
classes = rng.integers(-1, 6, 48).astype(np.int32)
outputs[np.arange(48), np.maximum(classes, 0)] += 2.5  # right more often than not
head = HEADS["softmax"]
alone = TrainingMetric(head, "zero", capacity=64)
alone.update_state(classes, outputs)
expected = float(alone.result())
with device.on_all_devices():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", lambda y, p: keras.ops.mean(p) * 0, metrics=[TrainingMetric(head, "zero", capacity=64)])
    found = model.evaluate(outputs, classes, batch_size=16, verbose=0, return_dict=True)["score"]
assert abs(found - expected) < 1e-6, (found, expected)
assert 0.2 < expected < 0.95, expected
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_predict_and_train_and_tell_the_gap_as_one_does(backend):
    pytest.importorskip(backend)
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    command = [sys.executable, "-c", TWO + FORWARD + TRAIN + METRIC]  # one process: it takes longest to start
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("platform", ["gpu", "cuda", "rocm"])
def test_gpus_are_known_whatever_jax_calls_them(platform, monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: [f"{platform}:0", "cpu:0"])
    assert device.gpus() == [f"{platform}:0"] and device.has_gpu()


class Gpu:
    """A device as JAX lists it."""

    platform = "gpu"

    def __init__(self, capability: str, limit: int):
        self.compute_capability, self.limit = capability, limit

    def memory_stats(self) -> dict[str, int]:
        return {"bytes_limit": self.limit}


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [(["9.0"], "mixed_bfloat16"), (["7.5", "9.0"], "mixed_float16"), (["12.1"], "mixed_bfloat16")],
)
def test_jax_tells_the_precision_and_the_memory_of_its_gpus(capabilities, policy, monkeypatch):
    jax = pytest.importorskip("jax")
    devices = [Gpu(capability, 16 * 2**30 * (place + 1)) for place, capability in enumerate(capabilities)]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(device, "gpus", lambda: [f"gpu:{place}" for place in range(len(devices))])
    assert device.policy_for_device() == policy
    # 16 GiB on each at the least, half of it at 512 bytes a pixel
    assert device.pixels_at_once(1000) == 16 * 2**20 * len(devices)


def test_a_processor_gets_the_batches_that_it_always_got(monkeypatch):
    monkeypatch.setattr(device, "gpus", lambda: [])
    assert device.pixels_at_once(1000) == 1000


def test_xla_compiles_for_one_gpu_of_tensorflow_and_not_across_several(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    for count, expected in ((0, False), (1, True), (2, False)):
        monkeypatch.setattr(device, "gpus", lambda count=count: [f"gpu:{place}" for place in range(count)])
        assert device.jit_for_device() is expected


def test_a_gpu_gets_as_many_views_as_its_memory_holds(monkeypatch):
    from lmk.models import extract
    from lmk.models.recipe_files import find_recipe

    recipe = find_recipe("xception-gem")
    monkeypatch.setattr(device, "gpus", lambda: [])
    before = extract.photos_at_once(recipe)
    assert before == 1  # 22 views of 299 pixels
    for name in ("gpus", "has_gpu"):
        monkeypatch.setattr(extract, name, lambda name=name: ["gpu:0"] if name == "gpus" else True)
    monkeypatch.setattr(extract, "pixels_at_once", lambda otherwise: 16 * 2**20)
    assert extract.photos_at_once(recipe) == 16 * 2**20 // 299**2 // 22 == 8
