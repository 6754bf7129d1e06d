"""What machines do to a run: a full disk, a folder that cannot be written, a clock set back, a process that dies."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import test_verify

from lmk.local import verify as verification
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path
from lmk.util.store import ArrayStore


def lmk(*arguments: str, file_bytes: int | None = None) -> subprocess.CompletedProcess:
    """`lmk ARGUMENTS`, whose files may have so many bytes: to a process that writes, that is a full disk."""

    def limit() -> None:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    words = [sys.executable, "-m", "lmk.cli.main", *arguments]
    return subprocess.run(words, capture_output=True, text=True, preexec_fn=limit, timeout=100, check=False)


def test_a_full_disk_is_one_line_and_what_was_stored_serves_the_next_run(tmp_path):
    rows = [f"photo{number:03d},no address,1" for number in range(300)]
    (tmp_path / "train.csv").write_text("\n".join(["id,url,landmark_id", *rows]) + "\n")
    words = ["data", "download", "-c", str(tmp_path), "-w", str(tmp_path / "w")]
    full = lmk(*words, file_bytes=6000)
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1] == "error: input or output: File too large."
    assert "Traceback" not in full.stderr
    assert not (tmp_path / "train.downloads.csv").exists()
    assert lmk(*words).returncode == 0
    assert (tmp_path / "train.downloads.csv").read_text().count("no address of http or https") == 300
    assert not list(tmp_path.rglob(".*.tmp.*"))


def test_a_full_disk_leaves_neither_a_shard_nor_a_draft(tmp_path):
    script = (
        "import resource, sys; from pathlib import Path; import numpy as np; from lmk.util.store import ArrayStore\n"
        "store = ArrayStore(Path(sys.argv[1]), 's', {})\n"
        "store.append(np.array(['a']), {'x': np.zeros((1, 10))})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "store.append(np.array(['b']), {'x': np.zeros((1, 10_000))})\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    store = ArrayStore(tmp_path, "s", {})
    assert store.ids().tolist() == ["a"]
    assert sorted(path.name for path in store.folder.iterdir()) == ["000000.npz", "key.json"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("/proc/lmk", str(tmp_path / "file" / "inside")):
        done = lmk("make-submission", "-w", place)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: The workspace {place} cannot be made")
        assert len(done.stderr.splitlines()) == 1


def test_a_clock_that_was_set_back_makes_nothing_stale(tmp_path, monkeypatch):
    store, computed = ArrayStore(tmp_path, "s", {}), []

    def compute(ids: np.ndarray) -> dict[str, np.ndarray]:
        computed.extend(ids.tolist())
        return {"x": np.arange(len(ids))}

    store.collect(np.array(["a", "b", "c"]), compute, shard_size=2)
    for years, path in enumerate(sorted(store.folder.iterdir())):
        os.utime(path, (2e9 - 3e7 * years, 2e9 - 3e7 * years))  # of a future, the first the latest
    monkeypatch.setattr("time.time", lambda: 0.0)
    again = ArrayStore(tmp_path, "s", {})
    assert again.collect(np.array(["c", "a", "d"]), compute, shard_size=2)["x"].tolist() == [0, 0, 0]
    assert computed == ["a", "b", "c", "d"]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_a_line_that_says_what_to_do(tmp_path, monkeypatch):
    table = test_verify.FeatureTable.pack(
        ["00"], test_verify.EXTRACTOR([test_verify.PHOTOS["00"]]), test_verify.EXTRACTOR
    )
    monkeypatch.setattr(verification, "_compare_all", die)
    asked = test_verify.predictions(["00"], [[0, 1]])
    with pytest.raises(LmkError, match=r"was killed.*fewer --jobs"):
        verification.verify(asked, {}, table, table, ArrayStore(tmp_path, "v", {}), jobs=2)


def test_an_error_while_writing_leaves_the_file_that_was_there(tmp_path):
    path = Path(tmp_path, "a.txt")
    path.write_text("old")
    with pytest.raises(OSError, match="full"), atomic_path(path) as draft:
        draft.write_text("half")
        raise OSError(28, "the disk is full")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
