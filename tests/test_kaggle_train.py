"""Training over several sessions on the stand-in server: stopped in time, failed, cut off, killed and called again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import kaggle_server
import numpy as np
import pytest

from lmk.kaggle.api import Client
from lmk.kaggle.bundle import make_bundle
from lmk.kaggle.kernels import Kernel, new_kernel, source_of
from lmk.kaggle.run_locally import play
from lmk.kaggle.session import LONGEST, margin
from lmk.kaggle.train_loop import TrainingLoop
from lmk.kaggle.training_memory import FAILED, FINISHED, UNFINISHED, Training, read_training
from lmk.util.errors import LimitError, LmkError, RemoteError

SLUG = "tiny-landmarks"
LIMIT = 9.0
SCRIPT = '''"""A training of many small steps, each of which depends on the one before and on a random state."""

import json
import time

import numpy as np

from lmk.kaggle.inside import scratch, session
from lmk.kaggle.session import Unfinished, time_left

STEPS = 330

with session("steps", "tiny-landmarks", ["steps"], scratch()):
    folder = scratch() / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "steps.checkpoint.npz"
    rng, weights, step = np.random.default_rng(0), np.zeros(8), 0
    if checkpoint.exists():
        with np.load(checkpoint) as stored:
            weights, step = stored["weights"], int(stored["step"])
            rng.bit_generator.state = json.loads(str(stored["rng"]))
    print(f"from step {step}", flush=True)
    while step < STEPS:
        if time_left() <= 0:
            np.savez(checkpoint, weights=weights, step=step, rng=json.dumps(rng.bit_generator.state))
            raise Unfinished
        weights = np.tanh(weights * 1.1 + rng.normal(size=8))
        step += 1
        time.sleep(0.05)
    np.savez(folder / "steps-0123456789ab.npz", weights=weights)
'''


@pytest.fixture
def kaggle(tmp_path) -> Iterator[kaggle_server.Kaggle]:
    folder = tmp_path / SLUG
    folder.mkdir()
    (folder / "train.csv").write_text("id,landmark_id\nt1,7\n")
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, folder)])
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.fixture
def kernel(tmp_path) -> Kernel:
    return new_kernel(tmp_path / "kernels", "steps", SCRIPT, SLUG, enable_gpu=True)


@pytest.fixture
def loop(kaggle, kernel, tmp_path, monkeypatch) -> Callable[..., TrainingLoop]:
    """Makes a loop as a new process would: it knows what its files hold."""
    monkeypatch.setattr("lmk.kaggle.datasets.POLL_SECONDS", 0.1)
    client = Client(seconds=2.0)

    def make(**settings) -> TrainingLoop:
        options = {"seconds": LIMIT, "every": 0.2, "timeout": 5.0} | settings
        return TrainingLoop(client, kernel, [], tmp_path / "workspace", **options)

    return make


def weights_of(path: Path) -> bytes:
    with np.load(path) as arrays:
        return arrays["weights"].tobytes()


@pytest.mark.timeout(300)
def test_sessions_that_stop_fail_and_are_cut_off_end_with_the_weights_of_one_run(kaggle, kernel, loop, tmp_path):
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        if line.startswith("session 1:") and "left checkpoint" in line:
            kaggle.fault("kernel-fails", times=1)
        if line.startswith("session 3:") and "left checkpoint" in line:
            kaggle.fault("kernel-cut", times=1, seconds=1.5)

    interrupted = []

    def killed_once(seconds: float) -> None:
        if read_training(kernel).sessions and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        kaggle.released.wait(seconds)

    with pytest.raises(KeyboardInterrupt):
        loop(tell=tell, sleep=killed_once).run()
    pulled = loop(tell=tell).run()

    sessions = read_training(kernel).sessions
    assert [session.state for session in sessions[:4]] == [UNFINISHED, FAILED, UNFINISHED, FAILED]
    assert [session.source for session in sessions[:5]] == ["", "kernel", "dataset", "kernel", "dataset"]
    assert "maximum allowed execution time" in sessions[3].why
    assert sessions[-1].state == FINISHED
    assert kaggle.count("SaveKernel") == len(sessions)  # no session twice
    assert pulled is not None and pulled.new == ["weights/steps-0123456789ab.npz"]
    alone = play(make_bundle(kernel.folder / "steps.py", seconds=600), {}, tmp_path / "play", seconds=60)
    assert "from step 0" in alone.log.read_text()
    name = "weights/steps-0123456789ab.npz"
    assert weights_of(tmp_path / "workspace" / name) == weights_of(alone.working / name)
    assert loop().run() is not None  # trained: only pulled again
    assert kaggle.count("SaveKernel") == len(sessions)


def test_without_waiting_each_call_does_what_can_be_done_now(kaggle, kernel, loop):
    assert loop().run(wait=False) is None
    assert loop().run(wait=False) is None
    assert (kaggle.count("SaveKernel"), read_training(kernel).sessions[0].state) == (1, "running")


def test_a_loop_that_was_killed_within_a_push_finds_the_version_and_pushes_none_beside_it(
    kaggle, kernel, loop, monkeypatch
):
    def killed(self, version) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Kernel, "remember", killed)
        with pytest.raises(KeyboardInterrupt):
            loop().run(wait=False)
    assert (kaggle.count("SaveKernel"), read_training(kernel).sessions) == (1, [])
    loop().run(wait=False)
    assert (kaggle.count("SaveKernel"), [entry.version for entry in read_training(kernel).sessions]) == (1, [1])


def test_a_push_that_never_arrived_is_made_again_by_the_next_call(kaggle, kernel, loop):
    kaggle.fault("hang", times=1)
    with pytest.raises(RemoteError):
        loop().run(wait=False)
    loop().run(wait=False)
    assert [session.version for session in read_training(kernel).sessions] == [1]


def test_sessions_that_keep_failing_end_the_loop_with_the_reason(kaggle, kernel, loop):
    kaggle.fault("kernel-fails")
    with pytest.raises(LmkError, match="3 sessions in a row failed, the last with: Your notebook exited with code 1"):
        loop().run()
    assert kaggle.count("SaveKernel") == 3
    with pytest.raises(LmkError, match="3 sessions in a row failed"):
        loop().run()
    assert kaggle.count("SaveKernel") == 3
    loop().run(wait=False, again=True)
    assert kaggle.count("SaveKernel") == 4


def test_a_checkpoint_that_kaggle_does_not_attach_is_sent_as_a_dataset(kaggle, kernel, loop):
    done = loop()
    done.run(wait=False)
    while read_training(kernel).last.state != UNFINISHED:
        if read_training(kernel).last.state == "running":
            done._settle(done.training.last, done._status(wait=True))
    kaggle.fault("source-lost", times=1)
    assert loop().run() is not None
    sessions = read_training(kernel).sessions
    assert sessions[1].why == "it began anew, since Kaggle did not attach the checkpoint"
    assert [session.source for session in sessions[:3]] == ["", "kernel", "dataset"]


def test_the_weekly_quota_shortens_a_session_and_then_stops_or_waits(kaggle, kernel, loop):
    kaggle.gpu_hours_used = 29.0
    loop(seconds=None).run(wait=False)
    assert read_training(kernel).sessions[0].seconds == 3600
    assert kaggle.kernels["tester/lmk-steps"]["body"]["sessionTimeoutSeconds"] == 3600
    (kernel.folder / "training.json").unlink()
    kaggle.gpu_hours_used = 29.9
    with pytest.raises(LimitError, match=r"6 min of GPU are left this week; hours come back 2026-12-01 00:00 UTC"):
        loop(seconds=None).run(wait=False)
    waits = []

    def a_week(seconds: float) -> None:
        waits.append(seconds)
        kaggle.gpu_hours_used = 0.0

    waiting = loop(seconds=None, sleep=a_week)
    assert waiting._session_seconds(wait=True) == LONGEST["gpu"]
    assert len(waits) == 1 and waits[0] >= 600


def test_a_kernel_stops_half_an_hour_before_twelve_hours_and_within_any_limit():
    assert margin(12 * 3600) == 1800
    for seconds in (6, 60, 600, 3600, 9 * 3600):
        assert 0 < margin(seconds) <= seconds / 3


@pytest.mark.parametrize(
    "text",
    [
        '{"sessions": [{"number": 1}]}',
        '{"sessions": [{"version": "1", "seconds": 60, "pushed": ""}]}',
        '{"sessions": [], "pushing": 5}',
        '{"sessions": [], "script": null}',
        "[]",
        "[" * 100_000,
    ],
)
def test_a_damaged_memory_is_one_clear_line(kernel, text):
    (kernel.folder / "training.json").write_text(text)
    with pytest.raises(LmkError, match=r"training\.json cannot be read"):
        read_training(kernel)


def test_failures_are_counted_from_the_last_session_that_did_not_fail():
    from lmk.kaggle.training_memory import Session

    states = [FAILED, UNFINISHED, FAILED, FAILED]
    training = Training(sessions=[Session(n, 60, "", state=state) for n, state in enumerate(states)])
    assert training.failures == 2
    assert Training().failures == 0


def test_the_pushed_script_carries_its_limit(kaggle, kernel, loop):
    loop(seconds=120.0).run(wait=False)
    assert "seconds=120," in source_of(Client(seconds=2.0), "tester/lmk-steps")[0]
    assert json.loads((kernel.folder / "training.json").read_text())["pushing"] is None
