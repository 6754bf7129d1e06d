"""Layers of vision transformers that Keras lacks; tokens are (batch, tokens, width), those of patches row by row."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from lmk.models.backbones.architectures import ROTARY_BASE
from lmk.models.backbones.resampling import bicubic
from lmk.models.device import full_precision

SPREAD = 0.02
"""Standard deviation of tokens and positions without pretrained weights, as the papers draw them."""


@keras.saving.register_keras_serializable("lmk")
class Tokens(keras.layers.Layer):
    """Embedded patches (b, height, width, channels) to tokens: the class token, registers, then the patches.

    Learned positions, of a square grid, are added to the class token and the patches; for another size of the image
    they are resampled by a bicubic, in full precision.

    Args:
        grid: Patches along a side of the learned positions; None: there are none.
        registers: Tokens between the class token and the patches, without positions.
        class_token: Whether there is one.
        antialias: Whether a smaller grid is smoothed, see `bicubic`.
    """

    def __init__(self, grid: int | None, registers: int, class_token: bool, antialias: bool, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)
        self.grid, self.registers, self.class_token, self.antialias = grid, registers, class_token, antialias

    def build(self, input_shape):
        rows, columns, width = input_shape[1:]

        def add(name: str, count: int):
            initializer = keras.initializers.TruncatedNormal(stddev=SPREAD)
            return self.add_weight(shape=(1, count, width), initializer=initializer, name=name)

        self.first = add("class_token", 1) if self.class_token else None
        self.first_position = add("class_position", 1) if self.class_token and self.grid else None
        self.extra = add("register_tokens", self.registers) if self.registers else None
        self.positions = None
        if self.grid is not None:
            self.positions = add("positions", self.grid**2)
            self.resampling = [
                None if cells == self.grid else bicubic(self.grid, cells, self.antialias) for cells in (rows, columns)
            ]

    def call(self, patches):
        tokens = ops.reshape(patches, (-1, patches.shape[1] * patches.shape[2], patches.shape[3]))
        if self.positions is not None:
            tokens = tokens + self._resampled()
        prefix = []
        if self.first is not None:
            first = ops.convert_to_tensor(self.first)
            prefix.append(first if self.first_position is None else first + self.first_position)
        if self.extra is not None:
            prefix.append(ops.convert_to_tensor(self.extra))
        each = ops.zeros_like(tokens[:, :1])  # one for each photo, whatever the batch
        return ops.concatenate([*(part + each for part in prefix), tokens], axis=1)

    def _resampled(self):
        """The positions of the patches, (1, height * width, channels)."""
        found = ops.reshape(self.positions, (self.grid, self.grid, -1))
        for axis, weights in enumerate(self.resampling):
            if weights is not None:
                found = ops.moveaxis(ops.tensordot(ops.convert_to_tensor(weights), found, axes=(1, axis)), 0, axis)
        return ops.reshape(found, (1, found.shape[0] * found.shape[1], -1))

    def get_config(self):
        own = {"grid": self.grid, "registers": self.registers, "class_token": self.class_token}
        return super().get_config() | own | {"antialias": self.antialias}


@keras.saving.register_keras_serializable("lmk")
class Attention(keras.layers.Layer):
    """Scaled dot products of several heads (Vaswani et al., arXiv:1706.03762).

    Queries (b, n, width), keys and values (b, m, width) to (b, n, width); the heads' channels follow one another.
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, queries, keys, values):
        attended = ops.dot_product_attention(*(split_heads(part, self.heads) for part in (queries, keys, values)))
        return ops.reshape(attended, (-1, *queries.shape[1:]))

    def get_config(self):
        return super().get_config() | {"heads": self.heads}


def split_heads(tokens, heads: int):
    """Tokens (b, n, width) as (b, n, heads, width / heads)."""
    return ops.reshape(tokens, (-1, tokens.shape[1], heads, tokens.shape[2] // heads))


@keras.saving.register_keras_serializable("lmk")
class Rotary(keras.layers.Layer):
    """Rotary positions of patches (Su et al., arXiv:2104.09864) on two axes, as DINOv3 has them.

    Queries or keys (b, tokens, width) to the same; each head's channels turn in pairs by angles that grow with the
    patch's row and column, which are in [-1, 1] whatever the size of the image.

    Args:
        heads: Attention heads.
        prefix: Tokens before the patches, which do not turn.
        grid: Rows and columns of patches.
    """

    def __init__(self, heads: int, prefix: int, grid: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.heads, self.prefix = heads, prefix
        self.rows, self.columns = grid  # a list where it comes from a file

    def call(self, tokens):
        split = split_heads(tokens, self.heads)
        angles = np.pad(rotary_angles(self.rows, self.columns, split.shape[-1]), [(self.prefix, 0), (0, 0)])[:, None]
        cosines, sines = (ops.convert_to_tensor(part, dtype=tokens.dtype) for part in (np.cos(angles), np.sin(angles)))
        first, second = ops.split(split, 2, axis=-1)
        turned = split * cosines + ops.concatenate([-second, first], axis=-1) * sines
        return ops.reshape(turned, (-1, *tokens.shape[1:]))

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "prefix": self.prefix, "grid": (self.rows, self.columns)}


def rotary_angles(rows: int, columns: int, channels: int) -> np.ndarray:
    """(rows * columns, channels) float32, the angles in radians by which a head's channels turn at each patch.

    A quarter of the channels turn by the row and a quarter by the column, at 2 pi times a centre in [-1, 1] divided by
    periods from 1 to `ROTARY_BASE`; the other half is the second number of each pair.
    """
    centres = [2 * (np.arange(cells) + 0.5) / cells - 1 for cells in (rows, columns)]
    places = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    frequencies = ROTARY_BASE ** -(np.arange(channels // 4) / (channels / 4))
    return np.tile((2 * np.pi * places * frequencies).reshape(rows * columns, -1), 2).astype(np.float32)


@keras.saving.register_keras_serializable("lmk")
class LayerScale(keras.layers.Layer):
    """A learned factor for each channel (Touvron et al., arXiv:2103.17239)."""

    def build(self, input_shape):
        self.factors = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factors")

    def call(self, tokens):
        return tokens * self.factors


@keras.saving.register_keras_serializable("lmk")
class Probe(keras.layers.Layer):
    """A learned query for each photo: tokens (b, n, width), of which only the batch counts, to (b, 1, width)."""

    def build(self, input_shape):
        initializer = keras.initializers.TruncatedNormal(stddev=SPREAD)
        self.probe = self.add_weight(shape=(1, 1, input_shape[-1]), initializer=initializer, name="probe")

    def call(self, tokens):
        return ops.zeros_like(tokens[:, :1]) + self.probe


@keras.saving.register_keras_serializable("lmk")
class TokenMap(keras.layers.Layer):
    """Tokens (b, tokens, width) to a feature map (b, rows, columns, 2 * width).

    A cell has its patch's token and the summary of the photo, which all cells share: the first token, or a summary
    (b, 1, width) that is given. So the mean over the cells is the mean of the patches beside the summary, by which
    DINOv2's authors classify frozen features.

    Args:
        prefix: Tokens before the patches.
        grid: Rows and columns of patches.
    """

    def __init__(self, prefix: int, grid: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.prefix, self.grid = prefix, tuple(grid)

    def call(self, tokens, summary=None):
        patches = tokens[:, self.prefix :]
        summary = tokens[:, :1] if summary is None else summary
        cells = ops.concatenate([patches, summary + ops.zeros_like(patches)], axis=-1)
        return ops.reshape(cells, (-1, *self.grid, cells.shape[-1]))

    def get_config(self):
        return super().get_config() | {"prefix": self.prefix, "grid": self.grid}


@keras.saving.register_keras_serializable("lmk")
def gelu_by_tanh(x):
    """The approximation of GELU by a hyperbolic tangent, which SigLIP was trained with."""
    return keras.activations.gelu(x, approximate=True)
