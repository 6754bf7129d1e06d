"""A photo is known by its content: what is replaced at the same size is another photo, what is not is read once."""

import errno
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lmk.data.identity
import lmk.data.images
from lmk.data.competitions import read_competition
from lmk.data.identity import MEMORY, Identity, identify, remembered
from lmk.util.checked import seal_of


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files of a test are young; the rule for young files has a test of its own."""
    monkeypatch.setattr(lmk.data.identity, "SETTLED_NS", 0)


@pytest.fixture
def root(tmp_path) -> Path:
    """A competition of six photos."""
    root = tmp_path / "c"
    for number, name in enumerate(["train/a", "train/b", "train/c", "test/t", "test/u", "distractors/d"]):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 30, 1, 2)).save(path)
    (root / "train.csv").write_text("id,landmark_id\na,1\nb,1\nc,2\n")
    (root / "sample_submission.csv").write_text("id,landmarks\nt,\nu,\n")
    time.sleep(0.02)  # a stamp's resolution
    return root


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Ids of photos that are read."""
    names, read_file = [], lmk.data.images.read_file

    def count(path: Path) -> bytes:
        names.append(path.stem)
        return read_file(path)

    monkeypatch.setattr(lmk.data.identity, "read_file", count)
    return names


def known(root: Path) -> Identity:
    return identify(read_competition("c", root), root.parent / "photos")


def rewrite(path: Path, data: bytes, keep_times: bool = False) -> None:
    told = path.stat()
    path.write_bytes(data)
    if keep_times:
        os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


def test_photos_are_read_once_and_named_by_their_content(root, read):
    first = known(root)
    assert sorted(read) == ["a", "b", "c", "d", "t", "u"]
    assert first.unreadable == {}
    assert len(set(first.of(first.ids).tolist())) == 6
    again = known(root)
    assert len(read) == 6
    assert again.digest == first.digest == remembered(read_competition("c", root), root.parent / "photos").digest
    assert identify(read_competition("c", root), root.parent / "other").digest == first.digest


@pytest.mark.parametrize("keep_times", [False, True])
@pytest.mark.parametrize("place", ["train/a.png", "test/t.png", "distractors/d.png"])
def test_a_photo_replaced_at_the_same_size_is_another(root, read, place, keep_times):
    first = known(root)
    path = root / place
    data = path.read_bytes()
    other = bytearray((root / "train/b.png").read_bytes().ljust(len(data), b"\0")[: len(data)])
    rewrite(path, bytes(other), keep_times)
    read.clear()
    second = known(root)
    assert read == [path.stem]
    assert second.digest != first.digest
    assert (second.of(first.ids) != first.of(first.ids)).sum() == 1
    rewrite(path, data)
    assert known(root).digest == first.digest


def test_a_photo_replaced_by_renaming_and_one_swapped_with_another_are_found(root):
    first = known(root)
    a, b = root / "train/a.png", root / "train/b.png"
    a.rename(root / "x"), b.rename(a), (root / "x").rename(b)
    swapped = known(root)
    assert swapped.digest != first.digest
    assert swapped.of(["a", "b"]).tolist() == first.of(["b", "a"]).tolist()


def test_a_damaged_photo_that_is_repaired_is_read_again(root, read):
    path = root / "test/t.png"
    whole = path.read_bytes()
    rewrite(path, whole[:40].ljust(len(whole), b"\0"))
    spoiled = known(root)
    assert list(spoiled.unreadable) == ["t"]
    assert "PNG" in spoiled.unreadable["t"]
    read.clear()
    assert known(root).unreadable == spoiled.unreadable
    assert read == ["t"]  # tried again
    assert list(remembered(read_competition("c", root), root.parent / "photos").unreadable) == ["t"]
    rewrite(path, whole)
    assert remembered(read_competition("c", root), root.parent / "photos") is None
    assert known(root).unreadable == {}


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error"), PermissionError(13, "No")])
def test_what_the_machine_failed_to_read_is_not_remembered(root, read, monkeypatch, error):
    good = Path.open

    def fail(path: Path, *words, **named):
        if path.name == "t.png":
            raise error
        return good(path, *words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        assert list(known(root).unreadable) == ["t"]
    read.clear()
    assert known(root).unreadable == {}
    assert read == ["t"]


def test_too_little_memory_to_decode_is_no_damage(root, monkeypatch):
    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(lmk.data.images, "_rgb", fail)
        assert set(known(root).unreadable.values()) == {"too little memory"}
    assert known(root).unreadable == {}


def test_a_file_that_changed_just_now_is_read_again(root, read, monkeypatch):
    monkeypatch.setattr(lmk.data.identity, "SETTLED_NS", 10**12)
    known(root), known(root)
    assert len(read) == 12


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"x" * 500), lambda path: seal_of(path).unlink()])
def test_a_damaged_memory_is_made_anew(root, read, spoil):
    first = known(root)
    spoil(root.parent / "photos" / MEMORY)
    assert known(root).digest == first.digest
    assert len(read) == 12
    assert known(root).digest == first.digest
    assert len(read) == 12


def test_tables_and_the_place_of_a_photo_are_part_of_the_identity(root):
    first = known(root)
    (root / "train.csv").write_text("id,landmark_id\na,1\nb,1\nc,3\n")
    assert known(root).digest != first.digest
    (root / "train.csv").write_text("id,landmark_id\na,1\nb,1\nc,2\n")
    assert known(root).digest == first.digest
    shutil.copy(root / "train/a.png", root / "distractors/e.png")
    assert known(root).digest != first.digest


def test_changed_files_leave_no_stamps_behind(root):
    for color in range(5):
        Image.new("RGB", (8, 8), (color, 9, 9)).save(root / "train/a.png")
        time.sleep(0.02)
        known(root)
    size = (root.parent / "photos" / MEMORY).stat().st_size
    assert size == 6 * lmk.data.identity._RECORD.itemsize


def test_an_id_without_a_photo_has_no_content(root):
    with pytest.raises(KeyError):
        known(root).of(np.array(["nobody"]))
