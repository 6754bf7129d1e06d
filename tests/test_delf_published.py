"""Published DELF and DELG weights, on checkpoints of their layouts that the tests write: none were at hand."""

import struct
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lmk.local.delf import Cells, Delf, DelfOptions
from lmk.models.datum import read_datum
from lmk.models.delf.files import published_digest, published_pca
from lmk.models.delf.keras_resnet import keras_resnet
from lmk.models.delf.published import (
    build_published,
    build_published_keras,
    keras_names_of,
    load_published,
    names_of,
)
from lmk.models.delf.slim_resnet import slim_resnet
from lmk.util.errors import LmkError


def checkpoint_arrays(named) -> dict[str, np.ndarray]:
    """Weights under their published names, as `names_of` and `keras_names_of` give them."""
    return {name: keras.ops.convert_to_numpy(variable) for variable, name in named}


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
    named = checkpoint_arrays(names_of(build_published()))
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
    for name, array in checkpoint_arrays(names_of(network)).items():
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
    assert slim_resnet(halved=(True, True, False)).compute_output_shape((1, 160, 192, 3)) == (1, 10, 12, 1024)
    assert slim_resnet().compute_output_shape((1, 160, 192, 3)) == (1, 5, 6, 1024)


def test_the_pca_is_mean_then_rows_then_whitening_then_length_1(folder):
    mean = read_datum(folder / "pca" / "mean.datum")
    rows = read_datum(folder / "pca" / "pca_proj_mat.datum")
    variances = read_datum(folder / "pca" / "pca_vars.datum")
    values = np.random.default_rng(3).normal(size=(6, 1024)).astype(np.float32)
    expected = np.stack([[(value - mean) @ rows[d] / np.sqrt(variances[d, 0]) for d in range(40)] for value in values])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = published_pca(folder, 1024, 40)(values)
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
    write_checkpoint(tmp_path / "foreign" / "variables", {"dense/kernel": np.zeros(3, np.float32)})
    with pytest.raises(LmkError, match=r"holds no DELF or DELG.*'dense/kernel'"):
        load_published(tmp_path / "foreign")
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


def photo(seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 160, 192, 3), dtype=np.uint8)


def maps_of(network) -> tuple[np.ndarray, np.ndarray]:
    features = network.backbone(photo().astype(np.float32))
    return np.asarray(features), np.asarray(network.attention(features))


@pytest.mark.parametrize("outer", ["module/", "some/graph/module_1/"])
def test_a_hub_module_is_read_whatever_scope_stands_before_its_variables(outer, arrays, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"a graph, not read")
    (tmp_path / "tfhub_module.pb").write_bytes(b"\x08\x03")
    write_checkpoint(tmp_path / "variables", {outer + name: array for name, array in arrays.items()})
    network, pca = load_published(tmp_path)
    assert pca is None  # a module's PCA is part of its graph, and there is none beside it
    for name, array in checkpoint_arrays(names_of(network)).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_resnet_101_is_known_by_its_scope(tmp_path):
    assert slim_resnet(23).get_layer("block3.unit_23.bottleneck_v1.conv3").output.shape[-1] == 1024
    write_checkpoint(tmp_path / "variables", {"resnet_v1_101/conv1/weights": np.zeros((7, 7, 3, 64), np.float32)})
    with pytest.raises(LmkError, match="holds no variable 'resnet_v1_101/conv1/BatchNorm/gamma'"):
        load_published(tmp_path)


class Object(tf.Module):
    """An object with attributes, as TensorFlow 2 tracks them."""


def model_of(named: dict[str, np.ndarray]) -> Object:
    """The objects of the TensorFlow 2 scripts' model: an attribute a step of each name, a variable at its end."""
    root = Object()
    for name, array in named.items():
        holder = root
        for step in name.split("/")[:-1]:
            if not hasattr(holder, step):
                setattr(holder, step, Object())
            holder = getattr(holder, step)
        setattr(holder, name.split("/")[-1], tf.Variable(array))
    return root


def drawn(network, seed: int = 3) -> dict[str, np.ndarray]:
    """The network's arrays with all of them away from 0 and 1, so that none can be forgotten or swapped unseen."""
    rng = np.random.default_rng(seed)
    named = checkpoint_arrays(keras_names_of(network))
    for name, array in named.items():
        if array.ndim == 1:
            named[name] = (array + rng.uniform(0.02, 0.2, array.shape)).astype(np.float32)
    return named


def forward(named: dict[str, np.ndarray], image: np.ndarray, narrow: bool) -> tuple[np.ndarray, np.ndarray]:
    """The published model by TensorFlow's own functions, from its variables by name: features and attention."""

    def conv(x, name, stride=1, padding="VALID"):
        return tf.nn.conv2d(x, named[f"{name}/kernel"], stride, padding) + named[f"{name}/bias"]

    def norm(x, name):
        mean, variance = named[f"{name}/moving_mean"], named[f"{name}/moving_variance"]
        return tf.nn.batch_normalization(x, mean, variance, named[f"{name}/beta"], named[f"{name}/gamma"], 1e-3)

    def unit(x, name, stride, shortcut):
        y = tf.nn.relu(norm(conv(x, f"{name}/conv2a", stride), f"{name}/bn2a"))
        y = tf.nn.relu(norm(conv(y, f"{name}/conv2b", 1, "SAME"), f"{name}/bn2b"))
        y = norm(conv(y, f"{name}/conv2c"), f"{name}/bn2c")
        return tf.nn.relu(
            y + (norm(conv(x, f"{name}/conv_shortcut", stride), f"{name}/bn_shortcut") if shortcut else x)
        )

    x = (image.astype(np.float32) - 128) / 128
    x = tf.nn.relu(norm(conv(x, "backbone/conv1", 2, "SAME"), "backbone/bn_conv1"))
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    for stage, letters in ((2, "abc"), (3, "abcd"), (4, "abcdef")):
        for letter in letters:
            x = unit(x, f"backbone/l{stage}{letter}", 2 if letter == "a" and stage > 2 else 1, letter == "a")
    x = seen = tf.nn.max_pool2d(x, 1, 2, "VALID")
    if narrow:
        x = conv(x, "autoencoder/conv1")
        seen = tf.nn.relu(conv(x, "autoencoder/conv2"))
    y = tf.nn.relu(norm(conv(seen, "attention/conv1"), "attention/bn_conv1"))
    return np.asarray(x), np.asarray(tf.nn.softplus(conv(y, "attention/conv2")))


@pytest.mark.parametrize("reduced", [None, 128])
def test_what_the_tensorflow_2_scripts_export_is_read_and_gives_what_their_model_gives(reduced, tmp_path):
    keras.utils.set_random_seed(4)
    named = drawn(build_published_keras(reduced=reduced))
    module, model = Object(), model_of(named | {"backbone/embedding_layer/kernel": np.ones((4, 2), np.float32)})
    module._model = model
    # What Keras puts beside the attributes: a shorter way to the same variables, by which the checkpoint names them.
    model.variables_list = list(model.variables)
    model.backbone.layer_with_weights = [model.backbone.conv1]
    tf.saved_model.save(module, str(tmp_path / "delg"))
    network, pca = load_published(tmp_path / "delg")
    assert pca is None
    for name, array in checkpoint_arrays(keras_names_of(network)).items():
        np.testing.assert_array_equal(array, named[name], err_msg=name)
    expected = forward(named, photo(), narrow=reduced is not None)
    for found, truth in zip(maps_of(network), expected, strict=True):
        assert found.shape == truth.shape
        np.testing.assert_allclose(found, truth, rtol=2e-3, atol=2e-3 * np.abs(truth).max())
    assert expected[0].shape[-1] == (reduced or 1024)


def test_weights_that_the_training_script_saved_are_read_too(tmp_path):
    keras.utils.set_random_seed(5)
    named = drawn(build_published_keras())
    tf.train.Checkpoint(**{name: getattr(model_of(named), name) for name in ("backbone", "attention")}).write(
        str(tmp_path / "delf_weights")
    )
    network, _ = load_published(tmp_path)
    for name, array in checkpoint_arrays(keras_names_of(network)).items():
        np.testing.assert_array_equal(array, named[name], err_msg=name)


def test_the_scripts_resnet_101_has_23_units_in_its_fourth_stage():
    network = keras_resnet(23)
    assert network.get_layer("l4w.conv2c").output.shape[-1] == 1024
    assert not any(layer.name.startswith("l4x") for layer in network.layers)
    fields = build_published_keras().fields
    assert (fields.stride, fields.field) == (32, 291)
    assert keras_resnet(halved=False).compute_output_shape((1, 160, 192, 3)) == (1, 10, 12, 1024)


def test_a_saved_model_of_constants_alone_is_told_apart(tmp_path):
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "saved_model.pb").write_bytes(b"a graph with constants")
    with pytest.raises(LmkError, match="weights are constants of its graph"):
        load_published(tmp_path / "frozen")
    tf.saved_model.save(Object(), str(tmp_path / "empty"))
    with pytest.raises(LmkError, match="weights are constants of its graph"):
        load_published(tmp_path / "empty")


def test_a_pca_of_another_size_is_taken_as_it_is_and_one_of_another_model_refused(tmp_path):
    rng = np.random.default_rng(0)
    write_datum(tmp_path / "pca" / "mean.datum", rng.normal(size=128).astype(np.float32))
    write_datum(tmp_path / "pca" / "pca_proj_mat.datum", rng.normal(size=(20, 128)).astype(np.float32))
    assert published_pca(tmp_path, 128, 40).axes.shape == (128, 20)
    assert published_pca(tmp_path, 128, 16).axes.shape == (128, 16)
    assert published_pca(tmp_path / "pca" / "..", 128, 16) is not None
    with pytest.raises(LmkError, match="PCA of another model"):
        published_pca(tmp_path, 1024, 40)
    assert published_pca(tmp_path / "pca", 128, 40) is not None  # beside the model
    (tmp_path / "pca" / "mean.datum").unlink()
    with pytest.raises(LmkError, match="cannot be read"):
        published_pca(tmp_path, 128, 40)
