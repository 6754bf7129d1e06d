"""Sealed files: every flipped bit, cut and lost part is found, whatever the file's format, and named."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.local.evidence import gather
from lmk.pipeline.cache import EvidenceSlot, Files
from lmk.pipeline.key import Key
from lmk.pipeline.results import Verified
from lmk.predictions import Predictions
from lmk.util.checked import DamagedFile, discard, is_sealed, read_sealed, seal, seal_of, sealed_path, verify


def stored(path: Path) -> Path:
    """Predictions as a run stores them, sealed."""
    rng = np.random.default_rng(0)
    ids = np.array([f"q{row}" for row in range(40)])
    Predictions(ids, rng.integers(0, 99, (40, 5)), -np.sort(-rng.random((40, 5)))).save(path)
    seal(path)
    return path


@pytest.fixture(scope="module")
def parquet(tmp_path_factory) -> Path:
    return stored(tmp_path_factory.mktemp("sealed") / "p.parquet")


@settings(max_examples=200)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(parquet, place, bit):
    data = bytearray(parquet.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    flipped = parquet.with_name("flipped.parquet")
    flipped.write_bytes(data)
    shutil.copy(seal_of(parquet), seal_of(flipped))
    for read in (verify, read_sealed):
        with pytest.raises(DamagedFile, match=r"flipped\.parquet is damaged"):
            read(flipped)


@settings(max_examples=60)
@given(place=st.integers(0, 63), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_checksum_is_found(parquet, place, bit):
    data = bytearray(seal_of(parquet).read_bytes())
    data[place] ^= 1 << bit
    twin = parquet.with_name("twin.parquet")
    twin.write_bytes(parquet.read_bytes())
    seal_of(twin).write_bytes(data)
    with pytest.raises(DamagedFile, match=r"twin\.parquet is damaged"):
        verify(twin)


def test_what_is_whole_is_read_and_checked_by_the_usual_tool(parquet):
    verify(parquet)
    assert read_sealed(parquet) == parquet.read_bytes()
    if shutil.which("sha256sum"):
        words = ["sha256sum", "--check", "--strict", seal_of(parquet).name]
        assert subprocess.run(words, cwd=parquet.parent, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: discard(path), "does not exist"),
        (lambda path: seal_of(path).unlink(), "checksum is missing"),
        (lambda path: seal_of(path).write_bytes(b""), "holds no checksum"),
        (lambda path: seal_of(path).write_bytes(b"\xff" * 70), "holds no checksum"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is not what"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "is not what"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    ],
)
def test_what_is_absent_cut_or_replaced_is_named(tmp_path, spoil, reason):
    path = stored(tmp_path / "p.parquet")
    spoil(path)
    with pytest.raises(DamagedFile, match=reason) as found:
        verify(path)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)
    again = pickle.loads(pickle.dumps(found.value))
    assert (str(again), again.path) == (str(found.value), path)


def test_a_disk_that_fails_is_no_damage(tmp_path, monkeypatch):
    path = stored(tmp_path / "p.parquet")

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", fail)
    with pytest.raises(OSError, match="Input/output"):
        verify(path)


def test_an_error_while_writing_leaves_the_sealed_file_that_was_there(tmp_path):
    path = tmp_path / "a.txt"
    with sealed_path(path) as draft:
        draft.write_text("old")
    with pytest.raises(OSError, match="full"), sealed_path(path) as draft:
        draft.write_text("half")
        raise OSError(28, "the disk is full")
    assert read_sealed(path) == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.txt", "a.txt.sha256"]
    discard(path)
    assert not is_sealed(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("before", [False, True])
def test_a_kill_at_any_point_of_writing_leaves_no_wrong_file_that_is_taken(tmp_path, before):
    """The process ends at each of its renames in turn; what is left is the old, the new, or refused."""
    script = (
        "import os, sys; from pathlib import Path; from lmk.util.checked import sealed_path\n"
        "left, rename = int(sys.argv[2]), Path.replace\n"
        "def replace(self, target):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0: os._exit(9)\n"
        "    return rename(self, target)\n"
        "Path.replace = replace\n"
        "with sealed_path(Path(sys.argv[1])) as draft: draft.write_text('new')\n"
    )
    taken = []
    for renames in range(3):
        path = tmp_path / f"{renames}.txt"
        if before:
            with sealed_path(path) as draft:
                draft.write_text("old")
        done = subprocess.run([sys.executable, "-c", script, str(path), str(renames)], check=False)
        assert done.returncode == (9 if renames < 2 else 0)
        try:
            taken.append(read_sealed(path))
        except DamagedFile:
            taken.append(None)
    assert taken == [b"old" if before else None, None, b"new"]


def test_evidence_is_kept_in_the_same_bytes_whatever_its_ids_were_taken_from(tmp_path):
    wide = np.array(["a", "b", "a name that is longer"])[:2]
    kept = []
    for ids in (wide, np.array(["a", "b"])):
        counts = np.zeros((2, 1, 2), np.int16)
        found = gather(ids, np.ones((2, 1), np.int64), [["x"], ["y"]], counts, counts * 1.0, counts * 1.0, agreeing=1)
        slot = EvidenceSlot(Files(tmp_path / str(ids.dtype), Key.of("verification", {})), ("rootsift",))
        slot.save(Verified({"rootsift": found}, {"rootsift": found}))
        kept.append([path.read_bytes() for path in sorted((tmp_path / str(ids.dtype)).glob("*.npz"))])
    assert kept[0] == kept[1]
    assert len(kept[0]) == 2
