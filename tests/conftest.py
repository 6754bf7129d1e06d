"""Fixtures that several tests share."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
from hypothesis import settings
from known import KnownResults

from lmk.cli.main import main

settings.register_profile("lmk", deadline=None)  # a busy machine is no mistake
settings.load_profile("lmk")


LONG = (
    "pipeline", "processes", "train", "kaggle_loop", "backends", "documents", "kaggle_versions", "devices", "ask",
    "kaggle_train", "kernel_run", "kaggle_kernels", "kaggle_faults", "delf_published", "delf_network", "backbones",
    "steps",
)  # fmt: skip
"""Files of tests that take longest: they are begun first, so that the last worker does not go on alone.

`pipeline` is before all that copy the results that it computes (`known.py`).
"""


def pytest_configure(config: pytest.Config) -> None:
    """Let the processes that run JAX compile quickly, and share what they compiled: each runs a few small batches."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # else a process of xdist, which has it from its parent
        folder = tempfile.mkdtemp(prefix="lmk-tests-jax-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    # lmk gives a pass one core where no backbone learns, and TensorFlow reads that once a process: without this, which
    # test comes first would decide on the last digits of every later test's sums.
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"


@pytest.hookimpl(optionalhook=True)  # where xdist is left out, nobody asks
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process more than there are cores: some tests wait for a server, a browser or a process of their own."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; the tests of a file stay together and in their order."""
    rank = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights; a test that needs it skips where it is missing."""
    folder = Path(os.environ.get("LMK_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs real photos in {folder} (set LMK_SHARED)")
    return folder


@pytest.fixture(scope="module")
def tiny_recipes() -> Iterator[None]:
    """The recipes of `tiny`, known, built and run eagerly while a module's tests run."""
    with pytest.MonkeyPatch.context() as patch:

        def put(holder, name, value):
            patch.setitem(holder, name, value) if isinstance(holder, dict) else patch.setattr(holder, name, value)

        tiny.install(put)
        tiny.install_network(put)
        tiny.run_eagerly()
        yield
        tiny.run_eagerly(False)


@pytest.fixture(scope="session")
def known_results(tmp_path_factory) -> KnownResults:
    """Results of the run of `tiny`; a module that uses them uses `tiny_recipes`, too."""
    return KnownResults(tmp_path_factory)


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
