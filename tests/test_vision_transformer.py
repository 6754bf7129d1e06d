"""Vision transformers: blocks against a slow twin, positions by hand, weights from folders as Hugging Face has them."""

import json
import math
import struct

import cv2
import h5py
import keras
import numpy as np
import pytest
from keras import ops
from test_efficientnet_lite import write_tensors

from lmk.cli.weights import _backbones_in
from lmk.kaggle.weights import weight_files
from lmk.models.backbones import vision_transformer
from lmk.models.backbones.architectures import ARCHITECTURES, Architecture
from lmk.models.backbones.build import build_backbone, network_of, set_trainable
from lmk.models.backbones.catalogue import BACKBONES, Backbone, weights_digest, weights_file
from lmk.models.backbones.resampling import bicubic
from lmk.models.backbones.transformer_layers import Tokens, rotary_angles
from lmk.models.device import computing_in
from lmk.models.folded import folded
from lmk.models.network import build_extractor, build_network
from lmk.models.pooling import POOLINGS
from lmk.models.recipe import Recipe, Stage
from lmk.models.recipe_files import find_recipe
from lmk.models.recipes import RECIPES
from lmk.pipeline.config import Config
from lmk.pipeline.fit import _ladders
from lmk.util.errors import LmkError

RNG = np.random.default_rng(8)
TINY = {
    "tinydinov2": Architecture("dinov2", 8, 2, 4, 3, depth=2),
    "tinydinov2registers": Architecture("dinov2", 8, 2, 4, 3, registers=2, depth=2),
    "tinydinov3": Architecture("dinov3", 8, 2, 4, registers=2, depth=2),
    "tinysiglip2": Architecture("siglip2", 8, 2, 4, 3, depth=2),
}
SIDE = 12
PHOTOS = RNG.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Backbones of two narrow blocks, each named as its family."""
    for name, found in TINY.items():
        monkeypatch.setitem(ARCHITECTURES, name, found)
        scaling = "tf" if found.family == "siglip2" else "torch"
        entry = Backbone(
            name, name, SIDE, scaling, 16, f"{name}/model.safetensors", 4, 4, provider="vision-transformer"
        )
        monkeypatch.setitem(BACKBONES, name, entry)


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def linear(tensors: dict, name: str, inside: int, outside: int, bias: bool = True) -> None:
    tensors[f"{name}.weight"] = draw(outside, inside)
    if bias:
        tensors[f"{name}.bias"] = draw(outside)


def norm(tensors: dict, name: str) -> None:
    tensors[f"{name}.weight"], tensors[f"{name}.bias"] = draw(8), draw(8)


def published(name: str) -> dict[str, np.ndarray]:
    """Tensors of a tiny network under the names and in the shapes of the published files, written out by hand."""
    found, tensors = TINY[name], {}
    family = found.family
    patches = {"dinov2": "patch_embeddings.projection", "dinov3": "patch_embeddings", "siglip2": "patch_embedding"}
    tensors[f"embeddings.{patches[family]}.weight"] = draw(8, 3, 4, 4)
    tensors[f"embeddings.{patches[family]}.bias"] = draw(8)
    if family != "siglip2":
        tensors["embeddings.cls_token"], tensors["embeddings.mask_token"] = draw(1, 1, 8), draw(1, 8)
    if found.registers:
        tensors["embeddings.register_tokens"] = draw(1, found.registers, 8)
    if family == "dinov2":
        tensors["embeddings.position_embeddings"] = draw(1, 10, 8)
        for block in ("encoder.layer.0", "encoder.layer.1"):
            for part in ("query", "key", "value"):
                linear(tensors, f"{block}.attention.attention.{part}", 8, 8)
            linear(tensors, f"{block}.attention.output.dense", 8, 8)
            linear(tensors, f"{block}.mlp.fc1", 8, 32)
            linear(tensors, f"{block}.mlp.fc2", 32, 8)
        norm(tensors, "layernorm")
    if family == "dinov3":
        for block in ("layer.0", "layer.1"):
            for part in "qkvo":
                linear(tensors, f"{block}.attention.{part}_proj", 8, 8, bias=part != "k")
            linear(tensors, f"{block}.mlp.up_proj", 8, 32)
            linear(tensors, f"{block}.mlp.down_proj", 32, 8)
        norm(tensors, "norm")
    if family != "siglip2":
        for block in ("encoder.layer" if family == "dinov2" else "layer",):
            for place in range(2):
                for half in "12":
                    norm(tensors, f"{block}.{place}.norm{half}")
                    tensors[f"{block}.{place}.layer_scale{half}.lambda1"] = draw(8)
        return tensors
    tensors["embeddings.position_embedding.weight"] = draw(9, 8)
    for block in ("encoder.layers.0", "encoder.layers.1"):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(tensors, f"{block}.self_attn.{part}", 8, 8)
        linear(tensors, f"{block}.mlp.fc1", 8, 32)
        linear(tensors, f"{block}.mlp.fc2", 32, 8)
        norm(tensors, f"{block}.layer_norm1")
        norm(tensors, f"{block}.layer_norm2")
    norm(tensors, "post_layernorm")
    norm(tensors, "head.layernorm")
    tensors["head.probe"] = draw(1, 1, 8)
    tensors["head.attention.in_proj_weight"], tensors["head.attention.in_proj_bias"] = draw(24, 8), draw(24)
    linear(tensors, "head.attention.out_proj", 8, 8)
    linear(tensors, "head.mlp.fc1", 8, 32)
    linear(tensors, "head.mlp.fc2", 32, 8)
    return tensors


def config_of(name: str) -> dict[str, object]:
    found = TINY[name]
    kind = {"dinov2": "dinov2", "dinov3": "dinov3_vit", "siglip2": "siglip_vision_model"}[found.family]
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
    if found.family == "dinov2" and found.registers:
        kind = "dinov2_with_registers"
    return {"model_type": kind} | sizes


def write_safetensors(path, tensors, dtype="F32"):
    """A file by the format's description."""
    header, parts, place = {"__metadata__": {"format": "pt"}}, [], 0
    for name, values in tensors.items():
        content = np.ascontiguousarray(values).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [place, place + len(content)]}
        parts.append(content)
        place += len(content)
    said = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(said)) + said + b"".join(parts))
    return path


def write_folder(folder, name, tensors=None, config=None):
    tensors = published(name) if tensors is None else tensors
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_of(name) if config is None else config))
    write_safetensors(folder / "model.safetensors", tensors)
    return tensors


def write_preset(folder, name, tensors):
    """The same network as KerasHub has it: arrays in groups by layers, in Keras' order of axes."""
    found, arrays = TINY[name], {}
    family = found.family
    root = "layers/sig_lip_vision_encoder/layers" if family == "siglip2" else "layers"
    embedding = f"{root}/{'sig_lip_vision' if family == 'siglip2' else family}_embedding"
    published = {
        "dinov2": ("embeddings.patch_embeddings.projection", "patch_embeddings/projection"),
        "dinov3": ("embeddings.patch_embeddings", "patch_embeddings/projection"),
        "siglip2": ("embeddings.patch_embedding", "patch_embedding"),
    }[family]
    arrays[f"{embedding}/{published[1]}/vars/0"] = tensors[f"{published[0]}.weight"].transpose(2, 3, 1, 0)
    arrays[f"{embedding}/{published[1]}/vars/1"] = tensors[f"{published[0]}.bias"]
    own = [tensors.get(f"embeddings.{part}") for part in ("cls_token", "mask_token", "register_tokens")]
    own += [tensors.get("embeddings.position_embeddings")] * 2  # the second is resampled to the preset's image
    if family == "siglip2":
        arrays[f"{embedding}/position_embedding/vars/0"] = tensors["embeddings.position_embedding.weight"]
        own = []
    for place, values in enumerate(values for values in own if values is not None):
        arrays[f"{embedding}/vars/{place}"] = values
    for place in range(2):
        _write_block(arrays, tensors, found, root, place)
    last = {"dinov2": "layernorm", "dinov3": "norm", "siglip2": "post_layernorm"}[family]
    norms = {f"{root}/layer_normalization": last}
    if family == "siglip2":
        head = f"{root}/sig_lip_multi_head_attention_pooling"
        norms[f"{head}/layer_norm"] = "head.layernorm"
        arrays[f"{head}/vars/0"] = tensors["head.probe"]
        whole = zip(("query", "key", "value"), np.split(tensors["head.attention.in_proj_weight"], 3), strict=True)
        for place, (part, weight) in enumerate(whole):
            arrays[f"{head}/attention/{part}_dense/vars/0"] = weight.T.reshape(8, 2, 4)
            bias = tensors["head.attention.in_proj_bias"][8 * place : 8 * place + 8]
            arrays[f"{head}/attention/{part}_dense/vars/1"] = bias.reshape(2, 4)
        output = tensors["head.attention.out_proj.weight"]
        arrays[f"{head}/attention/output_dense/vars/0"] = output.T.reshape(2, 4, 8)
        arrays[f"{head}/attention/output_dense/vars/1"] = tensors["head.attention.out_proj.bias"]
        for part in ("fc1", "fc2"):
            arrays[f"{head}/mlp/{part}/vars/0"] = tensors[f"head.mlp.{part}.weight"].T
            arrays[f"{head}/mlp/{part}/vars/1"] = tensors[f"head.mlp.{part}.bias"]
    for group, module in norms.items():
        arrays[f"{group}/vars/0"], arrays[f"{group}/vars/1"] = tensors[f"{module}.weight"], tensors[f"{module}.bias"]
    folder.mkdir(exist_ok=True)
    sizes = {"patch_size": 4, "num_layers": 2, "hidden_dim": 8, "num_heads": 2, "intermediate_dim": 32}
    kind = {"dinov2": "DINOV2Backbone", "dinov3": "DINOV3Backbone", "siglip2": "SigLIPBackbone"}[family]
    config = {"vision_encoder": {"config": sizes}} if family == "siglip2" else sizes
    (folder / "config.json").write_text(json.dumps({"class_name": kind, "config": config}))
    with h5py.File(folder / "model.weights.h5", "w") as file:
        for path, values in arrays.items():
            file[path] = values


def _write_block(arrays, tensors, found, root, place):
    family = found.family
    group = {
        "dinov2": "dinov2_encoder/layers/dinov2_layer",
        "dinov3": "dinov3_encoder/layers/dinov3_layer",
        "siglip2": "sig_lip_encoder_layer",
    }[family]
    group = f"{root}/{group}" + ("_1" if place else "")
    block = {"dinov2": "encoder.layer", "dinov3": "layer", "siglip2": "encoder.layers"}[family] + f".{place}"
    inside = {"dinov2": "attention/attention", "dinov3": "attention", "siglip2": "self_attn"}[family]
    letters = {"query": "q", "key": "k", "value": "v", "output": "o" if family == "dinov3" else "out"}
    for part, letter in letters.items():
        module = f"{block}.self_attn.{letter}_proj" if family == "siglip2" else f"{block}.attention.{letter}_proj"
        if family == "dinov2":
            module = f"{block}.attention." + ("output.dense" if part == "output" else f"attention.{part}")
        kernel, bias = tensors[f"{module}.weight"].T, tensors.get(f"{module}.bias")
        if family != "dinov3":
            kernel = kernel.reshape((2, 4, 8) if part == "output" else (8, 2, 4))
            bias = bias if part == "output" else bias.reshape(2, 4)
        arrays[f"{group}/{inside}/{part}_dense/vars/0"] = kernel
        if bias is not None:
            arrays[f"{group}/{inside}/{part}_dense/vars/1"] = bias
    for part in ("up_proj", "down_proj") if family == "dinov3" else ("fc1", "fc2"):
        arrays[f"{group}/mlp/{part}/vars/0"] = tensors[f"{block}.mlp.{part}.weight"].T
        arrays[f"{group}/mlp/{part}/vars/1"] = tensors[f"{block}.mlp.{part}.bias"]
    for half in "12":
        norm = f"layer_norm{half}" if family == "siglip2" else f"norm{half}"
        for place_, ending in enumerate(("weight", "bias")):
            arrays[f"{group}/{norm}/vars/{place_}"] = tensors[f"{block}.{norm}.{ending}"]
        if family != "siglip2":
            arrays[f"{group}/layer_scale{half}/vars/0"] = tensors[f"{block}.layer_scale{half}.lambda1"]


def slow_norm(x, tensors, name, epsilon):
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def slow_dense(x, tensors, name):
    return x @ tensors[f"{name}.weight"].T.astype(np.float64) + tensors.get(f"{name}.bias", 0)


def slow_gelu(x, by_tanh=False):
    if by_tanh:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def slow_attention(queries, keys, values, heads=2):
    """Each token of each head looked up by itself; arrays (n, width)."""
    out = np.zeros_like(queries)
    for head in range(heads):
        part = slice(head * queries.shape[1] // heads, (head + 1) * queries.shape[1] // heads)
        for token, query in enumerate(queries[:, part]):
            likeness = np.exp(keys[:, part] @ query / math.sqrt(len(query)))
            out[token, part] = likeness / likeness.sum() @ values[:, part]
    return out


def slow_turn(x, grid, prefix, heads=2):
    """Rotary positions, each pair of a head's channels as a complex number; (n, width)."""
    out, channels = x.copy(), x.shape[1] // heads
    for place in range(grid * grid):
        centres = [2 * (cell + 0.5) / grid - 1 for cell in divmod(place, grid)]
        for head in range(heads):
            for axis, centre in enumerate(centres):
                for step in range(channels // 4):
                    first = head * channels + axis * channels // 4 + step
                    angle = 2 * math.pi * centre / 100 ** (step / (channels / 4))
                    pair = complex(x[prefix + place, first], x[prefix + place, first + channels // 2])
                    turned = pair * complex(math.cos(angle), math.sin(angle))
                    out[prefix + place, first], out[prefix + place, first + channels // 2] = turned.real, turned.imag
    return out


def slow_network(name, tensors, photo):
    """The feature map (3, 3, 16) of one photo at the size of the learned positions, step by step."""
    found, family = TINY[name], TINY[name].family
    scaled = photo / 127.5 - 1 if family == "siglip2" else photo / 255 - np.array([0.485, 0.456, 0.406])
    scaled = scaled if family == "siglip2" else scaled / [0.229, 0.224, 0.225]
    kernel = next(values for key, values in tensors.items() if key.endswith("weight") and values.ndim == 4)
    bias = next(values for key, values in tensors.items() if "patch_embedding" in key and key.endswith("bias"))
    cells = [
        (kernel * scaled[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].transpose(2, 0, 1)).sum(axis=(1, 2, 3))
        for row in range(3)
        for column in range(3)
    ]
    x = np.array(cells) + bias
    if family == "siglip2":
        x = x + tensors["embeddings.position_embedding.weight"]
    else:
        first = tensors["embeddings.cls_token"][0]
        if family == "dinov2":
            positions = tensors["embeddings.position_embeddings"][0]
            first, x = first + positions[:1], x + positions[1:]
        x = np.concatenate([first, tensors.get("embeddings.register_tokens", np.zeros((1, 0, 8)))[0], x])
    epsilon = 1e-5 if family == "dinov3" else 1e-6
    for place in range(2):
        x = slow_block(x, tensors, found, place, epsilon)
    x = slow_norm(x, tensors, {"dinov2": "layernorm", "dinov3": "norm", "siglip2": "post_layernorm"}[family], epsilon)
    summary = slow_head(x, tensors) if family == "siglip2" else x[:1]
    patches = x[0 if family == "siglip2" else 1 + found.registers :]
    return np.concatenate([patches, np.repeat(summary, 9, axis=0)], axis=1).reshape(3, 3, 16)


def slow_block(x, tensors, found, place, epsilon):
    block = {"dinov2": "encoder.layer", "dinov3": "layer", "siglip2": "encoder.layers"}[found.family] + f".{place}"
    names = {
        "dinov2": [f"attention.attention.{part}" for part in ("query", "key", "value")]
        + ["attention.output.dense", "mlp.fc1", "mlp.fc2", "norm1", "norm2"],
        "dinov3": [f"attention.{part}_proj" for part in "qkvo"] + ["mlp.up_proj", "mlp.down_proj", "norm1", "norm2"],
        "siglip2": [f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
        + ["mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2"],
    }[found.family]
    query, key, value, project, fc1, fc2, norm1, norm2 = (f"{block}.{name}" for name in names)
    y = slow_norm(x, tensors, norm1, epsilon)
    queries, keys = slow_dense(y, tensors, query), slow_dense(y, tensors, key)
    if found.family == "dinov3":
        queries, keys = (slow_turn(part, 3, 1 + found.registers) for part in (queries, keys))
    y = slow_dense(slow_attention(queries, keys, slow_dense(y, tensors, value)), tensors, project)
    x = x + y * tensors.get(f"{block}.layer_scale1.lambda1", 1)
    y = slow_gelu(slow_dense(slow_norm(x, tensors, norm2, epsilon), tensors, fc1), found.family == "siglip2")
    return x + slow_dense(y, tensors, fc2) * tensors.get(f"{block}.layer_scale2.lambda1", 1)


def slow_head(x, tensors):
    """SigLIP's pooling, (1, 8)."""
    weights, biases = tensors["head.attention.in_proj_weight"], tensors["head.attention.in_proj_bias"]
    queries = tensors["head.probe"][0] @ weights[:8].T + biases[:8]
    keys, values = x @ weights[8:16].T + biases[8:16], x @ weights[16:].T + biases[16:]
    y = slow_dense(slow_attention(queries.astype(float), keys, values), tensors, "head.attention.out_proj")
    hidden = slow_dense(slow_norm(y, tensors, "head.layernorm", 1e-6), tensors, "head.mlp.fc1")
    return y + slow_dense(slow_gelu(hidden, by_tanh=True), tensors, "head.mlp.fc2")


@pytest.mark.networks  # also run on the other backends, see tests/test_backends.py
@pytest.mark.parametrize("name", TINY)
def test_a_published_folder_gives_what_its_definition_gives(name, tmp_path):
    tensors = write_folder(tmp_path, name)
    found = ops.convert_to_numpy(build_backbone(name, str(tmp_path), SIDE)(PHOTOS))
    expected = [slow_network(name, tensors, photo.astype(float)) for photo in PHOTOS]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    pooled = ops.convert_to_numpy(POOLINGS["average"]()(found))
    np.testing.assert_allclose(pooled[:, 8:], np.stack(expected)[:, 0, 0, 8:], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", TINY)
def test_a_preset_of_keras_hub_gives_what_the_published_folder_gives(name, tmp_path):
    write_preset(tmp_path / "preset", name, write_folder(tmp_path / "published", name))
    found = [
        build_backbone(name, str(tmp_path / part), 16)(np.ones((1, 16, 16, 3))) for part in ("preset", "published")
    ]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", ["class", "sizes", "array", "shape", "damaged"])
def test_a_preset_of_another_network_is_one_line(change, tmp_path):
    write_preset(tmp_path, "tinydinov2", published("tinydinov2"))
    config = json.loads((tmp_path / "config.json").read_text())
    if change == "class":
        config["class_name"] = "ViTBackbone"
    if change == "sizes":
        config["config"]["use_swiglu_ffn"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    norm = "layers/layer_normalization/vars/1"
    if change in ("array", "shape"):
        with h5py.File(tmp_path / "model.weights.h5", "a") as file:
            del file[norm]
            if change == "shape":
                file[norm] = np.zeros(5)
    if change == "damaged":
        content = (tmp_path / "model.weights.h5").read_bytes()
        (tmp_path / "model.weights.h5").write_bytes(content[: len(content) // 2])
    said = {
        "class": r"config\.json is of another network than tinydinov2: its class_name is 'ViTBackbone'",
        "sizes": r"config\.json is of another network than tinydinov2: its use_swiglu_ffn is True, not False",
        "array": rf"model\.weights\.h5 holds no tensor '{norm}'",
        "shape": rf"'{norm}' has the shape \(5,\), which does not fit \(8,\)",
        "damaged": r"model\.weights\.h5 cannot be read as weights",
    }[change]
    with pytest.raises(LmkError, match=said) as raised:
        build_backbone("tinydinov2", str(tmp_path), SIDE)
    assert "\n" not in str(raised.value)


def test_a_pytorch_file_is_read_as_kaggle_has_it(tmp_path):
    tensors = write_folder(tmp_path / "safe", "tinydinov2")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "config.json").write_text(json.dumps(config_of("tinydinov2")))
    write_tensors(tmp_path / "torch" / "pytorch_model.bin", tensors)
    found = [build_backbone("tinydinov2", str(tmp_path / part), SIDE)(PHOTOS) for part in ("safe", "torch")]
    np.testing.assert_array_equal(*found)


def test_weights_in_a_folder_are_listed_by_their_configuration(tmp_path):
    write_folder(tmp_path, "tinydinov3")
    write_folder(tmp_path / "tinydinov2", "tinydinov2")
    assert _backbones_in(tmp_path) == {
        "tinydinov2": "tinydinov2/model.safetensors",
        "tinydinov3": "model.safetensors",
    }
    assert [path.name for path in weight_files(tmp_path)] == ["config.json", "model.safetensors"]


def test_sizes_that_a_plan_may_lower_to_are_of_whole_patches():
    frozen = find_recipe("dinov2-base")
    assert _ladders(Config((frozen,)), {})["image_size"] == (224,)
    both = Config((frozen, find_recipe("mobilenet-gem")))
    assert _ladders(both, {})["image_size"] == (224, 256, 288, 320, 352)  # of which DINOv2 takes 224


def test_tensors_of_a_network_inside_another_are_found_by_their_prefix(tmp_path):
    tensors = published("tinysiglip2")
    write_folder(tmp_path / "own", "tinysiglip2", tensors)
    whole = {f"vision_model.{name}": values for name, values in tensors.items()}
    whole["text_model.embeddings.token_embedding.weight"] = draw(50, 8)
    config = {"model_type": "siglip", "text_config": {}, "vision_config": config_of("tinysiglip2")}
    write_folder(tmp_path / "whole", "tinysiglip2", whole, config)
    found = [build_backbone("tinysiglip2", str(tmp_path / part), SIDE)(PHOTOS) for part in ("own", "whole")]
    np.testing.assert_array_equal(*found)


def test_blocks_of_a_dinov3_of_today_lie_in_a_module_of_their_own(tmp_path):
    tensors = write_folder(tmp_path / "before", "tinydinov3")
    renamed = {f"model.{name}" if name.startswith("layer.") else name: values for name, values in tensors.items()}
    write_folder(tmp_path / "today", "tinydinov3", renamed)
    found = [build_backbone("tinydinov3", str(tmp_path / part), SIDE)(PHOTOS) for part in ("before", "today")]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("dinov2small", 22.056192),
        ("dinov2smallregisters", 22.057728),
        ("dinov3small", 21.59616),
    ],
)
def test_a_network_has_as_many_parameters_as_published(name, millions):
    """As counted by transformers 5.24 in the networks of these sizes, without the mask token of pretraining."""
    side = 3 * BACKBONES[name].stride
    network = network_of(build_backbone(name, image_size=side))
    assert network.count_params() == round(millions * 1e6)
    assert network.output_shape == (None, 3, 3, 768)


def test_resampling_to_the_same_size_changes_nothing():
    for antialias in (False, True):
        np.testing.assert_allclose(bicubic(5, 5, antialias), np.eye(5), atol=1e-6)


def test_positions_between_two_cells_are_by_hand():
    """From 2 cells to 4, centres lie at -0.25, 0.25, 0.75, 1.25; the cubic of slope -0.75 at 0.25, 0.75, 1.25, 1.75."""
    near, next_, far, last = 0.87890625, 0.26171875, -0.10546875, -0.03515625
    first = [[near + next_ + last, far], [near + far, next_ + last]]
    expected = [*first, *(row[::-1] for row in first[::-1])]
    np.testing.assert_allclose(bicubic(2, 4), expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [(37, 16), (37, 50), (14, 21)])
def test_resampling_keeps_a_constant_and_smoothed_a_slope(old, new):
    assert all(np.allclose(bicubic(old, new, smoothed).sum(axis=1), 1, atol=1e-5) for smoothed in (False, True))
    inner = slice(new // 3, new - new // 3)  # where no cell beyond the ends takes part
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    np.testing.assert_allclose((bicubic(old, new, True) @ np.arange(old))[inner], centres[inner], atol=0.05)


@pytest.mark.parametrize(("old", "new"), [(37, 50), (14, 21), (37, 16)])
def test_resampling_without_smoothing_is_opencv_s(old, new):
    row = RNG.normal(size=(1, old)).astype(np.float32)
    expected = cv2.resize(row, (new, 1), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(row @ bicubic(old, new).T, expected, atol=1e-4)


def test_positions_follow_the_size_of_the_image_and_the_weights_do_not():
    small, large = (network_of(build_backbone("tinydinov2", image_size=side)) for side in (SIDE, 20))
    assert [weights.shape for weights in small.get_weights()] == [weights.shape for weights in large.get_weights()]
    layer = Tokens(3, 0, False, False)
    layer.build((None, 5, 3, 2))
    grid = RNG.normal(size=(3, 3, 2)).astype(np.float32)
    layer.positions.assign(grid.reshape(1, 9, 2))
    found = ops.convert_to_numpy(layer(np.zeros((2, 5, 3, 2), np.float32))).reshape(2, 5, 3, 2)
    expected = np.einsum("ij,jkc->ikc", bicubic(3, 5), grid)
    np.testing.assert_allclose(found, [expected, expected], atol=1e-5)


def test_rotary_angles_are_odd_about_the_middle_of_the_image():
    angles = rotary_angles(3, 5, 8).reshape(3, 5, 8)
    np.testing.assert_allclose(angles[1, 2], 0, atol=1e-6)
    np.testing.assert_allclose(angles, -angles[::-1, ::-1], atol=1e-5)
    np.testing.assert_allclose(angles[0, 0, 0], 2 * math.pi * (-2 / 3), rtol=1e-5)


def test_images_that_are_not_of_whole_patches_are_one_line():
    with pytest.raises(LmkError, match="whole patches of 14 pixels: a side of 350 or 364, not 352"):
        build_backbone("dinov2base", image_size=352)
    with pytest.raises(LmkError, match=r"Recipe mine: dinov2base takes images of whole patches.*not 100"):
        Recipe("mine", "dinov2base", 100, (Stage(1, 0.1),), pooling="average")


def test_a_network_of_another_provider_is_one_line():
    with pytest.raises(LmkError, match="vgg16 is no vision transformer; there are dinov2small"):
        vision_transformer.build_network(BACKBONES["vgg16"], 224)


@pytest.mark.parametrize("change", ["absent", "shape", "block", "nan", "no patches"])
def test_tensors_of_another_network_are_one_line(change, tmp_path):
    tensors = published("tinydinov2")
    if change == "absent":
        del tensors["embeddings.cls_token"]
    elif change == "shape":
        tensors["embeddings.position_embeddings"] = draw(1, 17, 8)
    elif change == "block":
        del tensors["encoder.layer.1.mlp.fc2.bias"]
    elif change == "nan":
        tensors["layernorm.bias"][3] = np.nan
    else:
        tensors = {"weight": draw(3)}
    write_folder(tmp_path, "tinydinov2", tensors)
    said = {
        "absent": "holds no tensor 'embeddings.cls_token'",
        "shape": r"'embeddings.position_embeddings' has the shape \(1, 17, 8\), which does not fit \(1, 10, 8\)",
        "block": "holds no tensor 'encoder.layer.1.mlp.fc2.bias'",
        "nan": "not finite numbers",
        "no patches": "holds no tensor 'embeddings.patch_embeddings.projection.weight'",
    }[change]
    with pytest.raises(LmkError, match=rf"model\.safetensors.*{said}") as raised:
        build_backbone("tinydinov2", str(tmp_path), SIDE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "vit"}, "its model_type is 'vit', not 'dinov2'"),
        ([], "its model_type is None"),
        ({"model_type": "dinov2", "hidden_size": 384}, "its hidden_size is 384, not 8"),
        ({"model_type": "dinov2", "use_swiglu_ffn": True}, "its use_swiglu_ffn is True, not False"),
    ],
)
def test_a_configuration_of_another_network_is_one_line(config, said, tmp_path):
    write_folder(tmp_path, "tinydinov2", config=config)
    with pytest.raises(LmkError, match=rf"config\.json is of another network than tinydinov2: {said}"):
        build_backbone("tinydinov2", str(tmp_path), SIDE)


def test_a_folder_without_its_configuration_is_one_line(tmp_path):
    write_folder(tmp_path, "tinydinov2")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(LmkError, match=r"config\.json cannot be read as JSON"):
        build_backbone("tinydinov2", str(tmp_path), SIDE)
    (tmp_path / "config.json").unlink()
    with pytest.raises(LmkError, match=r"has no config\.json, which says what the weights beside it are of"):
        build_backbone("tinydinov2", str(tmp_path), SIDE)


def test_one_folder_may_hold_several_networks_each_in_its_own(tmp_path, monkeypatch):
    for name in ("tinydinov2", "tinydinov3"):
        write_folder(tmp_path / name, name)
        assert weights_file(name, str(tmp_path)) == tmp_path / name / "model.safetensors"
    assert weights_digest("tinydinov2", str(tmp_path)) != weights_digest("tinydinov3", str(tmp_path))
    assert BACKBONES["dinov2base"].weights_files[:2] == (
        "dinov2-base/model.safetensors",
        "dinov2-base/pytorch_model.bin",
    )


def test_weights_that_lmk_does_not_fetch_are_one_line_that_says_how():
    with pytest.raises(LmkError, match=r"weights of dinov2base are not fetched.*--weights.*dinov2-base/model\.safe"):
        weights_digest("dinov2base", "imagenet")


def test_a_file_that_keras_wrote_is_read(tmp_path):
    source = network_of(build_backbone("tinydinov3", image_size=SIDE))
    source.save_weights(tmp_path / "tinydinov3.weights.h5")
    loaded = network_of(build_backbone("tinydinov3", str(tmp_path), 20))  # of another size
    for one, other in zip(source.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", TINY)
def test_a_saved_transformer_predicts_the_same_when_loaded(name, tmp_path):
    model = build_backbone(name, image_size=16)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    photos = cv2.resize(PHOTOS[0], (16, 16))[None]
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(photos)), ops.convert_to_numpy(model(photos)))


def test_a_recipe_trains_all_of_a_transformer():
    keras.utils.set_random_seed(0)
    recipe = Recipe("mine", "tinydinov2registers", SIDE, (Stage(1, 0.1, train_from=0),), pooling="gem-signed", views=1)
    extractor = build_extractor(recipe, "none")
    before = network_of(extractor).get_layer("tokens").get_weights()
    np.testing.assert_allclose(folded(extractor).predict_on_batch(PHOTOS), extractor(PHOTOS), rtol=1e-4, atol=1e-4)
    whole = build_network(recipe, extractor, 3).whole()
    set_trainable(extractor, 0)
    whole.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    whole.train_on_batch(PHOTOS, np.array([0, 1]))
    after = network_of(extractor).get_layer("tokens").get_weights()
    assert len(after) == 4 and all((one != other).any() for one, other in zip(before, after, strict=True))
    set_trainable(extractor, None)
    assert not network_of(extractor).trainable_weights


@pytest.mark.parametrize("name", TINY)
def test_mixed_precision_keeps_positions_and_the_mean_of_tokens_in_full(name, tmp_path):
    write_folder(tmp_path, name)
    recipe = Recipe("mine", name, 16, (Stage(1, 0.1),), pooling="average", views=1)
    photos = np.stack([cv2.resize(photo, (16, 16)) for photo in PHOTOS])
    full = ops.convert_to_numpy(build_extractor(recipe, str(tmp_path))(photos))
    with computing_in("mixed_bfloat16"):
        mixed = build_extractor(recipe, str(tmp_path))
    found = mixed(photos)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    assert network_of(mixed).get_layer("tokens").compute_dtype == "float32"
    assert network_of(mixed).get_layer("block1_fc1").compute_dtype == "bfloat16"
    found = ops.convert_to_numpy(found)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(full, axis=1)
    assert ((found * full).sum(axis=1) / lengths > 0.99).all()


def test_signed_gem_is_the_mean_at_one_keeps_signs_and_nears_the_largest():
    features = np.array([[[[1.0, -3.0, 2.0]], [[2.0, 1.0, -2.0]]]], np.float32)  # (1, 2, 1, 3)
    for p, expected in ((1.0, [1.5, -1.0, 0.0]), (3.0, [4.5 ** (1 / 3), -(13 ** (1 / 3)), 0.0])):
        layer = POOLINGS["gem-signed"](p=p)
        np.testing.assert_allclose(ops.convert_to_numpy(layer(features)), [expected], rtol=1e-4, atol=1e-4)
    positive = np.abs(draw(2, 3, 3, 4)) + 0.1
    np.testing.assert_allclose(POOLINGS["gem-signed"]()(positive), POOLINGS["gem"]()(positive), rtol=1e-4)


def test_a_pooling_that_drops_negative_features_is_refused_for_a_transformer():
    for pooling in ("gem", "gem-channels"):
        with pytest.raises(LmkError, match=f"`{pooling}` drops negative features.*`average` or `gem-signed`"):
            Recipe("mine", "dinov2base", 224, (Stage(1, 0.1),), pooling=pooling)


def test_every_recipe_of_a_transformer_says_that_it_is_not_measured():
    names = [name for name, recipe in RECIPES.items() if BACKBONES[recipe.backbone].transformer]
    assert {"dinov2-base", "dinov2-base-tuned"} <= set(names)
    assert all("not measured" in find_recipe(name).about for name in names)
