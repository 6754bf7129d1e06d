"""Vision transformers by name: their sizes, and whether a published configuration is of one; nothing here loads Keras.

DINOv2: arXiv:2304.07193; with registers: arXiv:2309.16588; DINOv3: arXiv:2508.10104; SigLIP 2: arXiv:2502.14786.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmk.util.errors import LmkError, quoted, reason_of

Family = Literal["dinov2", "dinov3", "siglip2"]

MLP_RATIO = 4
"""Width of a block's hidden layer, as a multiple of the tokens' width."""
ROTARY_BASE = 100.0
"""Base of the periods of DINOv3's rotary positions."""
PRESETS = {"dinov2": "DINOV2Backbone", "dinov3": "DINOV3Backbone", "siglip2": "SigLIPBackbone"}
"""Classes of KerasHub by family."""
CONFIG = "config.json"
MOST_CONFIG = 10_000_000
"""Bytes of a configuration at the most."""


@dataclass(frozen=True)
class Architecture:
    """A vision transformer's sizes.

    Attributes:
        family: What its tokens and blocks are like.
        width: Numbers of a token.
        heads: Attention heads of a block.
        patch: Side of a patch in pixels.
        grid: Patches along a side of the learned positions; None: positions are rotary.
        registers: Tokens beside the class token that say nothing of one place.
        depth: Blocks.
    """

    family: Family
    width: int
    heads: int
    patch: int
    grid: int | None = None
    registers: int = 0
    depth: int = 12

    @property
    def class_token(self) -> bool:
        """Whether it has a class token; SigLIP's image tower summarises its tokens by attention in its place."""
        return self.family != "siglip2"

    @property
    def prefix(self) -> int:
        """Tokens before those of the patches."""
        return self.registers + self.class_token

    @property
    def epsilon(self) -> float:
        """Epsilon of layer normalization, as the weights were trained."""
        return 1e-5 if self.family == "dinov3" else 1e-6

    @property
    def layer_scale(self) -> bool:
        """Whether each channel of a block's two parts has a learned factor (arXiv:2103.17239)."""
        return self.family != "siglip2"

    @property
    def key_bias(self) -> bool:
        """Whether keys have a bias."""
        return self.family != "dinov3"

    @property
    def antialias(self) -> bool:
        """Whether positions are smoothed where a smaller grid is taken: those of DINOv2 with registers are."""
        return self.family == "dinov2" and self.registers > 0

    @property
    def model_types(self) -> tuple[str, ...]:
        """What `model_type` may be in a configuration of Hugging Face."""
        if self.family == "siglip2":
            return ("siglip_vision_model", "siglip")
        if self.family == "dinov3":
            return ("dinov3_vit",)
        return ("dinov2_with_registers",) if self.registers else ("dinov2",)

    def macs(self, side: int) -> float:
        """Multiply-adds of one pass over an image of `side` pixels."""
        patches = (side // self.patch) ** 2
        tokens = patches + self.prefix
        block = (4 + 2 * MLP_RATIO) * tokens * self.width**2 + 2 * tokens**2 * self.width
        return patches * 3 * self.patch**2 * self.width + self.depth * block


ARCHITECTURES: dict[str, Architecture] = {
    "dinov2small": Architecture("dinov2", 384, 6, 14, 37),
    "dinov2base": Architecture("dinov2", 768, 12, 14, 37),
    "dinov2smallregisters": Architecture("dinov2", 384, 6, 14, 37, registers=4),
    "dinov2baseregisters": Architecture("dinov2", 768, 12, 14, 37, registers=4),
    "dinov3small": Architecture("dinov3", 384, 6, 16, registers=4),
    "dinov3base": Architecture("dinov3", 768, 12, 16, registers=4),
    "siglip2base": Architecture("siglip2", 768, 12, 16, 14),
}
"""Architectures by the names of the backbones."""


def check_config(architecture: Architecture, folder: Path, name: str) -> None:
    """Read `config.json` of a folder as Hugging Face or KerasHub writes it; `name` is the backbone's, for the error.

    Keys that a file leaves out have the value that the architecture has; they do in the published files.

    Raises:
        LmkError: There is none, it cannot be read, or it is of another network.
    """
    path = folder / CONFIG
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(MOST_CONFIG))
    except FileNotFoundError:
        raise LmkError(
            f"{folder} has no {CONFIG}, which says what the weights beside it are of. Copy it from where they are from."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise LmkError(f"{path} cannot be read as JSON ({reason_of(error)}). Fetch or copy it again.") from error
    for key, found, wanted in _differences(architecture, config if isinstance(config, dict) else {}):
        raise LmkError(f"{path} is of another network than {name}: its {key} is {quoted(found)}, not {quoted(wanted)}.")


def _differences(architecture: Architecture, config: dict) -> Iterator[tuple[str, object, object]]:
    """Each key of a configuration that has another value than the architecture: key, found, wanted."""
    kind, kinds = "model_type", architecture.model_types
    if "class_name" in config:
        kind, kinds = "class_name", (PRESETS[architecture.family],)
        inner, wanted = config.get("config"), _wanted_of_preset(architecture)
        if architecture.family == "siglip2":
            for key in ("vision_encoder", "config"):
                inner = inner.get(key) if isinstance(inner, dict) else None
    else:
        inner = config.get("vision_config", {}) if config.get(kind) == "siglip" else config
        wanted = _wanted(architecture)
    if config.get(kind) not in kinds:
        yield kind, config.get(kind), kinds[0]
    for key, value in wanted.items():
        found = inner.get(key, value) if isinstance(inner, dict) else None
        if found != value:
            yield key, found, value


def _wanted_of_preset(architecture: Architecture) -> dict[str, object]:
    """What a configuration of KerasHub says of the architecture, where it says anything."""
    epsilon = "layer_norm_epsilon" if architecture.family == "siglip2" else "layer_norm_eps"
    return {
        "hidden_dim": architecture.width,
        "num_layers": architecture.depth,
        "num_heads": architecture.heads,
        "patch_size": architecture.patch,
        "intermediate_dim": MLP_RATIO * architecture.width,
        "num_register_tokens": architecture.registers,
        "use_swiglu_ffn": False,
        "use_gated_mlp": False,
        "use_query_bias": True,
        "use_key_bias": architecture.key_bias,
        "use_value_bias": True,
        "use_proj_bias": True,
        "use_mlp_bias": True,
        "hidden_activation": "gelu",
        "intermediate_activation": "gelu_approximate",
        "rope_theta": ROTARY_BASE,
        epsilon: architecture.epsilon,
    }


def _wanted(architecture: Architecture) -> dict[str, object]:
    """What a configuration says of the architecture, where it says anything."""
    wanted: dict[str, object] = {
        "hidden_size": architecture.width,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.heads,
        "patch_size": architecture.patch,
        "layer_norm_eps": architecture.epsilon,
        "mlp_ratio": MLP_RATIO,
        "intermediate_size": MLP_RATIO * architecture.width,
        "hidden_act": "gelu_pytorch_tanh" if architecture.family == "siglip2" else "gelu",
        "num_channels": 3,
        "qkv_bias": True,
        "use_swiglu_ffn": False,
        "use_gated_mlp": False,
        "query_bias": True,
        "key_bias": architecture.key_bias,
        "value_bias": True,
        "proj_bias": True,
        "mlp_bias": True,
        "rope_theta": ROTARY_BASE,
        "num_register_tokens": architecture.registers,
    }
    return wanted if architecture.grid is None else wanted | {"image_size": architecture.grid * architecture.patch}
