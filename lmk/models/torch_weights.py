"""Tensors of PyTorch networks, given to Keras layers of the same shape in Keras' order of axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from lmk.util.errors import LmkError

CONVOLUTION = (2, 3, 1, 0)
"""Axes from (out, in, height, width) to (height, width, in, out)."""
DEPTHWISE = (2, 3, 0, 1)
"""Axes from (channels, multiplier, height, width) to (height, width, channels, multiplier); the multiplier is 1."""


def assign_tensors(layers: Mapping[str, keras.layers.Layer], tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Give each layer its tensors.

    Args:
        layers: By the name that the PyTorch module has in the file, as `block1.0.conv`. Convolutions, dense layers,
            batch and layer normalization are known.
        tensors: By name, as `read_torch` gives them; what belongs to no layer is left out.
        path: Where they are from, for the error.

    Raises:
        LmkError: A tensor is absent or of another shape.
    """
    for module, layer in layers.items():
        for ending, variable, axes in _parts(layer):
            name = f"{module}.{ending}"
            if name not in tensors:
                raise LmkError(f"{path} holds no tensor '{name}': it is of another network than {layer.name} is of.")
            values = tensors[name] if axes is None else tensors[name].transpose(_known(axes, tensors[name], name, path))
            if values.shape != tuple(variable.shape):
                raise LmkError(
                    f"{path}: '{name}' has the shape {tensors[name].shape}, which does not fit "
                    f"{tuple(variable.shape)}: it is of another network."
                )
            variable.assign(values)


def _known(axes: tuple[int, ...], values: np.ndarray, name: str, path: Path) -> tuple[int, ...]:
    if values.ndim != len(axes):
        raise LmkError(f"{path}: '{name}' has {values.ndim} axes, not {len(axes)}: it is of another network.")
    return axes


def _parts(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.Variable, tuple[int, ...] | None]]:
    """Ending of a tensor's name, the layer's variable, and the order of axes; None where both have the same."""
    if isinstance(layer, keras.layers.BatchNormalization):
        if layer.scale:
            yield "weight", layer.gamma, None
            yield "bias", layer.beta, None
        yield "running_mean", layer.moving_mean, None
        yield "running_var", layer.moving_variance, None
        return
    if isinstance(layer, keras.layers.LayerNormalization):
        yield "weight", layer.gamma, None
        yield "bias", layer.beta, None
        return
    axes = {keras.layers.Conv2D: CONVOLUTION, keras.layers.DepthwiseConv2D: DEPTHWISE, keras.layers.Dense: (1, 0)}
    yield "weight", layer.kernel, axes[type(layer)]
    if layer.use_bias:
        yield "bias", layer.bias, None
