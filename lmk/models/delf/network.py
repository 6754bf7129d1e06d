"""DELF's network: a backbone cut at a feature map, and attention that says which of its cells tell landmarks apart.

Noh et al., ICCV 2017 (arXiv:1612.06321).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from lmk.local.delf import Cells, Dense, Strongest
from lmk.models.backbones.build import build_backbone, network_of
from lmk.models.delf.receptive import receptive_fields
from lmk.models.delf.recipe import cut_of
from lmk.models.device import full_precision, jit_for_device
from lmk.models.saved import load_weights, save_weights

ATTENTION_WIDTH = 512
"""Channels between the two convolutions of attention."""


@dataclass(frozen=True, eq=False)
class DelfNetwork:
    """Both parts.

    Attributes:
        backbone: RGB (b, h, w, 3) in [0, 255] to a feature map (b, h', w', c).
        attention: A feature map to the attention >= 0 of its cells, (b, h', w', 1).
        fields: Where the cells look at.
    """

    backbone: keras.Model
    attention: keras.Model
    fields: Cells

    def dense(self, most: int) -> Dense:
        """What `lmk.local.delf.Delf` calls: images to the `most` cells of each that attention ranks first."""
        model = self.strongest(most)

        def found(images: np.ndarray) -> Strongest:
            attention, places, features, width = map(ops.convert_to_numpy, model.predict_on_batch(images))
            return Strongest(attention, places // width, places % width, features)

        return found

    def strongest(self, most: int) -> keras.Model:
        """Images to the cells of the most attention: attention (b, k), places (b, k) in the map row by row,
        L2-normalised features (b, k, c), and the map's width (b, 1); k is `most`, or the number of cells."""
        features = self.backbone.outputs[0]
        model = keras.Model(self.backbone.inputs, StrongestCells(most)([features, self.attention(features)]))
        model.compile(jit_compile=jit_for_device())
        return model


@keras.saving.register_keras_serializable("lmk")
class StrongestCells(keras.layers.Layer):
    """The cells of the most attention: only these leave the device, not the maps of all scales."""

    def __init__(self, most: int, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)
        self.most = most

    def call(self, inputs):
        features, attention = inputs
        batch, height, width, channels = ops.shape(features)
        cells = height * width
        scores = ops.reshape(attention, (batch, cells))
        values, places = ops.top_k(scores, ops.minimum(cells, self.most))
        flat = ops.reshape(features, (batch, cells, channels))
        chosen = ops.normalize(ops.take_along_axis(flat, places[:, :, None], axis=1), axis=-1)
        return values, places, chosen, ops.zeros((batch, 1), dtype="int32") + width

    def get_config(self):
        return super().get_config() | {"most": self.most}


def build_delf(backbone: str, weights: str) -> DelfNetwork:
    """A network with its backbone's weights, and attention that has learned nothing.

    Args:
        backbone: One of `delf_recipe.CUTS`.
        weights: As `build_backbone` takes them.

    Raises:
        LmkError: The backbone is not one of these, or its weights cannot be had.
    """
    layer = cut_of(backbone)
    whole = build_backbone(backbone, weights)
    network = network_of(whole)
    cut = keras.Model(network.inputs, network.get_layer(layer).output, name=f"{backbone}_cut")
    images = keras.Input((None, None, 3), name="images")
    scaling = [layer for layer in whole.layers if layer.name == "pixels"]  # none where the network scales itself
    features = cut(scaling[0](images) if scaling else images)
    return DelfNetwork(
        keras.Model(images, features, name="backbone"), build_attention(features.shape[-1]), receptive_fields(cut)
    )


def build_attention(channels: int) -> keras.Model:
    """A feature map (b, h, w, channels) to attention (b, h, w, 1) by two 1 x 1 convolutions and softplus."""
    features = keras.Input((None, None, channels), name="features")
    x = keras.layers.Conv2D(ATTENTION_WIDTH, 1, use_bias=False, name="attention_conv1")(features)
    x = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="attention_norm")(x)
    x = keras.layers.ReLU(name="attention_relu")(x)
    x = keras.layers.Conv2D(1, 1, dtype=full_precision(), name="attention_conv2")(x)
    attention = keras.layers.Activation("softplus", dtype=full_precision(), name="attention")(x)
    return keras.Model(features, attention, name="attention")


def save_delf(network: DelfNetwork, path: Path) -> None:
    """Write the weights of both parts to `path`, which ends in `.weights.h5`."""
    save_weights(_whole(network), path)


def load_delf(network: DelfNetwork, path: Path) -> None:
    """Read what `save_delf` wrote into a network of the same backbone.

    Raises:
        LmkError: The file is damaged or holds another network.
    """
    load_weights(_whole(network), path, "this DELF")


def _whole(network: DelfNetwork) -> keras.Model:
    return keras.Model(network.backbone.inputs, network.attention(network.backbone.outputs[0]), name="delf")
