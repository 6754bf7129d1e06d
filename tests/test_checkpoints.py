"""Checkpoints come back as they were written, or not at all."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.models.checkpoints import read_checkpoint, write_checkpoint
from lmk.util.checked import is_whole_inside, seal_inside

FACTS = {"stage": 0, "epoch": 2, "best": 0.5, "history": [{"loss": 1.5}]}
MODEL, BEST = [np.arange(100.0), np.ones((2, 3), np.float16)], [np.arange(5)]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "r.checkpoint.npz"
    write_checkpoint(path, FACTS, MODEL, BEST)
    return path.read_bytes()


def test_a_checkpoint_comes_back_and_any_reader_of_npz_reads_it(tmp_path):
    path = tmp_path / "r.checkpoint.npz"
    write_checkpoint(path, FACTS, MODEL, ())
    write_checkpoint(path, FACTS, MODEL, BEST)  # it takes the place of the one before
    found = read_checkpoint(path)
    assert {name: found[name] for name in FACTS} == FACTS
    for name, arrays in (("model", MODEL), ("best_weights", BEST)):
        assert [array.dtype for array in found[name]] == [array.dtype for array in arrays]
        assert all(np.array_equal(one, other) for one, other in zip(found[name], arrays, strict=True))
    with np.load(path) as file:
        assert json.loads(str(file["said"])) == FACTS
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert read_checkpoint(tmp_path / "none.npz") is None


@settings(max_examples=300, deadline=None)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=3))
def test_a_checkpoint_with_any_flipped_bits_is_not_taken(tmp_path_factory, written, flips):
    path = tmp_path_factory.mktemp("checkpoint") / "r.checkpoint.npz"
    data = bytearray(written)
    for place, bit in set(flips):
        data[int(place * len(data))] ^= 1 << bit
    if data != written:  # two flips may meet
        path.write_bytes(data)
        assert read_checkpoint(path) is None
        assert not path.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:60],
        lambda data: data + b"0",
        lambda data: data[:-64],
        lambda data: data[:-64] + b"0" * 64,
    ],
)
def test_a_checkpoint_that_is_cut_or_has_another_digest_is_named_and_goes(tmp_path, written, spoil, caplog):
    path = tmp_path / "r.checkpoint.npz"
    path.write_bytes(spoil(written))
    assert read_checkpoint(path) is None
    assert not path.exists()
    assert "r.checkpoint.npz is damaged" in caplog.text


def test_a_whole_file_that_holds_no_checkpoint_is_not_taken(tmp_path):
    path = tmp_path / "r.checkpoint.npz"
    with path.open("wb") as file:
        np.savez(file, model0000=np.arange(3))
    seal_inside(path)
    assert is_whole_inside(path)
    assert read_checkpoint(path) is None


def test_only_a_zip_without_a_comment_is_sealed_inside(tmp_path, written):
    path = tmp_path / "r.checkpoint.npz"
    path.write_bytes(written)
    with pytest.raises(ValueError, match="no zip file without a comment"):
        seal_inside(path)
    assert path.read_bytes() == written


def test_a_disk_that_fails_is_no_damage_of_a_checkpoint(tmp_path, written, monkeypatch):
    path = tmp_path / "r.checkpoint.npz"
    path.write_bytes(written)

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.open", fail)
    with pytest.raises(OSError, match="Input/output"):
        read_checkpoint(path)
    assert path.exists()
