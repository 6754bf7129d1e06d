"""GPU recipes compiled by XLA in mixed bfloat16, as a GPU gets them, on this processor and a small backbone.

Pooling, heads, losses, GAP in training and frozen stages are the recipes' own; XLA refuses an operation that it does
not know here as there.
"""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny

from lmk.models import network as networks
from lmk.models import training
from lmk.models.device import computing_in
from lmk.models.extract import forward
from lmk.models.learner import TrainingSet
from lmk.models.network import build_extractor, build_network
from lmk.models.prediction import predict_features
from lmk.models.recipe import Recipe
from lmk.models.recipe_files import find_recipe
from lmk.models.training import Trainer

SIDE = 32
IDS = np.array([f"{number:02d}" for number in range(24)])
CLASSES = np.arange(24) % 4 - 1
LANDMARKS = np.array([7, 70, 700])


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """The backbone `tiny`, and XLA wherever a model is compiled."""

    def put(holder, name, value):
        monkeypatch.setitem(holder, name, value) if isinstance(holder, dict) else monkeypatch.setattr(
            holder, name, value
        )

    tiny.install(put)
    tiny.install_network(put)
    for module in (networks, training):
        monkeypatch.setattr(module, "jit_for_device", lambda: True)


def read(name: str) -> np.ndarray:
    """Noise around the colour of a photo's class."""
    rng = np.random.default_rng(int(name))
    colour = np.array([(40, 40, 40), (200, 60, 60), (60, 200, 60), (60, 60, 200)])[int(name) % 4]
    return np.clip(rng.normal(colour, 30, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def on_tiny(name: str) -> Recipe:
    """A recipe on the small backbone: an epoch of each stage, the second from the backbone's second convolution on."""
    recipe = find_recipe(name)
    stages = [
        replace(
            stage, epochs=1, batch_size=8, warmup=0, patience=None, train_from=None if stage.train_from is None else 4
        )
        for stage in recipe.stages
    ]
    return replace(recipe, backbone="tiny", image_size=SIDE, views=12, stages=tuple(stages))


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch has no XLA")
@pytest.mark.parametrize("name", ["vgg16-bottleneck", "xception-gem", "efficientnet-gem"])
def test_a_recipe_trains_and_predicts_under_xla_in_bfloat16(name, tmp_path):
    keras.utils.set_random_seed(1)
    recipe = on_tiny(name)
    with computing_in("mixed_bfloat16"):
        network = build_network(recipe, build_extractor(recipe, "none"), len(LANDMARKS))
        before = [np.array(weight) for weight in network.extractor.get_weights()]
        features = forward(network.extractor, recipe, read, IDS)
        data = TrainingSet(IDS, CLASSES, features, read)
        history = Trainer(network, data, 0, tmp_path / "state.npz").run()
    assert network.extractor.outputs[0].dtype in ("bfloat16", "float32") and network.extractor.jit_compile
    assert [record["stage"] for record in history] == [0, 1]
    assert all(np.isfinite(record["loss"]) and 0 <= record["train_score"] <= 1 for record in history)
    changed = [not np.array_equal(*pair) for pair in zip(before, network.extractor.get_weights(), strict=True)]
    assert not changed[0] and any(changed), "the first convolution is frozen, and what comes after it learns"
    found = predict_features(network, IDS, forward(network.extractor, recipe, read, IDS), LANDMARKS, 3)
    assert np.isfinite(found.scores[:, 0]).all() and set(found.landmarks.ravel()) <= {*LANDMARKS.tolist(), -1}
