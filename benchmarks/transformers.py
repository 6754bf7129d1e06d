"""Vision transformers beside transformers and KerasHub: the same random weights, read by lmk, give the same tokens.

Each network is built by the package at its published sizes, its weights are drawn anew (norms, biases, positions and
layer scales, too), and it is saved as the package publishes networks. lmk reads the folder on each backend that is
installed. Rows have the least cosine over all tokens of the photos, and the largest difference as a share of the
tokens' standard deviation. The packages and torch are no dependencies of lmk: run it in an environment that has them.

    python -m benchmarks.transformers --json
    python -m benchmarks.transformers --package keras_hub --json
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show
from lmk.models.backbones.architectures import ARCHITECTURES, ROTARY_BASE, Architecture
from lmk.models.backbones.catalogue import BACKBONES

BACKENDS = ("tensorflow", "jax", "torch")
PHOTOS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.transformers`."""
    options = parser("transformers", __doc__)
    options.add_argument("--network", action="append", choices=ARCHITECTURES, help="all without")
    options.add_argument("--backend", action="append", choices=BACKENDS, help="all that are installed without")
    options.add_argument("--package", choices=("transformers", "keras_hub"), default="transformers")
    options.add_argument("--read", nargs=3, metavar=("NETWORK", "SIDE", "FOLDER"), help="part of a run: see `_read`")
    words = options.parse_args(arguments)
    if words.read:
        _read(*words.read)
        return
    backends = words.backend or [name for name in BACKENDS if importlib.util.find_spec(name)]
    rows = []
    for network in words.network or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            published = _by_transformers if words.package == "transformers" else _by_keras_hub
            for side in published(network, Path(folder)):
                expected = np.load(Path(folder, f"{side}.npy"))
                for backend in backends:
                    found = _by_lmk(network, side, Path(folder), backend)
                    rows.append({"network": network, "side": side, "backend": backend} | _compared(found, expected))
    show({"package": words.package, "least_cosine": min(row["cosine"] for row in rows), "rows": rows}, words.json)


def _by_transformers(network: str, folder: Path) -> Iterator[int]:
    """Save the network by transformers with drawn weights; its tokens at two sizes, `SIDE.npy`. Gives the sizes."""
    import torch
    import transformers

    torch.manual_seed(0)
    found = ARCHITECTURES[network]
    model = _model(transformers, found).eval()
    for name, values in model.named_parameters():
        draw = torch.randn(values.shape)
        spread = 0.02 if values.ndim > 1 and "weight" in name and "position" not in name else 0.3
        with torch.no_grad():
            values.copy_((1.0 if "norm" in name and name.endswith("weight") else 0.0) + spread * draw)
    model.save_pretrained(folder)
    for side in _sides(found):
        scaled = torch.from_numpy(_scaled(network, side)).permute(0, 3, 1, 2)
        options = {"interpolate_pos_encoding": True} if found.family == "siglip2" else {}
        with torch.no_grad():
            out = model(scaled, **options)
        summary = out.last_hidden_state[:, 0] if found.class_token else out.pooler_output
        tokens = torch.cat([summary[:, None], out.last_hidden_state[:, found.prefix :]], dim=1)
        np.save(folder / f"{side}.npy", tokens.numpy())
        yield side


def _model(transformers, found: Architecture):
    """The network as transformers has it."""
    sizes = {
        "hidden_size": found.width,
        "num_hidden_layers": found.depth,
        "num_attention_heads": found.heads,
        "patch_size": found.patch,
    }
    if found.family == "siglip2":
        config = transformers.SiglipVisionConfig(**sizes, intermediate_size=4 * found.width, image_size=224)
        return transformers.SiglipVisionModel(config)
    if found.family == "dinov3":
        config = transformers.DINOv3ViTConfig(
            **sizes, intermediate_size=4 * found.width, num_register_tokens=found.registers, rope_theta=ROTARY_BASE
        )
        return transformers.DINOv3ViTModel(config)
    if found.registers:
        config = transformers.Dinov2WithRegistersConfig(**sizes, image_size=518, num_register_tokens=found.registers)
        return transformers.Dinov2WithRegistersModel(config)
    return transformers.Dinov2Model(transformers.Dinov2Config(**sizes, image_size=518))


def _sides(found: Architecture) -> tuple[int, int]:
    """The size that positions are learned at, and another one."""
    return (518, 224) if found.patch == 14 else (224, 336)


def _photos(side: int) -> np.ndarray:
    return np.random.default_rng(side).integers(0, 256, (PHOTOS, side, side, 3), np.uint8)


def _scaled(network: str, side: int) -> np.ndarray:
    """The photos as the network's preprocessor scales them, float32."""
    photos = _photos(side).astype(np.float32) / 255
    if BACKBONES[network].scaling == "tf":
        return (photos - np.float32(0.5)) / np.float32(0.5)
    return (photos - np.float32((0.485, 0.456, 0.406))) / np.float32((0.229, 0.224, 0.225))


def _by_keras_hub(network: str, folder: Path) -> Iterator[int]:
    """The same by KerasHub under torch, at the size that positions are learned at."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import keras_hub

    found, side = ARCHITECTURES[network], _sides(ARCHITECTURES[network])[0]
    model, tokens = _of_keras_hub(keras_hub.models, found, side)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        spread = 0.02 if variable.name == "kernel" else 0.3
        if keras.backend.is_float_dtype(variable.dtype) and variable.shape:
            variable.assign((variable.name == "gamma") + spread * rng.standard_normal(variable.shape))
    if found.family == "dinov2":
        embedding = model.embeddings
        embedding.interpolated_position_embeddings.assign(embedding.position_embeddings)
    model.save_to_preset(str(folder))
    out = [keras.ops.convert_to_numpy(part) for part in tokens(_scaled(network, side))]
    summary = out[-1].reshape(PHOTOS, -1, found.width)[:, :1]  # SigLIP's, or the first of all tokens
    np.save(folder / f"{side}.npy", np.concatenate([summary, out[0][:, found.prefix :]], axis=1))
    yield side


def _of_keras_hub(models, found: Architecture, side: int):
    """The backbone as KerasHub has it, and a model from pixels to the tokens and what has their summary."""
    import keras

    sizes = {
        "hidden_dim": found.width,
        "num_layers": found.depth,
        "num_heads": found.heads,
        "patch_size": found.patch,
        "intermediate_dim": 4 * found.width,
        "image_shape": (side, side, 3),
    }
    if found.family == "siglip2":
        tower = models.SigLIPVisionEncoder(**sizes)
        small = {"vocabulary_size": 50, "embedding_dim": 8, "hidden_dim": 8, "num_layers": 1, "num_heads": 2}
        text = models.SigLIPTextEncoder(**small, intermediate_dim=16, projection_dim=found.width)
        tokens = keras.Model(tower.input, [tower.post_layer_norm.output, tower.output])
        return models.SigLIPBackbone(tower, text), tokens
    if found.family == "dinov2":
        model = models.DINOV2Backbone(
            **sizes, num_register_tokens=found.registers, position_embedding_shape=(518, 518, 3)
        )
    else:
        model = models.DINOV3Backbone(**sizes, num_register_tokens=found.registers, use_key_bias=False)
    return model, keras.Model(model.input, [model.output, model.output])


def _by_lmk(network: str, side: int, folder: Path, backend: str) -> np.ndarray:
    """The tokens by lmk on a backend, in a process of its own: the summary, then the patches."""
    command = [sys.executable, "-m", "benchmarks.transformers", "--read", network, str(side), str(folder)]
    subprocess.run(command, check=True, env=os.environ | {"KERAS_BACKEND": backend}, stdout=subprocess.DEVNULL)
    return np.load(folder / "found.npy")


def _read(network: str, side: str, folder: str) -> None:
    """Write lmk's tokens of the photos to `found.npy` in the folder."""
    import keras

    from lmk.models.backbones.build import build_backbone
    from lmk.models.start import settle_keras

    settle_keras()

    model = build_backbone(network, folder, int(side))
    cells = keras.ops.convert_to_numpy(model(_photos(int(side))))
    patches, summary = np.split(cells.reshape(PHOTOS, -1, cells.shape[-1]), 2, axis=-1)
    np.save(Path(folder, "found.npy"), np.concatenate([summary[:, :1], patches], axis=1))


def _compared(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    other = (expected[0] * expected[1]).sum(axis=-1) / np.prod(np.linalg.norm(expected, axis=-1), axis=0)
    return {
        "cosine": float(((found * expected).sum(axis=-1) / lengths).min()),
        "difference": float(np.abs(found - expected).max() / expected.std()),
        "cosine_between_photos": float(np.median(other)),
    }


if __name__ == "__main__":
    main()
