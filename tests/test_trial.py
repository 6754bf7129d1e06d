"""Each device does a training step and a pass; the backend says whether there is a GPU, not the driver."""

import keras
import pytest

from lmk.cli import doctor
from lmk.models import device, start, trial


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 0.0)


def test_without_a_gpu_the_processor_is_tried(monkeypatch):
    monkeypatch.setattr(trial, "gpus", lambda: [])
    (found,) = trial.try_devices()
    assert found.device == "cpu:0" and not found.failure


def test_a_device_that_is_not_there_fails_and_the_others_are_still_tried(monkeypatch):
    really = keras.device

    def device_or_error(name: str):
        if name == "gpu:7":
            raise RuntimeError("no kernel image\nis available")  # TensorFlow itself would take the processor
        return really(name)

    monkeypatch.setattr(trial.keras, "device", device_or_error)
    monkeypatch.setattr(trial, "gpus", lambda: ["gpu:7", "cpu:0"])
    missing, there = trial.try_devices()
    assert missing == trial.Trial("gpu:7", failure="no kernel image")
    assert not there.failure


def test_images_are_counted(monkeypatch):
    times = iter([0.0, 1.0, 2.0, 5.0, 5.0])
    monkeypatch.setattr(trial, "SECONDS", 4.0)
    monkeypatch.setattr(trial.time, "perf_counter", lambda: next(times))
    steps = []
    # the first step compiles and does not count; two follow until 4 seconds are over, which is seen at 5
    assert trial._rate(lambda: steps.append(1)) == pytest.approx(2 * trial.BATCH / 5.0)
    assert len(steps) == 3


def test_doctor_tells_what_each_device_does_and_a_failure_is_bad(monkeypatch):
    monkeypatch.setattr(
        trial,
        "try_devices",
        lambda: [trial.Trial("gpu:0", 1234.6, 9876.5), trial.Trial("gpu:1", failure="no kernel image")],
    )
    findings = {finding.what: finding for finding in doctor.devices()}
    assert findings["device gpu:0"].state == "ok" and "1,235 images/s in training" in findings["device gpu:0"].found
    assert findings["device gpu:1"].state == "bad" and "no kernel image" in findings["device gpu:1"].found
    assert keras.backend.backend() in findings["device gpu:1"].remedy


@pytest.mark.parametrize(
    ("driver", "seen", "expected"), [(False, True, False), (True, False, False), (True, True, True)]
)
def test_recipes_for_a_gpu_are_chosen_where_the_backend_sees_one(driver, seen, expected, monkeypatch):
    monkeypatch.setattr(start, "machine_has_gpu", lambda: driver)
    monkeypatch.setattr(device, "gpus", lambda: ["gpu:0"] if seen else [])
    assert start.sees_gpu() is expected


def test_a_machine_without_a_driver_is_not_asked_through_keras(monkeypatch, tmp_path):
    monkeypatch.setattr(start.shutil, "which", lambda name: None)
    monkeypatch.setattr(start, "DRIVER_NODES", (str(tmp_path / "nvidiactl"),))
    monkeypatch.setattr(start, "start_keras", lambda: pytest.fail("Keras takes seconds to load"))
    assert start.sees_gpu() is False
    (tmp_path / "nvidiactl").touch()
    assert start.machine_has_gpu()
