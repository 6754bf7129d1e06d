"""Training over several processes: each reads its share of every batch, and together they read an epoch."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny

from lmk.data.batches import WHOLE, PhotoBatches, Share, count_batches, dealt, part_of_batch
from lmk.models import distributed
from lmk.util.errors import RemoteError
from lmk.util.team import Team

ROOT = Path(__file__).parents[1]
READ = """
import json, sys
sys.path.insert(0, "tests")
from lmk.data.batches import Share
from test_processes import epoch

print(json.dumps(epoch(Share(int(sys.argv[1]), int(sys.argv[2])))))
"""
TRAIN = """
import json, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, "tests")
from lmk.models.start import start_keras
from lmk.util.team import Team

team = Team(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
start_keras(team)
import keras
from lmk.models import device
from lmk.models import distributed as hosts
from lmk.models.learner import TrainingSet
from lmk.models.training import Trainer
from test_train import CLASSES, IDS, TUNED, new_network, read, weights

if len(keras.distribution.list_devices()) > team.processes:  # as if they were GPUs
    device.gpus = hosts.gpus = keras.distribution.list_devices

folder = Path(sys.argv[4], f"{team.process} of {team.processes}")
folder.mkdir(exist_ok=True, parents=True)
dev = iter([0.1, 0.3, 0.2] if team.process == 0 else [])
recipe = replace(TUNED, dropout=0.0, stages=(replace(TUNED.stages[1], epochs=3),))
with device.on_all_devices("float32", alone=team.processes == 1):
    network = new_network(recipe)
    data = TrainingSet(IDS, CLASSES, None, read)
    checkpoint = folder / "state.checkpoint.npz"
    history = Trainer(network, data, 0, checkpoint, dev_score=lambda: next(dev), team=team).run()
print(json.dumps({"history": history, "weights": [weight.ravel().tolist() for weight in weights(network)]}))
"""
ALONE = """
import sys
from lmk.models import distributed as hosts
from lmk.models.start import start_keras
from lmk.util.team import Team

hosts.PATIENCE = 3.0
start_keras(Team(int(sys.argv[1]), 2, sys.argv[2]))
"""
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
needs_jax = pytest.mark.skipif(
    find_spec("jax") is None, reason="JAX is not installed: Keras distributes over processes by it alone"
)


def epoch(share: Share) -> dict[str, list]:
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


def processes(script: str, count: int, *words: str, first: int = 0, **environment: str) -> list:
    """What so many processes of a script tell, all running at once, or those of them from the number `first` on."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(process), str(count), *words],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        )
        for process in range(first, count)
    ]
    told = [process.communicate(timeout=120)[0] for process in started]
    assert not any(process.returncode for process in started)
    return [json.loads(text.splitlines()[-1]) for text in told]


@pytest.mark.slow
def test_two_processes_read_every_photo_once_an_epoch_and_the_same_views_as_one():
    alone, pair = epoch(WHOLE), [epoch(Share(0, 2)), *processes(READ, 2, first=1)]
    read = Counter(pair[0]["read"]) + Counter(pair[1]["read"])
    assert read - Counter(f"p{row}" for row in range(61)) == Counter(read.most_common(1)[0][:1])  # 61 is odd
    assert len(pair[0]["shown"]) == len(pair[1]["shown"]) == len(alone["shown"])
    for batch, (whole, *parts) in enumerate(zip(alone["shown"], *(process["shown"] for process in pair), strict=True)):
        shown = Counter(tuple(row) for part in parts for row in zip(*part, strict=True))
        assert not Counter(zip(*whole, strict=True)) - shown
        assert shown.total() == (8 if batch < 7 else 6)
        assert len(parts[0][0]) == len(parts[1][0])


@pytest.mark.parametrize("rows", [1, 3, 7, 8, 9, 16, 17, 61])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("devices", [1, 2])
def test_every_device_gets_as_many_rows_of_each_batch_and_all_of_them_the_whole_epoch(rows, count, devices):
    shares = [Share(process, count, devices) for process in range(count)]
    order = dealt(np.random.default_rng(0).permutation(rows), shares[0])
    batches = count_batches(rows, 8, shares[0])
    parts = [[part_of_batch(len(order), 8, batch, share) for batch in range(batches)] for share in shares]
    assert sorted(np.concatenate([np.concatenate(own) for own in parts])) == list(range(len(order)))
    assert set(order.tolist()) == set(range(rows))
    assert len(order) - rows < count * devices
    for batch in range(batches):
        sizes = {len(own[batch]) for own in parts}
        assert len(sizes) == 1
        assert sizes.pop() % devices == 0
    assert count * devices > 1 or (len(order) == rows and batches == -(-rows // 8))


@pytest.fixture
def address() -> str:
    """Where processes may meet."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{place.getsockname()[1]}"


@needs_jax
@pytest.mark.slow
def test_two_processes_or_devices_train_the_network_that_one_trains(address, tmp_path):
    (alone,) = processes(TRAIN, 1, address, str(tmp_path), **JAX)
    first, second = processes(TRAIN, 2, address, str(tmp_path), **JAX)
    assert first == second
    (devices,) = processes(TRAIN, 1, address, str(tmp_path / "devices"), **JAX, **TWO_DEVICES)
    for other in (first, devices):
        for record, expected in zip(other["history"], alone["history"], strict=True):
            assert record == pytest.approx(expected, abs=1e-4)
        for weights, expected in zip(other["weights"], alone["weights"], strict=True):
            np.testing.assert_allclose(weights, expected, atol=1e-4)


def started(process: int, address: str, folder: Path, *more: str, **environment: str) -> subprocess.Popen:
    """`lmk train` as one of two processes, with a workspace of its own."""
    words = [sys.executable, str(ROOT / "tests" / "tiny.py"), "train", "tiny-tuned", "-c", str(folder / "competition")]
    words += ["--weights", "none", "--folds", "3", "-w", str(folder / str(process)), "--json"]
    words += ["--processes", "2", "--process", str(process), "--coordinator", address, *more]
    environment = {**os.environ, **JAX, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@needs_jax
@pytest.mark.slow
def test_where_one_of_two_commands_dies_the_other_says_so_and_both_go_on_when_started_again(address, tmp_path):
    tiny.draw_competition(tmp_path / "competition")
    other, killed = started(0, address, tmp_path), started(1, address, tmp_path, KILL_AT="5")
    _, err = other.communicate(timeout=120)
    killed.communicate(timeout=10)
    assert killed.returncode == -signal.SIGKILL
    assert other.returncode == RemoteError.exit_code
    assert err.splitlines()[-1].startswith("error: A process of the 2 went away")
    assert "Traceback" not in err
    there = {path.name: path.read_bytes() for path in (tmp_path / "0" / "weights").glob("*.json")}
    assert there
    pair = [started(process, address, tmp_path) for process in range(2)]
    told = [json.loads(process.communicate(timeout=120)[0])["history"] for process in pair]
    assert told[0] == told[1]
    assert told[0].keys() == {"0", "1", "2", "all"}
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "weights").iterdir()} for name in ("0", "1")
    )
    assert first == second
    assert len(first) == 20  # weights and history, the checksum of each, and the key of each network
    assert there.items() <= first.items()


@needs_jax
@pytest.mark.slow
def test_two_commands_that_were_given_different_seeds_both_say_so(address, tmp_path):
    tiny.draw_competition(tmp_path / "competition")
    pair = [started(0, address, tmp_path), started(1, address, tmp_path, "--seed", "1")]
    for process in pair:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert err.splitlines()[-1].startswith("error: Process 1 was given a recipe, photos, settings or a version")


@needs_jax
@pytest.mark.parametrize("process", [0, 1])
def test_a_process_whose_others_do_not_come_gives_up_with_one_line(process, address):
    words = [sys.executable, "-c", ALONE, str(process), address]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | JAX, timeout=120, check=False)
    assert done.returncode == RemoteError.exit_code
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: Not all of the 2 processes came to {address} within 0.05 minutes.")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--processes", "2"], "error: --processes needs --coordinator HOST:PORT"),
        (["--processes", "2", "--process", "2"], "error: --process 2 of --processes 2: they count from 0 to 1."),
        (["--processes", "2", "--coordinator", "host"], "error: --coordinator 'host' is not HOST:PORT"),
        (["--processes", "2", "--coordinator", "localhost:1"], "error: --processes trains through Keras' distribution"),
    ],
)
def test_a_team_that_cannot_be_is_one_line(words, told, lmk, tmp_path, tiny_recipes):
    tiny.draw_competition(tmp_path / "competition")
    place = ["-c", str(tmp_path / "competition"), "-w", str(tmp_path / "w"), "--weights", "none"]
    code, _, err = lmk("train", "tiny-tuned", *place, *words)
    assert code == 1
    assert err.splitlines()[-1].startswith(told)


@pytest.mark.parametrize(
    ("coordinator", "bound"),
    [
        ("localhost:1", "localhost:1"),
        ("127.0.0.1:1,10.0.0.2:1", "127.0.0.1:1"),
        ("[::1]:1", "[::1]:1"),
        ("10.0.0.1:1", None),
        ("gpu-1.cluster:1", None),
    ],
)
def test_a_coordinator_of_this_machine_alone_does_not_listen_to_others(coordinator, bound, monkeypatch):
    found = []
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "set back at the test's end")
    monkeypatch.delenv("JAX_COORDINATOR_BIND_ADDRESS")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(distributed, "from_first", lambda *_: b"")
    monkeypatch.setattr(
        keras.distribution, "initialize", lambda *_: found.append(os.environ.get("JAX_COORDINATOR_BIND_ADDRESS"))
    )
    distributed.meet(Team(0, 2, coordinator), lambda _: None)
    assert found == [bound]
