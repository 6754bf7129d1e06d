"""Training over several processes: each reads its share of every batch, and together they read an epoch."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lmk.data.batches import ALONE, PhotoBatches, count_batches, part_of_batch

ROOT = Path(__file__).parents[1]
READ = """
import json, sys
sys.path.insert(0, "tests")
from test_processes import epoch

print(json.dumps(epoch((int(sys.argv[1]), int(sys.argv[2])))))
"""
TRAIN = """
import json, sys
import keras
import numpy as np
from lmk.data.batches import FeatureBatches

share = int(sys.argv[1]), int(sys.argv[2])
if share[1] > 1:
    keras.distribution.initialize(sys.argv[3], share[1], share[0])
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
features = rng.normal(size=(24, 2, 6)).astype(np.float16)
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(0.05), loss)
for epoch in range(3):
    batches = FeatureBatches(features, np.arange(24) % 3, 8, False, (0, epoch), share)
    model.fit(batches, epochs=1, verbose=0, shuffle=False)
print(json.dumps([np.asarray(weight).ravel().tolist() for weight in model.get_weights()]))
"""


def epoch(share: tuple[int, int]) -> dict[str, list]:
    """Photos read, and what each batch showed: sums of the views' pixels, and classes."""
    read: list[str] = []
    photos = {f"p{row}": np.full((8, 8, 3), row, np.uint8) for row in range(61)}

    def reading(name: str) -> np.ndarray:
        read.append(name)
        return photos[name]

    batches = PhotoBatches(
        reading, np.array([*photos]), np.arange(61) % 7, 8, 8, balance=False, seed=(0, 0, 1), share=share
    )
    shown = [batches[batch] for batch in range(len(batches))]
    return {"read": read, "shown": [[views.sum(axis=(1, 2, 3)).tolist(), own.tolist()] for views, own in shown]}


def processes(script: str, count: int, *words: str, **environment: str) -> list:
    """What so many processes of a script tell, all running at once."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(process), str(count), *words],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        )
        for process in range(count)
    ]
    told = [process.communicate(timeout=120)[0] for process in started]
    assert not any(process.returncode for process in started)
    return [json.loads(text.splitlines()[-1]) for text in told]


def test_two_processes_read_every_photo_once_an_epoch_and_the_same_views_as_one():
    alone, pair = epoch(ALONE), processes(READ, 2)
    assert Counter(pair[0]["read"]) + Counter(pair[1]["read"]) == Counter(f"p{row}" for row in range(61))
    assert len(pair[0]["shown"]) == len(pair[1]["shown"]) == len(alone["shown"])
    for whole, *parts in zip(alone["shown"], *(process["shown"] for process in pair), strict=True):
        assert sorted(zip(*whole, strict=True)) == sorted(pair for part in parts for pair in zip(*part, strict=True))
        assert all(sums for sums, _ in parts)


@pytest.mark.parametrize("rows", [3, 7, 8, 9, 16, 17, 61])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_batches_are_dealt_out_whole_and_no_process_waits_for_another(rows, count):
    batches = count_batches(rows, 8, count)
    parts = [[part_of_batch(rows, 8, batch, (process, count)) for batch in range(batches)] for process in range(count)]
    assert sorted(np.concatenate([np.concatenate(own) for own in parts])) == list(range(rows))
    assert min(len(part) for own in parts for part in own) > 0
    assert count > 1 or batches == -(-rows // 8)


@pytest.mark.skipif(
    find_spec("jax") is None, reason="JAX is not installed: Keras distributes over processes by it alone"
)
def test_two_processes_train_the_network_that_one_trains():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    (alone,) = processes(TRAIN, 1, KERAS_BACKEND="jax")
    first, second = processes(TRAIN, 2, f"127.0.0.1:{port}", KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert first == second
    for weights, expected in zip(first, alone, strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-5)
