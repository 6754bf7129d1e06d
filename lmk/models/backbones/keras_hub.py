"""Weights of vision transformers from a preset of KerasHub: `config.json` and `model.weights.h5`.

Groups of the file follow the layers of the networks of `keras_hub` (DINOV2Backbone, DINOV3Backbone, SigLIPBackbone:
https://github.com/keras-team/keras-hub); nothing of that package is loaded. SigLIP's text tower is left out.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import keras

from lmk.models.backbones.architectures import Architecture, check_config
from lmk.models.backbones.hugging_face import assign_rows, refuse_infinite
from lmk.models.backbones.weights import check_tree
from lmk.util.errors import LmkError, is_of_the_machine, reason_of

PRESET = "model.weights.h5"

ROOT = {"dinov2": "layers", "dinov3": "layers", "siglip2": "layers/sig_lip_vision_encoder/layers"}
"""Group of the network, by family."""
EMBEDDING = {"dinov2": "dinov2_embedding", "dinov3": "dinov3_embedding", "siglip2": "sig_lip_vision_embedding"}
PATCHES = {"dinov2": "patch_embeddings/projection", "dinov3": "patch_embeddings/projection"}
BLOCKS = {
    "dinov2": "dinov2_encoder/layers/dinov2_layer",
    "dinov3": "dinov3_encoder/layers/dinov3_layer",
    "siglip2": "sig_lip_encoder_layer",
}
"""Group of the first block; a number follows in the others."""
ATTENTION = {"dinov2": "attention/attention", "dinov3": "attention", "siglip2": "self_attn"}
HIDDEN = {
    "dinov2": ("mlp/fc1", "mlp/fc2"),
    "dinov3": ("mlp/up_proj", "mlp/down_proj"),
    "siglip2": ("mlp/fc1", "mlp/fc2"),
}
HEAD = "sig_lip_multi_head_attention_pooling"

Stored = Iterator[tuple[str, tuple[int, ...], list[keras.Variable]]]
"""Arrays of a file: name, shape, and the variables that share its rows in order."""


def load_preset(network: keras.Model, path: Path, found: Architecture, backbone: str) -> None:
    """Read a preset's `model.weights.h5`, beside which `config.json` lies, into a network.

    backbone: Its name, for errors.

    Raises:
        LmkError: A file is absent, damaged or of another network.
    """
    check_config(found, path.parent, backbone)
    try:
        with h5py.File(path) as file:
            check_tree(file)
            arrays: dict[str, h5py.Dataset] = {}
            file.visititems(lambda name, entry: _keep(arrays, name, entry))
            for name, shape, variables in _stored(network, found, arrays):
                assign_rows(arrays, name, shape, variables, path)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        if is_of_the_machine(error):
            raise
        raise LmkError(f"{path} cannot be read as weights ({reason_of(error)}). Fetch or copy it again.") from error
    refuse_infinite(network, path)


def _keep(arrays: dict[str, h5py.Dataset], name: str, entry: h5py.Group | h5py.Dataset) -> None:
    """Keep an entry that is an array of floats."""
    if isinstance(entry, h5py.Dataset) and entry.dtype.kind == "f":
        arrays[name] = entry


def _stored(network: keras.Model, found: Architecture, arrays: dict[str, h5py.Dataset]) -> Stored:
    """All arrays of the network."""
    root = ROOT[found.family]
    embedding = f"{root}/{EMBEDDING[found.family]}"
    patches = PATCHES.get(found.family, "patch_embedding")
    yield from _layer(network, "patches", f"{embedding}/{patches}", (found.patch, found.patch, 3, found.width))
    yield from _tokens(network, found, embedding, arrays)
    for place in range(found.depth):
        block = f"{root}/{BLOCKS[found.family]}" + (f"_{place}" if place else "")
        yield from _attention(network, found, f"block{place}", f"{block}/{ATTENTION[found.family]}")
        yield from _hidden(network, found, f"block{place}", block, *HIDDEN[found.family])
        for half in "12":
            norm = "layer_norm" if found.family == "siglip2" else "norm"
            yield from _layer(network, f"block{place}_norm{half}", f"{block}/{norm}{half}", (found.width,))
            if found.layer_scale:
                factors = network.get_layer(f"block{place}_scale{half}").factors
                yield f"{block}/layer_scale{half}/vars/0", (found.width,), [factors]
    yield from _layer(network, "norm", f"{root}/layer_normalization", (found.width,))
    if found.family == "siglip2":
        yield from _attention(network, found, "head", f"{root}/{HEAD}/attention")
        yield from _hidden(network, found, "head", f"{root}/{HEAD}", *HIDDEN[found.family])
        yield from _layer(network, "head_norm", f"{root}/{HEAD}/layer_norm", (found.width,))
        yield f"{root}/{HEAD}/vars/0", (1, 1, found.width), [network.get_layer("head_probe").probe]


def _tokens(network: keras.Model, found: Architecture, embedding: str, arrays: dict[str, h5py.Dataset]) -> Stored:
    """The class token, a mask token in some files, registers, and positions, with DINOv2 once more as resampled."""
    tokens, width = network.get_layer("tokens"), found.width
    if found.family == "siglip2":
        assert found.grid is not None
        yield f"{embedding}/position_embedding/vars/0", (found.grid**2, width), [tokens.positions]
        return
    own = f"{embedding}/vars/"
    count = sum(name.startswith(own) for name in arrays)
    place = count - (found.registers > 0) - 2 * (found.grid is not None)  # what comes after the mask token
    yield f"{own}0", (1, 1, width), [tokens.first]
    if found.registers:
        yield f"{own}{place}", (1, found.registers, width), [tokens.extra]
        place += 1
    if found.grid is not None:
        yield f"{own}{place}", (1, 1 + found.grid**2, width), [tokens.first_position, tokens.positions]


def _attention(network: keras.Model, found: Architecture, layer: str, group: str) -> Stored:
    """Queries, keys, values and what projects them; each head's channels have an axis of their own but in DINOv3."""
    width, heads = found.width, (found.heads, found.width // found.heads)
    for part in ("query", "key", "value"):
        inside = (width, width) if found.family == "dinov3" else (width, *heads)
        yield from _layer(network, f"{layer}_{part}", f"{group}/{part}_dense", inside, inside[1:])
    outside = (width, width) if found.family == "dinov3" else (*heads, width)
    yield from _layer(network, f"{layer}_project", f"{group}/output_dense", outside)


def _hidden(network: keras.Model, found: Architecture, layer: str, group: str, first: str, second: str) -> Stored:
    width = network.get_layer(f"{layer}_fc1").units
    yield from _layer(network, f"{layer}_fc1", f"{group}/{first}", (found.width, width))
    yield from _layer(network, f"{layer}_fc2", f"{group}/{second}", (width, found.width))


def _layer(
    network: keras.Model, layer: str, group: str, shape: tuple[int, ...], second: tuple[int, ...] | None = None
) -> Stored:
    """A layer's kernel or scale, of that shape in the file, and its bias, of shape `second` (the last axis)."""
    for place, variable in enumerate(network.get_layer(layer).weights):
        yield f"{group}/vars/{place}", (second or shape[-1:]) if place else shape, [variable]
