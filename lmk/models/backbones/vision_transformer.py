"""DINOv2, DINOv3 and SigLIP 2's image tower in plain Keras: the provider `vision-transformer`.

Vision transformers (Dosovitskiy et al., arXiv:2010.11929) with the norm before each part of a block. Papers and sizes:
`architectures`. An image is square, of whole patches. Weights are read from folders as Hugging Face and KerasHub have
them.
"""

from pathlib import Path

import keras

from lmk.models.backbones import weights
from lmk.models.backbones.architectures import ARCHITECTURES, MLP_RATIO, Architecture
from lmk.models.backbones.catalogue import Backbone
from lmk.models.backbones.hugging_face import load_published
from lmk.models.backbones.keras_hub import PRESET, load_preset
from lmk.models.backbones.transformer_layers import (
    Attention,
    LayerScale,
    Probe,
    Rotary,
    TokenMap,
    Tokens,
    gelu_by_tanh,
)
from lmk.util.errors import LmkError

SCALING = None
"""The catalogue says how a network wants its pixels."""


def build_network(backbone: Backbone, image_size: int | None) -> keras.Model:
    """The untrained network: scaled pixels (b, side, side, 3) to (b, side / patch, side / patch, 2 * width).

    A cell has its patch's token after the last norm, and the class token, or SigLIP's summary: see `TokenMap`. Without
    an image size the side is the backbone's own.

    Raises:
        LmkError: The backbone is no vision transformer.
    """
    found = ARCHITECTURES.get(backbone.name)
    if found is None:
        raise LmkError(f"{backbone.name} is no vision transformer; there are {', '.join(ARCHITECTURES)}.")
    side = image_size or backbone.image_size
    grid = (side // found.patch, side // found.patch)
    images = keras.Input((side, side, 3), name="pixels_scaled")
    x = keras.layers.Conv2D(found.width, found.patch, found.patch, name="patches")(images)
    x = Tokens(found.grid, found.registers, found.class_token, found.antialias, name="tokens")(x)
    for place in range(found.depth):
        x = _block(x, f"block{place}", found, grid)
    x = _norm(x, "norm", found)
    parts = (x,) if found.class_token else (x, _summary(x, found))
    return keras.Model(images, TokenMap(found.prefix, grid, name="map")(*parts), name=backbone.name)


def load_weights(network: keras.Model, path: Path, backbone: Backbone) -> None:
    """Read a published file, beside which its configuration lies, or a file that Keras wrote.

    Raises:
        LmkError: The file is damaged or holds another network.
    """
    if path.name == PRESET:
        load_preset(network, path, ARCHITECTURES[backbone.name], backbone.name)
    elif path.suffix in (".h5", ".keras"):
        weights.load_weights(network, path, backbone.name, backbone.weights_files[0])
    else:
        load_published(network, path, ARCHITECTURES[backbone.name], backbone.name)


def _block(x, name: str, found: Architecture, grid: tuple[int, int]):
    """Attention among all tokens, then a hidden layer for each, both added to what came in."""
    y = _norm(x, f"{name}_norm1", found)
    queries = keras.layers.Dense(found.width, name=f"{name}_query")(y)
    keys = keras.layers.Dense(found.width, use_bias=found.key_bias, name=f"{name}_key")(y)
    if found.grid is None:
        queries = Rotary(found.heads, found.prefix, grid, name=f"{name}_query_turned")(queries)
        keys = Rotary(found.heads, found.prefix, grid, name=f"{name}_key_turned")(keys)
    values = keras.layers.Dense(found.width, name=f"{name}_value")(y)
    y = Attention(found.heads, name=f"{name}_attention")(queries, keys, values)
    y = keras.layers.Dense(found.width, name=f"{name}_project")(y)
    x = _add(x, y, f"{name}_scale1", found)
    return _add(x, _hidden(x, name, "norm2", found), f"{name}_scale2", found)


def _hidden(x, name: str, norm: str, found: Architecture):
    """A norm, and a hidden layer for each token."""
    y = keras.layers.Dense(MLP_RATIO * found.width, name=f"{name}_fc1")(_norm(x, f"{name}_{norm}", found))
    y = keras.layers.Activation(gelu_by_tanh if found.family == "siglip2" else "gelu", name=f"{name}_gelu")(y)
    return keras.layers.Dense(found.width, name=f"{name}_fc2")(y)


def _summary(tokens, found: Architecture):
    """SigLIP's pooling: attention of one learned query to all tokens, and a hidden layer, (b, 1, width)."""
    probe = Probe(name="head_probe")(tokens)
    queries, keys, values = (
        keras.layers.Dense(found.width, name=f"head_{part}")(source)
        for part, source in (("query", probe), ("key", tokens), ("value", tokens))
    )
    x = Attention(found.heads, name="head_attention")(queries, keys, values)
    x = keras.layers.Dense(found.width, name="head_project")(x)
    return keras.layers.Add(name="head_add")([x, _hidden(x, "head", "norm", found)])


def _add(x, y, scale: str, found: Architecture):
    """Tokens and what a part of a block adds to them."""
    if found.layer_scale:
        y = LayerScale(name=scale)(y)
    return keras.layers.Add(name=f"{scale}_add")([x, y])


def _norm(x, name: str, found: Architecture):
    return keras.layers.LayerNormalization(epsilon=found.epsilon, name=name)(x)
