"""Histories of training that are damaged are named, and what belongs to them is trained again."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmk.pipeline.histories import discard_damaged, is_history, read_history
from lmk.util.checked import is_sealed, sealed_path
from lmk.util.errors import LmkError

EPOCHS = [{"stage": 0, "loss": 1.5, "train_score": 0.25}, {"stage": 0, "loss": float("nan"), "train_score": 0.5}]
DAMAGES = [b"", b"{", b"\xff\xfe", b"null", b"{}", b'["loss"]', b'[{"loss": "1"}]', b"[" * 100_000, b"\0" * 50]


@pytest.fixture
def files(tmp_path):
    """Sealed weights, their history and a checkpoint."""
    weights, history = tmp_path / "r-01.weights.h5", tmp_path / "r-01.json"
    with sealed_path(weights) as draft:
        draft.write_bytes(b"weights")
    history.write_text(json.dumps(EPOCHS))
    checkpoint = tmp_path / "r-01.checkpoint.npz"
    with checkpoint.open("wb") as file:
        np.savez(file, said=np.array("{}"), model0=np.arange(100.0))
    return weights, history, checkpoint


def test_what_is_whole_stays(files):
    weights, history, checkpoint = files
    discard_damaged(weights, history)
    assert is_sealed(weights) and checkpoint.exists()
    assert str(read_history(history)) == str(EPOCHS)  # as text: NaN, which a diverged training leaves, equals nothing


@pytest.mark.parametrize("content", DAMAGES)
def test_weights_of_a_damaged_history_are_trained_again_and_the_file_is_named(files, content, caplog):
    weights, history, checkpoint = files
    history.write_bytes(content)
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


@settings(max_examples=300, deadline=None)
@example(place=0.9272745470779339, bit=0)  # it hid a member
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_checkpoint_with_any_flipped_bit_holds_the_same_or_goes(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("checkpoint")
    path = folder / "r-01.checkpoint.npz"
    with path.open("wb") as file:
        np.savez(file, said=np.array('{"stage": 0}'), model0=np.arange(100.0))
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    discard_damaged(folder / "r-01.weights.h5", folder / "r-01.json")
    if path.exists():
        with np.load(path) as file:
            assert str(file["said"]) == '{"stage": 0}'
            assert [file[name].tolist() for name in file.files if name != "said"] == [list(range(100))]
