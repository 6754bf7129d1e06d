"""The same networks on every backend that is installed.

Each backend runs in a process of its own: Keras chooses it once, when it is imported. What is trained and saved
there is loaded here and must predict the same.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import lmk.models.backbones.build  # a saved model names its layers: they must be known here
import lmk.models.heads
import lmk.models.pooling

pytestmark = pytest.mark.slow
OTHERS = [backend for backend in ("tensorflow", "jax", "torch") if backend != keras.backend.backend()]
TRAIN = """
import json, sys
import keras
import numpy as np
from keras import ops
from lmk.models.backbones.scaling import PixelScaling
from lmk.models.batch_metrics import TrainingMetric
from lmk.models.device import has_gpu, jit_for_device, policy_for_device
from lmk.models.heads import HEADS, descriptor_neck
from lmk.models.losses import make_loss
from lmk.models.pooling import GeM, window_gem
from lmk.models.schedules import depth_multipliers, make_optimizer, warmup_cosine

keras.utils.set_random_seed(1)
rng = np.random.default_rng(0)
classes = np.arange(40) % 5 - 1
photos = np.clip(rng.normal(size=(5, 8, 8, 3))[classes] * 60 + 128 + rng.normal(size=(40, 8, 8, 3)) * 10, 0, 255)
counts = np.bincount(classes[classes >= 0])
results = {}
for head_name, loss, background in (
    ("sigmoid", "rank-bce", "zero"), ("softmax", "softmax", "uniform"), ("subcentre", "arcface-dynamic", "class")
):
    head = HEADS[head_name]
    images = keras.Input((8, 8, 3))
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3, activation="relu", name="conv")])
    features = network(PixelScaling("tf")(images))
    model = keras.Model(images, head.layer(4, background)(descriptor_neck(GeM()(features), 6)))
    rate = warmup_cosine(0.03, steps=60, warmup_steps=5)
    optimizer = make_optimizer("adam", rate, depth_multipliers(network, groups=1, decay=0.5), ema_momentum=0.5)
    metric = TrainingMetric(head, background, capacity=40)
    model.compile(
        optimizer, make_loss(loss, head, counts, background, weigh_classes=True), metrics=[metric],
        jit_compile=jit_for_device(),
    )
    history = model.fit(photos, classes, batch_size=16, epochs=20, verbose=0).history
    results[head_name] = {"losses": history["loss"], "gap": history["score"][-1]}
model.save(sys.argv[1] + "/model.keras")
windows = ops.convert_to_numpy(window_gem(photos / 255, np.array([[0, 0, 1, 1], [0.1, 0.2, 0.8, 1]]), 3.0))
np.savez(sys.argv[1] + "/arrays.npz", photos=photos, outputs=model.predict(photos, verbose=0), windows=windows)
device = [has_gpu(), policy_for_device()]
print(json.dumps({"backend": keras.backend.backend(), "trained": results, "device": device}))
"""


NETWORKS = [f"test_{name}.py" for name in ("heads", "pooling", "dense_views", "batch_metrics", "losses")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", OTHERS)
def test_the_tests_of_networks_pass_on_every_backend_that_is_installed(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    files = [str(Path(__file__).with_name(name)) for name in NETWORKS]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "networks",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        *files,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("backend", OTHERS)
def test_what_trains_on_another_backend_predicts_the_same_on_this_one(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", TRAIN, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["backend"] == backend
    assert report["device"] == [False, "float32"]
    for trained in report["trained"].values():
        assert trained["losses"][-1] < 0.5 * trained["losses"][0]
        assert trained["gap"] > 0.8
    arrays = np.load(tmp_path / "arrays.npz")
    model = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(model.predict(arrays["photos"], verbose=0), arrays["outputs"], atol=1e-5)
    windows = lmk.models.pooling.window_gem(arrays["photos"] / 255, np.array([[0, 0, 1, 1], [0.1, 0.2, 0.8, 1]]), 3.0)
    np.testing.assert_allclose(ops.convert_to_numpy(windows), arrays["windows"], rtol=1e-5)
