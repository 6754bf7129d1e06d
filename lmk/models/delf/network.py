"""DELF's network: a backbone cut at a feature map, and attention that says which of its cells distinguish landmarks.

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
from lmk.models.delf.canvas import OnCanvas, masked
from lmk.models.delf.receptive import receptive_fields
from lmk.models.delf.recipe import cut_of
from lmk.models.device import computing_in, full_precision, has_gpu, jit_for_device
from lmk.models.folded import folded
from lmk.models.saved import load_weights, save_weights

ATTENTION_WIDTH = 512
"""Channels between the two convolutions of attention."""


@dataclass(frozen=True, eq=False)
class DelfNetwork:
    """Backbone and attention.

    Attributes:
        backbone: RGB (b, h, w, 3) in [0, 255] to a feature map (b, h', w', c).
        attention: A feature map to the attention >= 0 of its cells, (b, h', w', 1).
        fields: Receptive fields of the cells.
    """

    backbone: keras.Model
    attention: keras.Model
    fields: Cells

    def dense(self, most: int) -> Dense:
        """Function for `lmk.local.delf.Delf`: images to the `most` cells of each that attention ranks first."""
        network = self.for_prediction()
        exact, on_canvas = network.strongest(most), network.strongest_on_canvas(most)

        def found(images: np.ndarray, sizes: np.ndarray | None = None) -> Strongest:
            given = images if sizes is None else [images, sizes]
            model = exact if sizes is None else on_canvas
            attention, places, features, width = map(ops.convert_to_numpy, model.predict_on_batch(given))
            return Strongest(attention, places // width, places % width, features)

        return found

    def strongest(self, most: int) -> keras.Model:
        """Images to the cells of the most attention: attention (b, k), places (b, k) in the map row by row,
        L2-normalised features (b, k, c), and the map's width (b, 1); k is `most`, or the number of cells."""
        features = self.backbone.outputs[0]
        model = keras.Model(self.backbone.inputs, StrongestCells(most)([features, self.attention(features)]))
        model.compile(jit_compile=jit_for_device())
        return model

    def strongest_on_canvas(self, most: int) -> keras.Model:
        """Images on canvases (b, h, w, 3), and their own height and width (b, 2), to what `strongest` gives of the
        images alone; cells beyond an image have the attention -1 and come last."""
        canvases, sizes = keras.Input((None, None, 3), name="canvases"), keras.Input((2,), dtype="int32", name="sizes")
        features, own = OnCanvas(self.backbone, name="on_canvas")([canvases, sizes])
        model = keras.Model([canvases, sizes], StrongestCells(most)([features, self.attention(features), own]))
        model.compile(jit_compile=jit_for_device())
        return model

    def for_prediction(self) -> DelfNetwork:
        """The network with the weights of now, on a CPU with its normalizations folded."""
        return self if has_gpu() else DelfNetwork(folded(self.backbone), folded(self.attention), self.fields)


@keras.saving.register_keras_serializable("lmk")
class StrongestCells(keras.layers.Layer):
    """The cells of the most attention: only these leave the device, not the maps of all scales."""

    def __init__(self, most: int, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)
        self.most = most

    def call(self, inputs):
        features, attention = inputs[:2]
        batch, height, width, channels = ops.shape(features)
        cells = height * width
        if len(inputs) == 3:  # the part of each map that shows the photo
            attention = masked(attention, inputs[2], beyond=-1.0)
        scores = ops.reshape(attention, (batch, cells))
        # JAX knows all shapes and wants k as a number; TensorFlow may know the map's size only when it runs
        count = min(cells, self.most) if isinstance(cells, int) else ops.minimum(cells, self.most)
        values, places = ops.top_k(scores, count)
        flat = ops.reshape(features, (batch, cells, channels))
        chosen = ops.normalize(ops.take_along_axis(flat, places[:, :, None], axis=1), axis=-1)
        return values, places, chosen, ops.zeros((batch, 1), dtype="int32") + width

    def compute_output_spec(self, inputs):
        """Shapes of the outputs; Keras would call the layer with unknown ones, of which JAX gives no least."""
        channels = inputs[0].shape[-1]
        return (
            keras.KerasTensor((None, None), self.compute_dtype),
            keras.KerasTensor((None, None), "int32"),
            keras.KerasTensor((None, None, channels), self.compute_dtype),
            keras.KerasTensor((None, 1), "int32"),
        )

    def get_config(self):
        return super().get_config() | {"most": self.most}


def build_delf(backbone: str, weights: str, policy: str | None = None) -> DelfNetwork:
    """A network with its backbone's weights, and attention that has learned nothing.

    Args:
        backbone: One of `CUTS`.
        weights: As `build_backbone` takes them.
        policy: Keras' dtype policy in which it computes; that of the device if None.

    Raises:
        LmkError: The backbone is not one of these, or its weights cannot be had.
    """
    layer = cut_of(backbone)
    with computing_in(policy):
        whole = build_backbone(backbone, weights)
        network = network_of(whole)
        cut = keras.Model(network.inputs, network.get_layer(layer).output, name=f"{backbone}_cut")
        images = keras.Input((None, None, 3), name="images")
        scaling = [layer for layer in whole.layers if layer.name == "pixels"]  # none where the network scales itself
        features = cut(scaling[0](images) if scaling else images)
        model = keras.Model(images, features, name="backbone")
        return DelfNetwork(model, build_attention(features.shape[-1]), receptive_fields(cut))


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
