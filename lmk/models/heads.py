"""Heads: from a pooled vector to one output per landmark, and from outputs to scores.

A head gives outputs that its loss turns into scores by itself: logits of a dense layer, or cosines
to the centres of each landmark. Margins belong to the loss, so that a model is trained by plain
`fit` and predicts without labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import keras
from keras import ops

from lmk.models.device import full_precision

Background = Literal["zero", "uniform", "class"]
"""How a photo of no landmark is taught: all targets zero, all equal, or an output of its own, the last."""


@keras.saving.register_keras_serializable("lmk")
class CosineHead(keras.layers.Layer):
    """Cosines of a descriptor to K centres of each class, the nearest of which counts.

    (batch, d) to (batch, num_outputs) in [-1, 1]. K = 1 is the head of ArcFace and CosFace, K > 1 that of
    sub-centre ArcFace: photos that differ from the rest of their landmark find a centre of their own.
    Deng et al., arXiv:1801.07698 and ECCV 2020.
    """

    def __init__(self, num_outputs: int, centres: int = 1, dtype=None, **kwargs):
        super().__init__(dtype=dtype or full_precision(), **kwargs)  # a margin is smaller than bfloat16's steps
        self.num_outputs, self.centres = num_outputs, centres

    def build(self, input_shape):
        shape = (input_shape[-1], self.num_outputs * self.centres)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="centres")

    def call(self, descriptors):
        cosines = ops.matmul(ops.normalize(descriptors, axis=-1), ops.normalize(self.kernel, axis=0))
        if self.centres == 1:
            return cosines
        return ops.max(ops.reshape(cosines, (-1, self.num_outputs, self.centres)), axis=-1)

    def get_config(self):
        return super().get_config() | {"num_outputs": self.num_outputs, "centres": self.centres}


@dataclass(frozen=True)
class Head:
    """A kind of head: which layer it is, and what its outputs mean.

    Attributes:
        activation: From outputs, times `scale`, to scores: `sigmoid` (each landmark by itself, so that all may score
            low at once), `softmax` (landmarks compete), or `none` (cosines as they are, comparable between photos).
        centres: 0 for a dense layer, K for cosines to K centres a class.
        scale: What outputs are multiplied with before the activation; the temperature of cosines.
    """

    activation: Literal["sigmoid", "softmax", "none"]
    centres: int = 0
    scale: float = 1.0

    def layer(self, num_landmarks: int, background: Background = "zero", name: str = "head") -> keras.layers.Layer:
        """The layer from descriptors (batch, d) to outputs (batch, n); n counts a background class, if there is one."""
        num_outputs = num_landmarks + (background == "class")
        if self.centres:
            return CosineHead(num_outputs, self.centres, name=name)
        return keras.layers.Dense(num_outputs, dtype=full_precision(), name=name)

    def scores(self, outputs, background: Background = "zero"):
        """Outputs (batch, n) to scores (batch, num_landmarks), in [0, 1], or [-1, 1] for cosines.

        The background class takes part in the softmax and is then left out.
        """
        outputs = ops.convert_to_tensor(outputs) * self.scale
        if self.activation == "sigmoid":
            outputs = ops.sigmoid(outputs)
        elif self.activation == "softmax":
            outputs = ops.softmax(outputs, axis=-1)
        else:
            outputs = outputs / self.scale
        return outputs[:, :-1] if background == "class" else outputs


HEADS = {
    "sigmoid": Head("sigmoid"),
    "softmax": Head("softmax"),
    "cosine": Head("none", centres=1, scale=30.0),
    "subcentre": Head("none", centres=3, scale=30.0),
}
"""Heads by name: dense ones, and cosines to one or to three centres a landmark."""


def descriptor_neck(pooled, size: int, dropout: float = 0.0, activation: str | None = None):
    """Pooled features (batch, channels) to descriptors (batch, size), named `descriptor`: dense, BN, activation.

    BN centres what the retrieval compares by cosine. The dense layer needs no bias before it. The statistics follow
    the last tens of batches: a small competition has no hundreds of them.
    """
    if dropout:
        pooled = keras.layers.Dropout(dropout, name="descriptor_dropout")(pooled)
    x = keras.layers.Dense(size, use_bias=False, name="descriptor_dense")(pooled)
    if activation is None:
        return keras.layers.BatchNormalization(momentum=0.9, dtype=full_precision(), name="descriptor")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, dtype=full_precision(), name="descriptor_norm")(x)
    return keras.layers.Activation(activation, dtype=full_precision(), name="descriptor")(x)
