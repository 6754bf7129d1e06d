"""Histories of training that are damaged are named, and what belongs to them is trained again."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.pipeline.histories import discard_damaged, history_of_whole, is_history, read_history, write_history
from lmk.util.checked import is_sealed, seal, sealed_path
from lmk.util.errors import LmkError

EPOCHS = [{"loss": 1.5, "stage": 0, "train_score": 0.25}, {"loss": float("nan"), "stage": 0, "train_score": 0.5}]
DAMAGES = [b"", b"{", b"\xff\xfe", b"null", b"{}", b'["loss"]', b'[{"loss": "1"}]', b"[" * 100_000, b"\0" * 50]


@pytest.fixture
def files(tmp_path):
    """Sealed weights, their history and a checkpoint."""
    weights, history = tmp_path / "r-01.weights.h5", tmp_path / "r-01.json"
    with sealed_path(weights) as draft:
        draft.write_bytes(b"weights")
    write_history(history, EPOCHS)
    checkpoint = tmp_path / "r-01.checkpoint.npz"
    checkpoint.write_bytes(b"state")
    return weights, history, checkpoint


def flip(path, place, bit):
    """Turn one bit of a file; `place` is the share of the file before it."""
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)


def test_what_is_whole_stays(files):
    weights, history, checkpoint = files
    discard_damaged(weights, history)
    assert is_sealed(weights) and checkpoint.exists()
    assert str(read_history(history)) == str(EPOCHS)  # as text: NaN, which a diverged training leaves, equals nothing


@pytest.mark.parametrize("content", DAMAGES)
def test_weights_of_a_damaged_history_are_trained_again_and_the_file_is_named(files, content, caplog):
    weights, history, checkpoint = files
    history.write_bytes(content)
    seal(history)  # what it holds is checked, too
    assert not is_history(history)
    with pytest.raises(LmkError, match=r"r-01\.json is no history") as caught:
        read_history(history)
    assert "\n" not in str(caught.value)
    discard_damaged(weights, history)
    assert not is_sealed(weights) and not history.exists() and checkpoint.exists()
    assert "r-01.json" in caplog.text


def test_weights_without_a_history_are_trained_again(files):
    weights, history, _ = files
    history.unlink()
    discard_damaged(weights, history)
    assert not is_sealed(weights)


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_history_with_any_flipped_bit_is_refused(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("history") / "r-01.json"
    write_history(path, EPOCHS)
    flip(path, place, bit)
    with pytest.raises(LmkError, match=r"r-01\.json is no history"):
        read_history(path)


def test_a_history_without_a_seal_is_one_of_an_earlier_version(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(EPOCHS))
    assert str(read_history(tmp_path / "r.json")) == str(EPOCHS)


def test_the_history_of_a_whole_network_is_read_and_of_a_damaged_one_is_none(files):
    weights, history, _ = files
    assert str(history_of_whole(weights, history)) == str(EPOCHS)
    flip(weights, 0.5, 1)
    assert history_of_whole(weights, history) is None
    assert not weights.exists()


def test_a_disk_that_fails_is_no_damage_of_a_history(files, monkeypatch):
    weights, history, _ = files

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.open", fail)
    with pytest.raises(OSError, match="Input/output"):
        discard_damaged(weights, history)
    assert weights.exists() and history.exists()
