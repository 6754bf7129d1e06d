"""LightGlue: matches of two photos' local features by a transformer that sees both photos at once.

Lindenberger et al., ICCV 2023 (arXiv:2306.13643); LighterGlue, its small form for XFeat: Potje et al., CVPR 2024
(arXiv:2404.19174). Weights are those that their authors publish, PyTorch files. All layers run on all features: the
early exit and the pruning of the published code save time where a pair is easy, but make a pair's time and shapes
depend on the photos, which batches cannot have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from lmk.local.features import LocalFeatures
from lmk.local.glue import Matcher
from lmk.models.device import full_precision, has_gpu, jit_for_device
from lmk.models.torch_weights import assign_tensors
from lmk.util.errors import LmkError
from lmk.util.torch_files import read_torch

LEAST_PROBABILITY = 0.1
"""Probability from which on a match counts, as published."""
EPSILON = 1e-5
"""Epsilon of layer normalization: PyTorch's default."""
HIDDEN = -1e9
"""Added to the logits of features that are padding."""
STEP = 256
"""Features are padded to a multiple of it, so that few shapes are compiled."""
GPU_PAIRS = 32
"""Pairs that a GPU gets at once; a CPU is as fast with one."""


def matcher(weights: Path) -> Matcher:
    """Matcher of pairs of photos by a published file of weights.

    Raises:
        LmkError: The weights are damaged or of another network.
    """
    network = load_network(weights)
    network.compile(jit_compile=jit_for_device())
    size = GPU_PAIRS if has_gpu() else 1

    def match(pairs: Sequence[tuple[LocalFeatures, LocalFeatures]]) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for start in range(0, len(pairs), size):
            part = list(pairs[start : start + size])
            batch = part + [part[-1]] * (size - len(part))  # the same shape for every batch
            nearest, scores = (ops.convert_to_numpy(out) for out in network.predict_on_batch(padded(batch)))
            found += [matches_of(nearest[row], scores[row]) for row in range(len(part))]
        return found

    return match


def matches_of(nearest: np.ndarray, scores: np.ndarray, least: float = LEAST_PROBABILITY) -> np.ndarray:
    """Matches (k, 2) int, rows of both photos, the surest first, from what the network gives for a pair."""
    rows = np.flatnonzero(scores > least)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return np.column_stack([rows, nearest[rows]]).astype(int)


def padded(pairs: Sequence[tuple[LocalFeatures, LocalFeatures]]) -> dict[str, np.ndarray]:
    """The network's inputs of pairs of photos with features in any number."""
    most = max(1, *(len(photo) for pair in pairs for photo in pair))
    width, dimensions = -(-most // STEP) * STEP, pairs[0][0].descriptors.shape[1]
    places = np.zeros((len(pairs), 2, width, 2), np.float32)
    descriptors = np.zeros((len(pairs), 2, width, dimensions), np.float32)
    real = np.zeros((len(pairs), 2, width), np.float32)
    for row, pair in enumerate(pairs):
        for side, photo in enumerate(pair):
            sides = np.array(photo.size, np.float32)
            places[row, side, : len(photo)] = (photo.locations - sides / 2) / (sides.max() / 2)
            descriptors[row, side, : len(photo)] = photo.descriptors
            real[row, side, : len(photo)] = 1
    return {"places": places, "descriptors": descriptors, "real": real}


def load_network(weights: Path, rounds: int | None = None) -> keras.Model:
    """The network of a published file, its sizes read off the tensors.

    Args:
        weights: The file.
        rounds: The first so many rounds alone, after each of which the weights know how to assign; None for all.

    Raises:
        LmkError: The file is damaged or of another network.
    """
    tensors = _renamed(read_torch(weights))
    count = len({name.split(".")[1] for name in tensors if name.startswith("transformers.")})
    projection, frequencies = tensors.get("input_proj.weight"), tensors.get("posenc.Wr.weight")
    if not count or projection is None or projection.ndim != 2 or frequencies is None or not len(frequencies):
        raise LmkError(f"{weights} holds no LightGlue that lmk knows.")
    width, dimensions = projection.shape
    network = build_network(dimensions, width, width // (2 * len(frequencies)), rounds or count)
    named = {layer.name: layer for layer in network.layers if layer.weights}
    assign_tensors(named, tensors, weights)
    return network


def build_network(dimensions: int, width: int, heads: int, rounds: int) -> keras.Model:
    """The untrained network.

    Args:
        dimensions: Numbers of a descriptor.
        width: Numbers of a feature inside the network.
        heads: Attention heads.
        rounds: Number of rounds of attention within each photo and across both.

    Returns:
        A model from `places` (b, 2, n, 2), in which the longest side of a photo spans [-1, 1] around its middle,
        `descriptors` (b, 2, n, dimensions) and `real` (b, 2, n), 1 for a feature and 0 for padding, to the feature of
        the second photo that each of the first matches, (b, n) int32, and the match's probability (b, n) in [0, 1], 0
        where the two are not each other's best.
    """
    places = keras.Input((2, None, 2), name="places")
    descriptors = keras.Input((2, None, dimensions), name="descriptors")
    real = keras.Input((2, None), name="real")
    x = descriptors
    if dimensions != width:
        x = keras.layers.Dense(width, name="input_proj")(x)
    turns = keras.layers.Dense(width // heads // 2, use_bias=False, dtype=full_precision(), name="posenc.Wr")(places)
    for layer in range(rounds):
        name = f"transformers.{layer}.self_attn"
        joined = keras.layers.Dense(3 * width, name=f"{name}.Wqkv")(x)
        message = SelfAttention(heads, name=f"{name}.attention")([joined, turns, real])
        message = keras.layers.Dense(width, name=f"{name}.out_proj")(message)
        x = _updated(x, message, name)
        name = f"transformers.{layer}.cross_attn"
        keys = keras.layers.Dense(width, name=f"{name}.to_qk")(x)
        values = keras.layers.Dense(width, name=f"{name}.to_v")(x)
        message = CrossAttention(heads, name=f"{name}.attention")([keys, values, real])
        message = keras.layers.Dense(width, name=f"{name}.to_out")(message)
        x = _updated(x, message, name)
    name = f"log_assignment.{rounds - 1}"
    full = full_precision()
    likely = keras.layers.Dense(1, dtype=full, name=f"{name}.matchability")(x)
    x = keras.layers.Dense(width, dtype=full, name=f"{name}.final_proj")(x)
    nearest, scores = Assignment(dtype=full, name="assignment")([x, likely, real])
    return keras.Model([places, descriptors, real], [nearest, scores], name="lightglue")


def _updated(x, message, name: str):
    """Features with what a message changes of them."""
    width = x.shape[-1]
    y = keras.layers.Concatenate(name=f"{name}.join")([x, message])
    y = keras.layers.Dense(2 * width, name=f"{name}.ffn.0")(y)
    y = keras.layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.ffn.1")(y)
    y = keras.layers.Activation("gelu", name=f"{name}.ffn.2")(y)
    y = keras.layers.Dense(width, name=f"{name}.ffn.3")(y)
    return keras.layers.Add(name=f"{name}.add")([x, y])


class _Attention(keras.layers.Layer):
    """Attention with so many heads; features that are padding are not attended to."""

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def attend(self, queries, keys, values, real):
        """Messages (b, 2, n, h d) of queries, keys and values (b, 2, h, n, d)."""
        logits = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) * queries.shape[-1] ** -0.5
        logits = logits + ops.cast((1 - real) * HIDDEN, logits.dtype)[:, :, None, None]
        found = ops.matmul(ops.softmax(logits, axis=-1), values)
        batch, _, _, count, size = ops.shape(found)
        return ops.reshape(ops.transpose(found, (0, 1, 3, 2, 4)), (batch, 2, count, self.heads * size))

    def split(self, x):
        """(b, 2, n, h d) to (b, 2, h, n, d)."""
        batch, _, count, width = ops.shape(x)
        return ops.transpose(ops.reshape(x, (batch, 2, count, self.heads, width // self.heads)), (0, 1, 3, 2, 4))

    def get_config(self):
        return super().get_config() | {"heads": self.heads}


@keras.saving.register_keras_serializable("lmk")
class SelfAttention(_Attention):
    """Attention within each photo: queries, keys and values (b, 2, n, 3 h d), the three side by side for each number of
    a head, angles (b, 2, n, d / 2) by which pairs of a query's and a key's numbers are rotated (rotary encoding, Su et
    al., arXiv:2104.09864), and `real` (b, 2, n), to messages (b, 2, n, h d)."""

    def call(self, inputs):
        joined, turns, real = inputs
        batch, _, count, width = ops.shape(joined)
        joined = ops.reshape(joined, (batch, 2, count, self.heads, width // (3 * self.heads), 3))
        queries, keys, values = (ops.transpose(joined[..., part], (0, 1, 3, 2, 4)) for part in range(3))
        cosines, sines = (ops.cast(wave(turns), joined.dtype)[:, :, None] for wave in (ops.cos, ops.sin))
        return self.attend(rotated(queries, cosines, sines), rotated(keys, cosines, sines), values, real)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], input_shape[0][-1] // 3)


@keras.saving.register_keras_serializable("lmk")
class CrossAttention(_Attention):
    """Attention from each photo to the other: keys, which are the queries, too, and values, both (b, 2, n, h d), and
    `real` (b, 2, n), to messages (b, 2, n, h d)."""

    def call(self, inputs):
        keys, values, real = inputs
        keys, values = self.split(keys), self.split(values)
        return self.attend(keys, ops.flip(keys, axis=1), ops.flip(values, axis=1), ops.flip(real, axis=1))

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable("lmk")
class Assignment(keras.layers.Layer):
    """Projected features (b, 2, n, d), logits that a feature has a match (b, 2, n, 1) and `real` (b, 2, n) to the
    assignment of the first photo's features, see `build_network`."""

    def call(self, inputs):
        x, likely, real = inputs
        x = x / x.shape[-1] ** 0.25
        similarity = ops.matmul(x[:, 0], ops.swapaxes(x[:, 1], -1, -2))
        hidden = (1 - real) * HIDDEN
        similarity = similarity + hidden[:, 0, :, None] + hidden[:, 1, None, :]
        certain = ops.log_sigmoid(likely[..., 0]) + hidden
        scores = ops.log_softmax(similarity, axis=2) + ops.log_softmax(similarity, axis=1)
        scores = scores + certain[:, 0, :, None] + certain[:, 1, None, :]
        nearest, back = ops.argmax(scores, axis=2), ops.argmax(scores, axis=1)
        own = ops.arange(ops.shape(scores)[1], dtype=back.dtype)
        mutual = ops.take_along_axis(back, nearest, axis=1) == own
        probability = ops.where(mutual, ops.exp(ops.max(scores, axis=2)), 0.0)
        return ops.cast(nearest, "int32"), probability

    def compute_output_spec(self, inputs):
        batch, _, count, _ = inputs[0].shape
        return keras.KerasTensor((batch, count), "int32"), keras.KerasTensor((batch, count), self.compute_dtype)


def rotated(x, cosines, sines):
    """Pairs of neighbouring numbers of x (..., n, d) rotated by angles whose cosines and sines are (..., n, d / 2)."""
    *shape, width = ops.shape(x)
    even, odd = x[..., ::2], x[..., 1::2]
    turned = ops.stack([even * cosines - odd * sines, odd * cosines + even * sines], axis=-1)
    return ops.reshape(turned, (*shape, width))


def _renamed(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors by the names of the published module; older files number attentions, LighterGlue's hold XFeat, too."""
    own = any(name.startswith("matcher.") for name in tensors)
    found = {}
    for name, values in tensors.items():
        if own and not name.startswith("matcher."):
            continue
        name = re.sub(r"^(self_attn|cross_attn)\.(\d+)\.", r"transformers.\2.\1.", name.removeprefix("matcher."))
        found[name] = values
    return found
