"""Stored results of the run of `tiny`, computed once for all files of tests and all of pytest's processes.

A result's key holds everything that it depends on, so a copy of a workspace is a workspace: a test that wants a run's
results, and not that they are computed, begins with a copy. A test may change its copy.
"""

import os
import shutil
from pathlib import Path

import pytest
import tiny
from filelock import FileLock

SETTINGS = {"recipes": tiny.RECIPE_NAMES, "weights": "none", "folds": 3}
"""The settings of the run, as `config_of` takes them."""
RESULTS = ("predictions", "stores", "weights")
"""What of a workspace is results of steps; its runs and submissions are not copied."""


class KnownResults:
    """The results, in a folder that pytest's processes share.

    Args:
        folders: Of the session.
    """

    def __init__(self, folders: pytest.TempPathFactory):
        own = folders.getbasetemp()
        # xdist gives each of its processes a folder within the session's.
        self.folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "known-results"
        self._lock = FileLock(f"{self.folder}.lock")

    def copy_to(self, workspace: Path) -> None:
        """Put the results into a workspace, computing them first where no test has."""
        with self._lock:
            if not self.folder.exists():
                compute(workspace)
                self._take(workspace)
        copy(self.folder, workspace)

    def keep(self, workspace: Path) -> None:
        """Take them from a workspace that has them, unless they are here."""
        with self._lock:
            if not self.folder.exists():
                self._take(workspace)

    def _take(self, workspace: Path) -> None:
        draft = self.folder.with_suffix(".draft")
        copy(workspace, draft)
        draft.rename(self.folder)


def copy(source: Path, target: Path) -> None:
    """Copy a workspace's results, with the times of the files."""
    for name in RESULTS:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)


def compute(workspace: Path) -> None:
    """Every step of the run; the recipes of `tiny` are known."""
    from lmk.data.competitions import read_competition
    from lmk.pipeline.build import build
    from lmk.pipeline.config import Execution, config_of
    from lmk.pipeline.dataset import open_dataset
    from lmk.pipeline.steps import execute
    from lmk.util.workspace import Workspace

    folder = tiny.draw_competition(workspace.with_name(f"{workspace.name}-of") / "walls")
    config, execution = config_of(**SETTINGS), Execution(Workspace.open(workspace), jobs=1)
    steps = build(config, open_dataset(config, read_competition(folder.name, folder), execution), execution)
    execute(steps, [step.name for step in steps], execution)
