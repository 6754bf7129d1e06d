"""Published DELF and DELG weights, read from the folder that an archive unpacks to.

Two ways of naming variables are known, from the public source of either:

- TF-Slim, of TensorFlow 1 (`delf_v1.py`): the TF-Hub module `google/delf/1`, DELF trained on Google Landmarks, DELG
  with ResNet-50 or -101. `resnet_v1_50/conv1/weights`, `resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights` and so
  on, each with `BatchNorm/gamma`, `beta`, `moving_mean`, `moving_variance` beside its `weights`; and of attention
  `attention_block/attention/compute/conv1/...` alike and `.../conv2/weights`, `.../conv2/biases`. A module, or a graph
  that one was loaded into, may put a scope of its own before all of them.
- Keras, of the TensorFlow 2 scripts (`training/model/delf_model.py`, `delg_model.py`, `resnet50.py`, exported by
  `export_local_model.py` or `export_local_and_global_model.py`, or saved by `train.py`): `backbone/l2a/conv2a/kernel`,
  `backbone/l2a/bn2a/gamma` and so on, `attention/conv1/kernel`, and with dimension reduction
  `autoencoder/conv1/kernel`. Weights of the global descriptor are not read.

The files, where a folder has them:

    FOLDER/saved_model.pb, tfhub_module.pb        not read: the network is built anew
    FOLDER/variables/variables.index, .data-...   or in FOLDER/model, FOLDER/saved_model
    FOLDER/pca/mean.datum, pca_proj_mat.datum     and pca_vars.datum where it whitens; without them there is no PCA

This was never run on a published file: none could be had where it was written. The tests write each layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import keras
import numpy as np

from lmk.local.pca import Pca
from lmk.models.delf.files import published_pca, variables_of
from lmk.models.delf.keras_resnet import EPSILON, keras_resnet
from lmk.models.delf.network import ATTENTION_WIDTH, DelfNetwork, build_attention
from lmk.models.delf.receptive import receptive_fields
from lmk.models.delf.slim_resnet import slim_resnet
from lmk.models.device import computing_in, full_precision
from lmk.util.errors import LmkError

ATTENTION = "attention_block/attention/compute"
STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")
UNITS = {"resnet_v1_50": 6, "resnet_v1_101": 23}
"""Units of the third block of TF-Slim's networks, by their scopes."""
SLIM_ROOT = re.compile(r"^(?P<outer>(?:.*/)?)(?P<scope>resnet_v1_(?:50|101))/conv1/weights$")
SLIM_ATTENTION = re.compile(r"^(?P<scope>(?:.*/)?attention/compute)/conv1/weights$")
KERAS_ROOT = "backbone/conv1/kernel"
Named = Iterator[tuple[keras.Variable, str]]


def build_published(units: int = 6, policy: str | None = None) -> DelfNetwork:
    """The network of TF-Slim's weights, before they are read: ResNet-50 or -101 to the end of its third block.

    Args:
        units: Number of units of the third block: 6 of ResNet-50, 23 of ResNet-101.
        policy: Keras' dtype policy in which it computes; that of the device if None.
    """
    with computing_in(policy):
        cut = slim_resnet(units)
        features = _backbone(cut)
        return DelfNetwork(features, build_attention(features.output_shape[-1]), receptive_fields(cut))


def build_published_keras(
    units: int = 6, reduced: int | None = None, halved: bool = True, policy: str | None = None
) -> DelfNetwork:
    """The network of the TensorFlow 2 scripts' weights, before they are read.

    Args:
        units: Number of units of the fourth stage: 6 of ResNet-50, 23 of ResNet-101.
        reduced: Channels that the autoencoder leaves of the features, which attention looks at through its other half;
            None without one.
        halved: As for `keras_resnet`; no weights say so, and it is the scripts' default.
        policy: As for `build_published`.
    """
    with computing_in(policy):
        cut = keras_resnet(units, halved)
        channels = cut.output_shape[-1]
        narrow = cut
        if reduced is not None:
            features = keras.layers.Conv2D(reduced, 1, name="autoencoder.conv1")(cut.outputs[0])
            narrow = keras.Model(cut.inputs, features, name="backbone_narrow")
        return DelfNetwork(_backbone(narrow), _keras_attention(channels, reduced), receptive_fields(cut))


def _backbone(cut: keras.Model) -> keras.Model:
    """RGB (b, h, w, 3) in [0, 255] to the map of a network that takes pixels in [-1, 1]."""
    images = keras.Input((None, None, 3), name="images")
    scaled = keras.layers.Rescaling(1 / 128, offset=-1, dtype=full_precision(), name="pixels")(images)
    return keras.Model(images, cut(scaled), name="backbone")


def _keras_attention(channels: int, reduced: int | None) -> keras.Model:
    """Like `build_attention`, with a bias in the first convolution and the scripts' epsilon."""
    features = keras.Input((None, None, channels if reduced is None else reduced), name="features")
    x = features
    if reduced is not None:
        x = keras.layers.Conv2D(channels, 1, activation="relu", name="autoencoder.conv2")(x)
    x = keras.layers.Conv2D(ATTENTION_WIDTH, 1, name="attention.conv1")(x)
    x = keras.layers.BatchNormalization(epsilon=EPSILON, name="attention.bn_conv1")(x)
    x = keras.layers.ReLU(name="attention_relu")(x)
    x = keras.layers.Conv2D(1, 1, dtype=full_precision(), name="attention.conv2")(x)
    attention = keras.layers.Activation("softplus", dtype=full_precision(), name="attention")(x)
    return keras.Model(features, attention, name="attention")


def load_published(folder: Path, dimensions: int = 40, policy: str | None = None) -> tuple[DelfNetwork, Pca | None]:
    """The network with its published weights, and its PCA.

    Args:
        folder: As above.
        dimensions: That the PCA keeps at the most.
        policy: As for `build_published`.

    Returns:
        The network; and the PCA, None where the folder has none: then descriptors have all channels of the map.

    Raises:
        LmkError: A file is absent or damaged, or a variable is absent or has another shape.
    """
    found = import_module("lmk.models.delf.checkpoint_tensorflow").read_checkpoint(variables_of(folder))
    network, named = _matching(folder, found, policy)
    for variable, name in named:
        value = found.get(name)
        if value is None:
            raise LmkError(f"{folder} holds no variable '{name}', though others of that layout.")
        if tuple(variable.shape) != value.shape:
            raise LmkError(f"{folder}: '{name}' has the shape {value.shape}, not {tuple(variable.shape)}.")
        variable.assign(value)
    return network, published_pca(folder, network.backbone.output_shape[-1], dimensions)


def _matching(folder: Path, found: Mapping[str, np.ndarray], policy: str | None) -> tuple[DelfNetwork, Named]:
    """The network that a checkpoint's variables are of, with their names there.

    Raises:
        LmkError: They are of none that is known.
    """
    if KERAS_ROOT in found:
        fourth = {name.split("/")[1] for name in found if re.match(r"backbone/l4[a-z]/", name)}
        narrow = found.get("autoencoder/conv1/kernel")
        reduced = None if narrow is None else int(narrow.shape[-1])
        network = build_published_keras(len(fourth), reduced, policy=policy)
        return network, keras_names_of(network)
    roots = [match for name in sorted(found) if (match := SLIM_ROOT.match(name))]
    scopes = [match["scope"] for name in sorted(found) if (match := SLIM_ATTENTION.match(name))]
    if roots:
        scope = roots[0]["scope"]
        network = build_published(UNITS[scope], policy)
        attention = scopes[0] if scopes else roots[0]["outer"] + ATTENTION
        return network, names_of(network, roots[0]["outer"] + scope, attention)
    if not found:
        raise LmkError(
            f"The checkpoint in {folder} holds no variables: the model's weights are constants of its graph, which lmk "
            "does not read. Give the archive that it was frozen from."
        )
    raise LmkError(
        f"{folder} holds no DELF or DELG: no variable is named .../resnet_v1_50/conv1/weights, as TF-Slim's are, or "
        f"{KERAS_ROOT}, as those of the TensorFlow 2 scripts. The first of its {len(found)} is '{min(found)}'."
    )


def names_of(network: DelfNetwork, scope: str = "resnet_v1_50", attention: str = ATTENTION) -> Named:
    """Each variable of `build_published` with its name in TF-Slim's layout, under both scopes."""
    cut = next(layer for layer in network.backbone.layers if isinstance(layer, keras.Model))
    for layer in cut.layers:
        if layer.weights:
            yield from _named(layer, f"{scope}/{layer.name.replace('.', '/')}", ("weights", "biases"))
    parts = {"attention_conv1": "conv1", "attention_norm": "conv1/BatchNorm", "attention_conv2": "conv2"}
    for layer in network.attention.layers:
        if layer.weights:
            yield from _named(layer, f"{attention}/{parts[layer.name]}", ("weights", "biases"))


def keras_names_of(network: DelfNetwork) -> Named:
    """Each variable of `build_published_keras` with the way to it in the scripts' model."""
    cut = next(layer for layer in network.backbone.layers if isinstance(layer, keras.Model))
    for part in (cut, network.attention):
        for layer in part.layers:
            if layer.weights:
                way = layer.name.replace(".", "/")
                own = way.startswith(("attention/", "autoencoder/"))
                yield from _named(layer, way if own else f"backbone/{way}", ("kernel", "bias"))


def _named(layer: keras.layers.Layer, scope: str, ends: tuple[str, ...]) -> Named:
    ends = STATISTICS if isinstance(layer, keras.layers.BatchNormalization) else ends
    for variable, end in zip(layer.weights, ends, strict=False):
        yield variable, f"{scope}/{end}"
