"""Where no backbone learns, a pass of a network keeps to one core of a CPU; training one has all cores."""

import os

import pytest

import lmk.models.start
from lmk.pipeline.backend import running_backend
from lmk.pipeline.config import config_of

VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@pytest.fixture
def set_by(monkeypatch):
    """Function from a configuration to the variables that its backend is started with."""
    monkeypatch.setattr(lmk.models.start, "start_keras", lambda team: None)  # it has started in these tests long ago
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)

    def found(*recipes, **settings):
        with running_backend(config_of(recipes, **settings), print):
            return [os.environ.get(name) for name in VARIABLES]

    return found


def test_frozen_backbones_have_a_core_a_pass(set_by, monkeypatch):
    monkeypatch.setattr(lmk.models.start, "machine_has_gpu", lambda: False)
    monkeypatch.setattr(lmk.models.start, "available_cores", lambda: 3)
    assert set_by("mobilenet-gem", "mobilenetv2-gem") == ["1", "6"]


def test_what_the_user_has_set_stays(set_by, monkeypatch):
    monkeypatch.setattr(lmk.models.start, "machine_has_gpu", lambda: False)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "2")
    assert set_by("mobilenet-gem")[0] == "2"


@pytest.mark.parametrize(
    "gpu, recipe, tune", [(True, "mobilenet-gem", 0), (False, "mobilenetv2-tuned", 0), (False, "mobilenet-gem", 1)]
)
def test_a_gpu_and_a_backbone_that_learns_change_nothing(set_by, monkeypatch, gpu, recipe, tune):
    monkeypatch.setattr(lmk.models.start, "machine_has_gpu", lambda: gpu)
    assert set_by("mobilenet-gem", recipe, delf_tune=tune) == [None, None]
