"""Published DELF weights, on a checkpoint of their layout that the test writes: real ones were never at hand."""

import struct
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lmk.local.delf import Cells, Delf, DelfOptions
from lmk.models.datum import read_datum
from lmk.models.delf.files import published_digest, published_pca
from lmk.models.delf.published import build_published, checkpoint_arrays, load_published
from lmk.models.delf.slim_resnet import slim_resnet50
from lmk.util.errors import LmkError


def varint(value: int) -> bytes:
    groups = []
    while True:
        value, low = value >> 7, value & 0x7F
        groups.append(low | (0x80 if value else 0))
        if not value:
            return bytes(groups)


def write_datum(path: Path, array: np.ndarray) -> None:
    """By the published description: message of shape and values, both packed."""

    def field(number: int, data: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(data)) + data

    shape = field(1, b"".join(map(varint, array.shape)))
    values = field(1, struct.pack(f"<{array.size}f", *array.ravel().tolist()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(field(1, shape) + field(2, values))


def write_checkpoint(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    tf.raw_ops.SaveV2(
        prefix=str(folder / "variables"),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=[tf.constant(array) for array in arrays.values()],
    )


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    keras.utils.set_random_seed(5)
    named = checkpoint_arrays(build_published())
    rng = np.random.default_rng(0)
    ends = ("gamma", "beta", "moving_mean", "biases")
    for name, array in named.items():
        if name.endswith(ends):
            named[name] = (array + rng.normal(0, 0.05, array.shape)).astype(np.float32)
    return named


@pytest.fixture(scope="module")
def folder(tmp_path_factory, arrays) -> Path:
    folder = tmp_path_factory.mktemp("delf") / "delf_gld"
    write_checkpoint(folder / "model" / "variables", arrays | {"global_step": np.array(9, np.int64)})
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(1024, 1024)))[0].astype(np.float32)
    write_datum(folder / "pca" / "mean.datum", rng.normal(0, 0.01, 1024).astype(np.float32))
    write_datum(folder / "pca" / "pca_proj_mat.datum", turn)
    write_datum(folder / "pca" / "pca_vars.datum", np.linspace(2, 0.1, 1024, dtype=np.float32)[:, None])
    return folder


def test_names_and_shapes_are_those_of_the_published_model(arrays):
    unit = "resnet_v1_50/block{}/unit_{}/bottleneck_v1/{}"
    expected = {
        "resnet_v1_50/conv1/weights": (7, 7, 3, 64),
        "resnet_v1_50/conv1/BatchNorm/moving_variance": (64,),
        unit.format(1, 1, "shortcut/weights"): (1, 1, 64, 256),
        unit.format(1, 1, "shortcut/BatchNorm/gamma"): (256,),
        unit.format(1, 3, "conv2/weights"): (3, 3, 64, 64),
        unit.format(2, 1, "conv1/weights"): (1, 1, 256, 128),
        unit.format(2, 4, "conv3/BatchNorm/beta"): (512,),
        unit.format(3, 1, "shortcut/weights"): (1, 1, 512, 1024),
        unit.format(3, 6, "conv3/BatchNorm/moving_mean"): (1024,),
        "attention_block/attention/compute/conv1/weights": (1, 1, 1024, 512),
        "attention_block/attention/compute/conv1/BatchNorm/gamma": (512,),
        "attention_block/attention/compute/conv2/weights": (1, 1, 512, 1),
        "attention_block/attention/compute/conv2/biases": (1,),
    }
    assert {name: arrays[name].shape for name in expected} == expected
    convolutions = 1 + 3 * (3 + 4 + 6) + 3  # of the root, the units, the shortcuts that change the width
    assert len(arrays) == 5 * convolutions + 5 + 2
    assert not any("block4" in name or "unit_7" in name for name in arrays)


def test_what_was_written_is_read_into_the_model(arrays, folder):
    network, pca = load_published(folder)
    for name, array in checkpoint_arrays(network).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    photo = np.random.default_rng(2).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    found = Delf(network.dense(50), network.fields, pca, DelfOptions(scales=(1.0,), most_overlap=1.0))([photo])[0]
    assert found.descriptors.shape[1] == 40 and 10 < len(found) <= 35
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-4)


def test_its_cells_have_the_published_field_and_stride():
    fields = build_published().fields
    assert (fields.stride, fields.field) == (32, 291)
    assert fields == Cells(32, 2.0, 291)  # 2: the root's pooling pads behind alone where sides are even


def test_blocks_that_do_not_halve_give_a_finer_map():
    assert slim_resnet50((True, True, False)).compute_output_shape((1, 160, 192, 3)) == (1, 10, 12, 1024)
    assert slim_resnet50().compute_output_shape((1, 160, 192, 3)) == (1, 5, 6, 1024)


def test_the_pca_is_mean_then_rows_then_whitening_then_length_1(folder):
    mean = read_datum(folder / "pca" / "mean.datum")
    rows = read_datum(folder / "pca" / "pca_proj_mat.datum")
    variances = read_datum(folder / "pca" / "pca_vars.datum")
    values = np.random.default_rng(3).normal(size=(6, 1024)).astype(np.float32)
    expected = np.stack([[(value - mean) @ rows[d] / np.sqrt(variances[d, 0]) for d in range(40)] for value in values])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = published_pca(folder, 40)(values)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)  # an axis may point either way
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (2, 5), (300, 2)])
def test_a_datum_is_read_as_it_is_described(shape, tmp_path):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    write_datum(tmp_path / "a.datum", array)
    np.testing.assert_array_equal(read_datum(tmp_path / "a.datum"), array)


def test_a_damaged_folder_says_what_is_wrong(folder, arrays, tmp_path):
    with pytest.raises(LmkError, match=r"holds no variables/variables.index"):
        load_published(tmp_path)
    write_checkpoint(
        tmp_path / "short" / "variables", {"resnet_v1_50/conv1/weights": arrays["resnet_v1_50/conv1/weights"]}
    )
    with pytest.raises(LmkError, match=r"holds no variable '.*BatchNorm/gamma'"):
        load_published(tmp_path / "short")
    write_checkpoint(
        tmp_path / "other" / "variables", {"resnet_v1_50/conv1/weights": np.zeros((3, 3, 3, 64), np.float32)}
    )
    with pytest.raises(LmkError, match="has the shape"):
        load_published(tmp_path / "other")
    index = tmp_path / "other" / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:20])
    with pytest.raises(LmkError, match="no whole checkpoint"):
        load_published(tmp_path / "other")
    (tmp_path / "cut.datum").write_bytes((folder / "pca" / "mean.datum").read_bytes()[:100])
    with pytest.raises(LmkError, match="cannot be read as an array"):
        read_datum(tmp_path / "cut.datum")


def test_its_files_name_it(folder, tmp_path):
    assert published_digest(folder) == published_digest(folder)
    write_checkpoint(tmp_path / "variables", {"a": np.zeros(3, np.float32)})
    write_datum(tmp_path / "pca" / "mean.datum", np.zeros(3, np.float32))
    before = published_digest(tmp_path)
    write_datum(tmp_path / "pca" / "mean.datum", np.ones(3, np.float32))
    assert published_digest(tmp_path) != before
