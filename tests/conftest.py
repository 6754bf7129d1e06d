"""Fixtures that several tests share."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
from hypothesis import settings

from lmk.cli.main import main

settings.register_profile("lmk", deadline=None)  # a busy machine is no mistake
settings.load_profile("lmk")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights; a test that needs it skips where it is missing."""
    folder = Path(os.environ.get("LMK_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs real photos in {folder} (set LMK_SHARED)")
    return folder


@pytest.fixture(scope="module")
def tiny_recipes() -> Iterator[None]:
    """The recipes of `tiny`, known and built while a module's tests run."""
    with pytest.MonkeyPatch.context() as patch:

        def put(holder, name, value):
            patch.setitem(holder, name, value) if isinstance(holder, dict) else patch.setattr(holder, name, value)

        tiny.install(put)
        tiny.install_network(put)
        yield


@pytest.fixture
def lmk(capfd, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Runs `lmk ARGUMENTS` in this process: exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lmk", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return left.value.code or 0, out, err

    return run
