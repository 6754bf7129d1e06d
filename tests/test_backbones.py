"""Backbones: from pixels to a feature map, and every way in which weights come in."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import ops

from lmk.models.backbones import build as backbones
from lmk.models.backbones import efficientnet as efficientnet_provider
from lmk.models.backbones.build import build_backbone, network_of, provider_named, set_trainable
from lmk.models.backbones.catalogue import BACKBONES, weights_digest
from lmk.models.backbones.scaling import PixelScaling
from lmk.models.backbones.weights import load_weights
from lmk.models.pooling import GeM
from lmk.util.errors import LmkError

RNG = np.random.default_rng(9)
PHOTOS = RNG.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
MOBILENETS = {
    "mobilenet": (keras.applications.MobileNet, 1024),
    "mobilenetv2": (keras.applications.MobileNetV2, 1280),
}


def features_of(model, images=PHOTOS):
    return ops.convert_to_numpy(model(images))


def write_legacy(path, layers, group="/"):
    """An HDF5 file of weights as Keras 2 wrote it: [(layer name, arrays)]."""
    with h5py.File(path, "w") as file:
        root = file.require_group(group)
        root.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, arrays in layers:
            names = [f"{name}/weight_{place}:0" for place in range(len(arrays))]
            root.create_group(name).attrs["weight_names"] = [weight.encode() for weight in names]
            for weight, array in zip(names, arrays, strict=True):
                root[name][weight] = array


def small_network(**names):
    """A network of few weights; its layers may be named."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, name=names.get("first", "first")),
            keras.layers.BatchNormalization(name=names.get("norm", "norm")),
            keras.layers.Conv2D(2, 3, name=names.get("second", "second")),
        ]
    )


def random_layers():
    """Weights for `small_network`, in the order of older files: what trains first."""
    first = [RNG.normal(size=(3, 3, 3, 4)), RNG.normal(size=4)]
    norm = [RNG.uniform(1, 2, size=4) for _ in range(4)]
    return [("first", first), ("norm", norm), ("second", [RNG.normal(size=(3, 3, 4, 2)), RNG.normal(size=2)])]


def by_hand(images, layers):
    """What `small_network` gives, from its arrays."""
    (_, (kernel, bias)), (_, (gamma, beta, mean, variance)), (_, (kernel2, bias2)) = layers
    x = ops.convert_to_numpy(ops.conv(images.astype("float64"), kernel)) + bias
    x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    return ops.convert_to_numpy(ops.conv(x, kernel2)) + bias2


def test_every_backbone_is_one_that_its_provider_has():
    of_keras = [backbone for backbone in BACKBONES.values() if backbone.provider == "keras"]
    assert all(callable(getattr(keras.applications, backbone.build)) for backbone in of_keras)
    assert all(callable(provider_named(backbone.provider).build_network) for backbone in BACKBONES.values())
    assert all(name == backbone.name for name, backbone in BACKBONES.items())
    for names in ["vgg16", "xception", "resnet50", "mobilenetv2", "efficientnetb7", "efficientnetv2s", "convnexttiny"]:
        assert names in BACKBONES


@pytest.mark.parametrize("name", MOBILENETS)
def test_weights_from_a_folder_give_the_features_of_keras_own_network(name, shared):
    constructor, channels = MOBILENETS[name]
    model = build_backbone(name, str(shared / "weights"))
    features = features_of(model)
    assert features.shape == (2, 2, 2, channels)
    network = constructor(include_top=False, weights=None, input_shape=(64, 64, 3))
    network.load_weights(shared / "weights" / f"{name}_1.0_imagenet_notop.weights.h5")
    expected = features_of(network, PHOTOS / 127.5 - 1.0)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    wide = np.concatenate([PHOTOS, PHOTOS], axis=2).astype("float32")
    assert features_of(model, wide).shape == (2, 2, 4, channels)


@pytest.mark.parametrize(("scaling", "module"), [("tf", "xception"), ("caffe", "vgg16"), ("torch", "densenet")])
def test_pixels_are_scaled_as_keras_scales_them_for_its_weights(scaling, module):
    expected = getattr(keras.applications, module).preprocess_input(PHOTOS.astype("float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(PixelScaling(scaling)(PHOTOS)), expected, rtol=1e-5, atol=1e-5)


def test_a_recipe_may_scale_pixels_otherwise_than_the_weights_were_trained():
    keras.utils.set_random_seed(0)
    own = build_backbone("vgg16", "none", 32)
    keras.utils.set_random_seed(0)
    by_255 = build_backbone("vgg16", "none", 32, pixels="unit")
    expected = network_of(own)(PHOTOS[:, :32, :32] / np.float32(255))
    np.testing.assert_allclose(by_255(PHOTOS[:, :32, :32]), expected, rtol=1e-4, atol=1e-5)


def test_the_package_s_own_weights_come_first_for_the_package():
    backbone = BACKBONES["efficientnetb0"]
    assert backbone.weights_files_of("efficientnet")[0] == "efficientnet-b0_noisy-student_notop.h5"
    assert sorted(backbone.weights_files_of("efficientnet")) == sorted(backbone.weights_files)
    assert BACKBONES["vgg16"].weights_files_of("efficientnet") == BACKBONES["vgg16"].weights_files


def test_networks_that_scale_by_themselves_get_raw_pixels():
    images = PHOTOS.astype("float32")
    for module in ("efficientnet", "efficientnet_v2", "convnext", "mobilenet_v3"):
        np.testing.assert_array_equal(getattr(keras.applications, module).preprocess_input(images), images)
    included = {name for name, backbone in BACKBONES.items() if backbone.scaling == "included"}
    assert all(name.startswith(("efficientnet", "convnext", "mobilenetv3")) for name in included)


def test_untrained_weights_follow_the_seed():
    def features(seed):
        keras.utils.set_random_seed(seed)
        return features_of(build_backbone("mobilenet", "none", 64))

    first = features(1)
    np.testing.assert_array_equal(features(1), first)
    assert not np.array_equal(features(2), first)


def test_a_digest_names_the_content_of_the_weights(tmp_path):
    (tmp_path / "vgg16.h5").write_bytes(b"one")
    (tmp_path / "other.h5").write_bytes(b"one")
    assert weights_digest("vgg16", "none") == "none"
    assert weights_digest("vgg16", "imagenet") == "imagenet"
    digest = weights_digest("vgg16", str(tmp_path))
    assert digest == weights_digest("vgg16", str(tmp_path / "other.h5"))
    (tmp_path / "other.h5").write_bytes(b"two")
    assert digest != weights_digest("vgg16", str(tmp_path / "other.h5"))


def test_an_older_file_is_read_by_name_whatever_its_order(tmp_path):
    layers = random_layers()
    write_legacy(tmp_path / "weights.h5", [("unused", []), *reversed(layers), ("predictions", [np.ones(3)])])
    network = small_network()
    load_weights(network, tmp_path / "weights.h5", "small", "small.h5")
    images = RNG.normal(size=(2, 8, 8, 3))
    np.testing.assert_allclose(features_of(network, images), by_hand(images, layers), rtol=1e-4, atol=1e-4)


def test_an_older_file_with_other_names_is_read_in_order(tmp_path):
    layers = random_layers()
    write_legacy(tmp_path / "weights.h5", [*layers, ("predictions", [np.ones(3)])], group="model_weights")
    network = small_network(first="conv2d_7", norm="bn_8", second="conv2d_9")
    load_weights(network, tmp_path / "weights.h5", "small", "small.h5")
    images = RNG.normal(size=(2, 8, 8, 3))
    np.testing.assert_allclose(features_of(network, images), by_hand(images, layers), rtol=1e-4, atol=1e-4)


def test_an_older_file_with_names_in_several_parts_is_read(tmp_path):
    layers = random_layers()
    write_legacy(tmp_path / "weights.h5", layers)
    with h5py.File(tmp_path / "weights.h5", "a") as file:
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"first", b"norm"], [b"second"]
    network = small_network()
    load_weights(network, tmp_path / "weights.h5", "small", "small.h5")
    np.testing.assert_allclose(network.layers[-1].get_weights()[0], layers[2][1][0], rtol=1e-6)


@pytest.mark.parametrize("change", ["shape", "missing"])
def test_an_older_file_of_another_network_is_an_error(tmp_path, change):
    layers = random_layers()
    layers = layers[:2] if change == "missing" else [("first", [np.ones((3, 3, 3, 5)), np.ones(5)]), *layers[1:]]
    write_legacy(tmp_path / "weights.h5", layers)
    with pytest.raises(LmkError, match=r"weights\.h5 holds the weights of another network than small"):
        load_weights(small_network(), tmp_path / "weights.h5", "small", "small.h5")


@pytest.mark.parametrize("name", ["saved.keras", "saved.weights.h5"])
def test_files_of_keras_3_are_read(tmp_path, name):
    source, network = small_network(), small_network()
    source.save(tmp_path / name) if name.endswith(".keras") else source.save_weights(tmp_path / name)
    load_weights(network, tmp_path / name, "small", "small.h5")
    for found, expected in zip(network.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_of_a_model_file_only_the_arrays_are_read(tmp_path):
    source, network = small_network(), small_network()
    source.save(tmp_path / "saved.keras")
    with zipfile.ZipFile(tmp_path / "saved.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = json.dumps({"module": "os", "class_name": "system", "config": "exit 1"}).encode()
    with zipfile.ZipFile(tmp_path / "saved.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    load_weights(network, tmp_path / "saved.keras", "small", "small.h5")
    np.testing.assert_array_equal(network.get_weights()[0], source.get_weights()[0])


def test_a_file_of_keras_3_under_an_older_name_is_an_error_that_says_so(tmp_path):
    small_network().save_weights(tmp_path / "saved.weights.h5")
    (tmp_path / "saved.weights.h5").rename(tmp_path / "saved.h5")
    with pytest.raises(LmkError, match=r"rename it so that it ends in \.weights\.h5"):
        load_weights(small_network(), tmp_path / "saved.h5", "small", "small.h5")


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.h5", "cut.keras"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, name):
    source = small_network()
    whole = tmp_path / ("whole.keras" if name.endswith(".keras") else "whole.weights.h5")
    source.save(whole) if name.endswith(".keras") else source.save_weights(whole)
    content = whole.read_bytes()
    for damaged in (content[: len(content) // 2], b"<html>not found</html>", b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(LmkError, match=name):
            load_weights(small_network(), tmp_path / name, "small", "small.h5")


def test_a_file_of_another_network_is_an_error(shared):
    file = shared / "weights" / "mobilenetv2_1.0_imagenet_notop.weights.h5"
    with pytest.raises(LmkError, match="another network than mobilenet"):
        build_backbone("mobilenet", str(file), 64)


def test_a_folder_without_the_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(
        LmkError, match=r"holds no weights of vgg16.*vgg16_weights_tf_dim_ordering_tf_kernels_notop\.h5"
    ):
        build_backbone("vgg16", str(tmp_path), 64)


def test_weights_that_are_nowhere_or_no_weights_are_an_error(tmp_path):
    with pytest.raises(LmkError, match="no weights of vgg16 at"):
        build_backbone("vgg16", str(tmp_path / "absent.h5"), 64)
    (tmp_path / "notes.txt").write_text("weights")
    with pytest.raises(LmkError, match=r"notes\.txt is no file of weights"):
        build_backbone("vgg16", str(tmp_path / "notes.txt"), 64)


def test_an_unknown_backbone_is_an_error_that_names_the_nearest():
    with pytest.raises(LmkError, match="Did you mean 'mobilenetv2'"):
        build_backbone("mobilnet_v2")


def test_an_image_too_small_for_the_backbone_is_an_error():
    with pytest.raises(LmkError, match="xception needs images of 71 pixels"):
        build_backbone("xception", "none", 64)


def test_a_download_that_fails_is_an_error_that_names_the_file_and_prints_nothing(monkeypatch, capsys):
    def fails(*args, **kwargs):
        raise Exception("URL fetch failure on somewhere: None -- no network")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", fails)
    with pytest.raises(LmkError, match=r"mobilenet cannot be downloaded.*mobilenet_1_0_224_tf_no_top\.h5.*`none`"):
        build_backbone("mobilenet", "imagenet", 64)
    assert capsys.readouterr().out == ""
    assert keras.config.is_interactive_logging_enabled()


def test_a_mistake_in_the_code_is_not_taken_for_a_failed_download(monkeypatch):
    def wrong(*args, **kwargs):
        raise TypeError("wrong argument")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", wrong)
    with pytest.raises(TypeError, match="wrong argument"):
        build_backbone("mobilenet", "imagenet", 64)


def test_downloaded_weights_are_those_of_the_file(monkeypatch, shared):
    file = shared / "weights" / "mobilenet_1.0_imagenet_notop.weights.h5"
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(file))
    downloaded = features_of(build_backbone("mobilenet", "imagenet", 64))
    np.testing.assert_array_equal(downloaded, features_of(build_backbone("mobilenet", str(file), 64)))


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def test_both_providers_of_an_efficientnet_are_one_network(float64, tmp_path):
    # A noisy-student file as the package publishes it: legacy, by name, 131 layers where Keras has 132.
    source = efficientnet_provider.build_network(BACKBONES["efficientnetb0"], 64)
    for layer in source.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([RNG.uniform(0.8, 1.2, weights.shape) for weights in layer.get_weights()])
    stored = [
        (layer.name, [ops.convert_to_numpy(w) for w in layer.trainable_weights + layer.non_trainable_weights])
        for layer in source.layers
    ]
    write_legacy(tmp_path / "efficientnet-b0_noisy-student_notop.h5", stored)
    models = [
        build_backbone("efficientnetb0", str(tmp_path), 64, provider=provider) for provider in ("keras", "efficientnet")
    ]
    ours, theirs = (features_of(model) for model in models)
    assert ours.shape == (2, 2, 2, 1280)
    spread = theirs.std()
    np.testing.assert_allclose(ours / spread, theirs / spread, atol=1e-4)  # Keras' 1 / 255 is a float32
    standardised = (PHOTOS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(features_of(source, standardised), theirs, rtol=1e-10)
    # Nothing of the package is needed to load what was built with it.
    assert {type(layer).__module__.split(".")[0] for layer in network_of(models[1]).layers} == {"keras"}
    activations = {layer.activation.__name__ for layer in network_of(models[1]).layers if hasattr(layer, "activation")}
    assert activations == {"linear", "silu", "sigmoid"}


def test_an_unknown_provider_is_an_error_that_lists_them():
    with pytest.raises(LmkError, match="No provider of backbones is named 'timm'; there are keras, efficientnet"):
        build_backbone("xception", "none", 299, provider="timm")


def test_the_package_has_efficientnets_alone():
    with pytest.raises(LmkError, match="no xception"):
        build_backbone("xception", "none", 299, provider="efficientnet")


@pytest.mark.parametrize("batch_norm", [True, False])
def test_layers_from_an_index_on_are_trained(batch_norm):
    model = build_backbone("mobilenet", "none", 64)
    set_trainable(model, 80, batch_norm)
    trained = [layer.name for layer in network_of(model).layers if layer.trainable_weights]
    names = [layer.name for layer in network_of(model).layers]
    expected = [name for name in names[80:] if "conv" in name and not name.endswith(("_bn", "_relu"))]
    expected = [name for name in expected if "pad" not in name]
    if batch_norm:
        assert set(expected) < set(trained)
        assert set(trained) - set(expected) == {name for name in names[80:] if name.endswith("_bn")}
    else:
        assert trained == expected
    set_trainable(model, None)
    assert not model.trainable_weights


def test_the_published_layer_indices_fall_where_their_authors_mean():
    vgg = network_of(build_backbone("vgg16", "none", 32))
    assert vgg.layers[14].name == "block4_pool"  # the first 15 frozen: block 5 alone trains
    xception = network_of(build_backbone("xception", "none", 71))
    convolutions = [layer.name for layer in xception.layers[86:] if layer.name.startswith("block")]
    assert convolutions[0].startswith("block10")
    assert isinstance(xception.layers[85], keras.layers.Add)


def test_a_saved_model_predicts_the_same_when_loaded(tmp_path):
    backbone = build_backbone("mobilenet", "none", 64)
    outputs = keras.layers.Dense(3, name="head")(GeM(per_channel=True, name="descriptor")(backbone.output))
    model = keras.Model(backbone.input, outputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(features_of(loaded), features_of(model))
    assert network_of(loaded).name == network_of(model).name


def test_a_model_without_a_network_is_a_mistake():
    with pytest.raises(ValueError, match="holds no network"):
        backbones.network_of(small_network())
