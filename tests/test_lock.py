"""One lmk computes in a workspace at a time; who is locked out learns by whom, and nobody by the dead."""

import os
import signal
import subprocess
import sys

import pytest
import tiny

from lmk.cli.main import main
from lmk.util.errors import LmkError
from lmk.util.files import LOCK, alone_in, alone_with, atomic_path
from lmk.util.workspace import Workspace

HOLD = """
import sys, time
from pathlib import Path
from lmk.util.workspace import Workspace
with Workspace.open(Path(sys.argv[1])).alone():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the workspace."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "w")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_process_learns_which_is_the_first(holder, tmp_path):
    workspace = Workspace.open(tmp_path / "w")
    with pytest.raises(LmkError, match=rf"process {holder.pid}, .*--workspace"), workspace.alone():
        pass


def test_a_killed_process_blocks_nobody(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in (tmp_path / "w" / LOCK).read_text()  # what it wrote is still there, and means nothing
    with Workspace.open(tmp_path / "w").alone():
        assert str(os.getpid()) in (tmp_path / "w" / LOCK).read_text()


def test_a_workspace_is_free_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), alone_in(tmp_path):
        raise RuntimeError
    with alone_in(tmp_path):
        pass
    assert (tmp_path / LOCK).read_text() == ""


def test_two_workspaces_do_not_know_each_other(holder, tmp_path):
    with Workspace.open(tmp_path / "other").alone():
        pass


def lmk(monkeypatch, capfd, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of `lmk ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["lmk", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0, capfd.readouterr().err


@pytest.mark.parametrize("command", [["make-submission"], ["train", "mobilenet-gem"], ["fuse"], ["verify"]])
def test_what_computes_is_locked_out_with_one_line(command, holder, tmp_path, monkeypatch, capfd):
    code, err = lmk(monkeypatch, capfd, *command, "-w", str(tmp_path / "w"))
    assert code == 1
    assert len(err.splitlines()) == 1
    assert f"process {holder.pid}" in err


def test_what_reads_is_not_locked_out(holder, tmp_path, monkeypatch, capfd):
    folder = str(tiny.draw_competition(tmp_path / "walls"))
    place = ["-c", folder, "-w", str(tmp_path / "w")]
    for command in (
        ["data", "status"],
        ["make-submission", "--dry-run", "-r", "tinymobilenet-gem", "--weights", "tiny", "--folds", "3"],
        ["verify", "show", "l40n0", "l40n1", "--out", str(tmp_path / "m.png")],
    ):
        assert lmk(monkeypatch, capfd, *command, *place)[0] == 0


def test_a_file_that_two_make_is_held_by_one_and_the_lock_is_gone_at_the_end(tmp_path):
    with alone_with(tmp_path / "some.zip"):
        with (
            pytest.raises(LmkError, match=rf"makes .*some\.zip \(process {os.getpid()}"),
            alone_with(tmp_path / "some.zip"),
        ):
            pass
        with alone_with(tmp_path / "other.zip"):
            pass
    assert list(tmp_path.iterdir()) == []
    with alone_with(tmp_path / "some.zip"):
        pass


def test_drafts_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".{ended.pid}.tmp.a.csv").write_text("half")
    (tmp_path / f".{os.getppid()}.tmp.a.csv").write_text("half")
    with atomic_path(tmp_path / "a.csv") as draft:
        draft.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{os.getppid()}.tmp.a.csv", "a.csv"]
