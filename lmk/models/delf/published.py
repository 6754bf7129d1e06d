"""Published DELF weights: a folder with a SavedModel of TensorFlow 1 and the files of its PCA.

The names come from the published source of the model and its documentation. This was never run on a published file:
none could be had where it was written. What it expects:

    FOLDER/variables/variables.index, .data-00000-of-...   (or FOLDER/model/variables/...)
    FOLDER/pca/mean.datum, pca_proj_mat.datum, and pca_vars.datum where it whitens

Variables: `resnet_v1_50/conv1/weights`, `resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights` and so on, each with
`BatchNorm/gamma`, `beta`, `moving_mean`, `moving_variance` beside its `weights`; and of attention
`attention_block/attention/compute/conv1/...` alike and `.../conv2/weights`, `.../conv2/biases`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import keras
import numpy as np

from lmk.local.pca import Pca
from lmk.models.delf.files import published_pca, variables_of
from lmk.models.delf.network import DelfNetwork, build_attention
from lmk.models.delf.receptive import receptive_fields
from lmk.models.delf.slim_resnet import SCOPE, slim_resnet50
from lmk.models.device import computing_in, full_precision
from lmk.util.errors import LmkError

ATTENTION = "attention_block/attention/compute"
STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")


def build_published(policy: str | None = None) -> DelfNetwork:
    """The network of the published weights, before they are read: ResNet-50 to the end of its third block.

    policy: Keras' dtype policy in which it computes; that of the device if None.
    """
    with computing_in(policy):
        cut = slim_resnet50()
        images = keras.Input((None, None, 3), name="images")
        features = cut(keras.layers.Rescaling(1 / 128, offset=-1, dtype=full_precision(), name="pixels")(images))
        model = keras.Model(images, features, name="backbone")
        return DelfNetwork(model, build_attention(features.shape[-1]), receptive_fields(cut))


def load_published(folder: Path, dimensions: int = 40, policy: str | None = None) -> tuple[DelfNetwork, Pca]:
    """The network with its published weights, and its PCA.

    Args:
        folder: As above.
        dimensions: Dimensions kept; the published matrix has all.
        policy: As `build_published` takes it.

    Raises:
        LmkError: A file is absent or damaged, or a variable is absent or has another shape.
    """
    found = import_module("lmk.models.delf.checkpoint_tensorflow").read_checkpoint(variables_of(folder))
    network = build_published(policy)
    for variable, name in names_of(network):
        value = found.get(name)
        if value is None:
            raise LmkError(f"{folder} holds no variable '{name}'. Is it a DELF model of TensorFlow 1?")
        if tuple(variable.shape) != value.shape:
            raise LmkError(f"{folder}: '{name}' has the shape {value.shape}, not {tuple(variable.shape)}.")
        variable.assign(value)
    return network, published_pca(folder, dimensions)


def names_of(network: DelfNetwork) -> Iterator[tuple[keras.Variable, str]]:
    """Each variable of the network with the name that it is published under."""
    cut = next(layer for layer in network.backbone.layers if isinstance(layer, keras.Model))
    for layer in cut.layers:
        if layer.weights:
            yield from _named(layer, f"{SCOPE}/{layer.name.replace('.', '/')}")
    scopes = {"attention_conv1": "conv1", "attention_norm": "conv1/BatchNorm", "attention_conv2": "conv2"}
    for layer in network.attention.layers:
        if layer.weights:
            yield from _named(layer, f"{ATTENTION}/{scopes[layer.name]}")


def _named(layer: keras.layers.Layer, scope: str) -> Iterator[tuple[keras.Variable, str]]:
    ends = STATISTICS if isinstance(layer, keras.layers.BatchNormalization) else ("weights", "biases")
    for variable, end in zip(layer.weights, ends, strict=False):
        yield variable, f"{scope}/{end}"


def checkpoint_arrays(network: DelfNetwork) -> dict[str, np.ndarray]:
    """The network's weights under their published names."""
    return {name: keras.ops.convert_to_numpy(variable) for variable, name in names_of(network)}
