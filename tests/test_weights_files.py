"""Files of weights from others: nothing outside them is read, nothing hangs, no more memory is taken than needed."""

import os
import tracemalloc
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from lmk.models.backbones.weights import load_weights
from lmk.util.errors import LmkError


@pytest.fixture
def network():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])


def legacy(path: Path, kernel=None, names=("dense/kernel:0", "dense/bias:0")) -> Path:
    """An old-format file; `kernel` puts its array, by the group and the name."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [name.encode() for name in names]
        group["dense/bias:0"] = np.ones(3, np.float32)
        if kernel is None:
            group["dense/kernel:0"] = np.full((4, 3), 2, np.float32)
        else:
            kernel(group, "dense/kernel:0")
    return path


def test_an_old_file_is_read(network, tmp_path):
    load_weights(network, legacy(tmp_path / "w.h5"), "net", "w.h5")
    assert keras.ops.convert_to_numpy(network.layers[0].kernel).tolist() == [[2] * 3] * 4


def secret(tmp_path: Path) -> Path:
    """Another file of the user's, of as many bytes as the kernel has."""
    path = tmp_path / "secret.bin"
    path.write_bytes(np.arange(12, dtype=np.float32).tobytes())
    return path


def external(group, name):
    group.create_dataset(name, (4, 3), np.float32, external=[(str(secret(Path(group.file.filename).parent)), 0, 48)])


def external_link(group, name):
    other = Path(group.file.filename).with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["x"] = np.zeros((4, 3), np.float32)
    group[name] = h5py.ExternalLink(str(other), "/x")


def soft_link(group, name):
    group.file["elsewhere"] = np.zeros((4, 3), np.float32)
    group[name] = h5py.SoftLink("/elsewhere")


def virtual(group, name):
    layout = h5py.VirtualLayout((4, 3), np.float32)
    layout[:] = h5py.VirtualSource(str(secret(Path(group.file.filename).parent)), "x", (4, 3))
    group.create_virtual_dataset(name, layout)


def huge(group, name):
    group.create_dataset(name, (100_000, 100_000), np.float32, chunks=(100, 100))


def huge_piece(group, name):
    group.create_dataset(name, (4, 3), np.float32, chunks=(30_000, 30_000), maxshape=(None, None))


def texts(group, name):
    group[name] = np.array([["x"] * 3] * 4, dtype=object)


def no_values(group, name):
    group[name] = h5py.Empty("f")


def a_type(group, name):
    group[name] = np.dtype("f4")


def not_finite(group, name):
    group[name] = np.full((4, 3), np.nan, np.float32)


HOSTILE = [external, external_link, soft_link, virtual, huge, huge_piece, texts, no_values, a_type, not_finite]


@pytest.mark.parametrize("kernel", HOSTILE)
def test_what_reaches_beyond_the_file_or_asks_for_much_is_refused(network, tmp_path, kernel):
    path = legacy(tmp_path / "w.h5", kernel)
    before = keras.ops.convert_to_numpy(network.layers[0].kernel).copy()
    tracemalloc.start()
    with pytest.raises(LmkError, match=r"w\.h5") as caught:
        load_weights(network, path, "net", "w.h5")
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    if kernel is not not_finite:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(network.layers[0].kernel), before)


@pytest.mark.parametrize("kernel", [external, external_link, soft_link, virtual, huge, huge_piece])
def test_the_same_in_a_file_of_keras_3(network, tmp_path, kernel):
    path = tmp_path / "w.weights.h5"
    network.save_weights(path)
    with h5py.File(path, "a") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        kernel(group, "0")
    with pytest.raises(LmkError, match=r"w\.weights\.h5"):
        load_weights(network, path, "net", "w.h5")


def test_a_link_in_place_of_a_layer_and_a_circle_of_groups_end(network, tmp_path):
    path = legacy(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        file["circle"] = file["/"]  # a hard link to a group above
    load_weights(network, path, "net", "w.h5")
    with h5py.File(path, "a") as file:
        file.move("dense", "hidden")
        file["dense"] = h5py.SoftLink("/hidden")
    with pytest.raises(LmkError, match="is a link"):
        load_weights(network, path, "net", "w.h5")


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_a_pipe_and_a_folder_are_no_weights(network, tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(LmkError, match="not a regular file"):
        load_weights(network, tmp_path / name, "net", "w.h5")
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(LmkError, match="not a regular file"):
        load_weights(network, tmp_path / name, "net", "w.h5")


def test_any_cut_or_flipped_old_file_is_read_or_refused_in_one_line(network, tmp_path):
    whole = legacy(tmp_path / "w.h5").read_bytes()
    path = tmp_path / "spoiled.h5"
    rng = np.random.default_rng(0)
    for turn in range(150):
        data = bytearray(whole)
        if turn % 5 == 0:
            del data[int(rng.integers(len(data))) :]
        else:
            for place in rng.integers(0, len(data), 1 + turn % 4):
                data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            load_weights(network, path, "net", "w.h5")
        except LmkError as error:
            assert "\n" not in str(error)
