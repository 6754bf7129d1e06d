"""Weights of vision transformers from a folder as Hugging Face publishes them: `config.json` and one file of tensors.

Names of tensors are those of the networks of `transformers` (Dinov2Model, Dinov2WithRegistersModel, DINOv3ViTModel,
SiglipVisionModel: https://github.com/huggingface/transformers); nothing of that package is loaded. A file may hold
more, such as a classifier, a mask token or SigLIP's text tower, which are left out.
"""

from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from lmk.models.backbones.architectures import Architecture, check_config
from lmk.models.torch_weights import assign_tensors
from lmk.util.errors import LmkError
from lmk.util.safetensors_files import read_safetensors
from lmk.util.torch_files import read_torch

Tensors = Mapping[str, np.ndarray]

PATCHES = {
    "dinov2": "embeddings.patch_embeddings.projection",
    "dinov3": "embeddings.patch_embeddings",
    "siglip2": "embeddings.patch_embedding",
}
"""Module that embeds patches, by family. A network inside another has a prefix before it."""
BLOCKS = {"dinov2": "encoder.layer", "dinov3": "layer", "siglip2": "encoder.layers"}
NORM = {"dinov2": "layernorm", "dinov3": "norm", "siglip2": "post_layernorm"}
PARTS = {
    "dinov2": {
        **{part: f"attention.attention.{part}" for part in ("query", "key", "value")},
        **{"project": "attention.output.dense", "norm1": "norm1", "norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"},
    },
    "dinov3": {
        **{"query": "attention.q_proj", "key": "attention.k_proj", "value": "attention.v_proj"},
        **{"project": "attention.o_proj", "norm1": "norm1", "norm2": "norm2"},
        **{"fc1": "mlp.up_proj", "fc2": "mlp.down_proj"},
    },
    "siglip2": {
        **{"query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj"},
        **{"project": "self_attn.out_proj", "norm1": "layer_norm1", "norm2": "layer_norm2"},
        **{"fc1": "mlp.fc1", "fc2": "mlp.fc2"},
    },
}
"""Modules of a block by the end of the layer's name."""
HEAD = {"head_project": "attention.out_proj", "head_norm": "layernorm", "head_fc1": "mlp.fc1", "head_fc2": "mlp.fc2"}
"""Modules of SigLIP's pooling by layer; queries, keys and values are one tensor."""
HEAD_PARTS = ("query", "key", "value")


def load_published(network: keras.Model, path: Path, found: Architecture, backbone: str) -> None:
    """Read `model.safetensors` or `pytorch_model.bin`, beside which `config.json` lies, into a network.

    backbone: Its name, for errors.

    Raises:
        LmkError: A file is absent, damaged or of another network.
    """
    check_config(found, path.parent, backbone)
    tensors: Tensors = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    anchor = f"{PATCHES[found.family]}.weight"
    prefixes = [name.removesuffix(anchor) for name in tensors if name.endswith(anchor)]
    if not prefixes:
        raise LmkError(f"{path} holds no tensor '{anchor}': it is of another network than {backbone} is of.")
    prefix = min(prefixes, key=len)
    if found.family == "siglip2":
        tensors = ChainMap(_split_head(tensors, prefix, found.width, path), tensors)  # type: ignore[arg-type]
    assign_tensors(_layers(network, found, prefix, tensors), tensors, path)
    for name, shape, variables in _variables(network, found, prefix, tensors):
        assign_rows(tensors, name, shape, variables, path)
    refuse_infinite(network, path)


def refuse_infinite(network: keras.Model, path: Path) -> None:
    """Check what was read from a file.

    Raises:
        LmkError: A number is infinite or none.
    """
    if not all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in network.weights):
        raise LmkError(f"{path} holds weights that are not finite numbers. Fetch or copy it again.")


def _layers(network: keras.Model, found: Architecture, prefix: str, tensors: Tensors) -> dict[str, keras.layers.Layer]:
    """Layers that Keras has by the names of their modules."""
    names = {"patches": f"{prefix}{PATCHES[found.family]}", "norm": f"{prefix}{NORM[found.family]}"}
    for place, module in enumerate(_blocks(found, prefix, tensors)):
        names |= {f"block{place}_{part}": f"{module}.{inner}" for part, inner in PARTS[found.family].items()}
    if found.family == "siglip2":
        names |= {layer: f"{prefix}head.{module}" for layer, module in HEAD.items()}
        names |= {f"head_{part}": _head_part(prefix, part) for part in HEAD_PARTS}
    return {module: network.get_layer(layer) for layer, module in names.items()}


def _blocks(found: Architecture, prefix: str, tensors: Tensors) -> Iterator[str]:
    """Modules of the blocks; those of DINOv3 lie in a module of their own since transformers 5."""
    blocks = f"{prefix}{BLOCKS[found.family]}"
    if found.family == "dinov3" and f"{blocks}.0.norm1.weight" not in tensors:
        blocks = f"{prefix}model.{BLOCKS[found.family]}"
    return (f"{blocks}.{place}" for place in range(found.depth))


def _variables(
    network: keras.Model, found: Architecture, prefix: str, tensors: Tensors
) -> Iterator[tuple[str, tuple[int, ...], list[keras.Variable]]]:
    """Tensors of lmk's own layers: name, shape in the file, and the variables that share the rows of the last but one
    axis, in order."""
    tokens, embeddings, width = network.get_layer("tokens"), f"{prefix}embeddings", found.width
    if found.class_token:
        yield f"{embeddings}.cls_token", (1, 1, width), [tokens.first]
    if found.registers:
        yield f"{embeddings}.register_tokens", (1, found.registers, width), [tokens.extra]
    if found.family == "dinov2" and found.grid:
        yield (
            f"{embeddings}.position_embeddings",
            (1, 1 + found.grid**2, width),
            [tokens.first_position, tokens.positions],
        )
    if found.family == "siglip2" and found.grid:
        yield f"{embeddings}.position_embedding.weight", (found.grid**2, width), [tokens.positions]
        yield f"{prefix}head.probe", (1, 1, width), [network.get_layer("head_probe").probe]
    if found.layer_scale:
        for place, module in enumerate(_blocks(found, prefix, tensors)):
            for part in ("1", "2"):
                factors = network.get_layer(f"block{place}_scale{part}").factors
                yield f"{module}.layer_scale{part}.lambda1", (width,), [factors]


def assign_rows(
    tensors: Tensors, name: str, shape: tuple[int, ...], variables: list[keras.Variable], path: Path
) -> None:
    """Give variables the rows of the last axis of a tensor, one after the other.

    Args:
        tensors: By name.
        name, shape: The tensor's; numbers are read only where the shape is right.
        variables: Together as large as the tensor.
        path: Where it is from, for the error.

    Raises:
        LmkError: The tensor is absent or of another shape.
    """
    values = _tensor(tensors, name, shape, path).reshape(-1, shape[-1])
    ends = np.cumsum([np.prod(variable.shape) // shape[-1] for variable in variables])
    for variable, part in zip(variables, np.split(values, ends[:-1]), strict=True):
        variable.assign(part.reshape(variable.shape))


def _split_head(tensors: Tensors, prefix: str, width: int, path: Path) -> dict[str, np.ndarray]:
    """Queries', keys' and values' weights of SigLIP's pooling, which a file holds as one tensor."""
    found: dict[str, np.ndarray] = {}
    for ending, shape in (("weight", (3 * width, width)), ("bias", (3 * width,))):
        whole = _tensor(tensors, f"{prefix}head.attention.in_proj_{ending}", shape, path)
        found |= {
            f"{_head_part(prefix, part)}.{ending}": rows
            for part, rows in zip(HEAD_PARTS, np.split(whole, 3), strict=True)
        }
    return found


def _head_part(prefix: str, part: str) -> str:
    return f"{prefix}head.attention.in_proj.{part}"


def _tensor(tensors: Tensors, name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """A tensor of that shape.

    Raises:
        LmkError: It is absent or of another shape.
    """
    if name not in tensors:
        raise LmkError(f"{path} holds no tensor '{name}': it is of another network.")
    found = tensors[name]
    if found.shape != shape:
        raise LmkError(
            f"{path}: '{name}' has the shape {found.shape}, which does not fit {shape}: it is of another network, or "
            "of one for images of another size."
        )
    return np.asarray(found)
