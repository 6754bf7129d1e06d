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
"""Target of a photo of no landmark: all outputs zero, all equal, or an output of its own, the last."""
NO_OUTPUT = -1e4
"""Output of a class that takes no part in a row of `SampledOutputs`: its share of a softmax is 0 in float32."""


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


@keras.saving.register_keras_serializable("lmk")
class SampledOutputs(keras.layers.Layer):
    """Outputs of a head for each photo's own class, for a sample of the others, and for the background class.

    Descriptors (batch, d) and classes (batch, 1) int, -1 for no landmark, to (batch, 1 + m) or, with a background
    class, (batch, 2 + m). Column 0 is the photo's own class, so that the target is class 0; the last
    column is the background. The m columns between are the classes of the batch and others drawn evenly, anew at each
    step; where one is the photo's own it has `NO_OUTPUT`. An et al., Killing Two Birds with One Stone: Efficient and
    Robust Training of Face Recognition CNNs by Partial FC, arXiv:2203.15565.

    Args:
        head: The layer whose weights are sampled; it belongs to the network that predicts, too.
        share: In (0, 1), of the landmarks: m is that many, but not fewer than `LEAST_SAMPLE`.
        background: Whether the last output of the head is the background class.
    """

    def __init__(self, head: keras.layers.Layer, share: float, background: bool, seed: int = 0, **kwargs):
        super().__init__(dtype=kwargs.pop("dtype", None) or full_precision(), **kwargs)
        self.head, self.share, self.background, self.seed = head, share, background, seed
        self.draws = keras.random.SeedGenerator(seed)

    def call(self, inputs):
        descriptors, classes = inputs
        descriptors = ops.cast(descriptors, self.compute_dtype)
        classes = ops.cast(ops.reshape(classes, (-1,)), "int32")
        num_landmarks = _num_outputs(self.head) - self.background
        own = ops.where(classes < 0, 0, classes)
        others = self._sample(own, num_landmarks)
        right = _outputs_of(self.head, descriptors, own, by_row=True)
        right = ops.where(classes < 0, NO_OUTPUT, right)[:, None]
        outputs = _outputs_of(self.head, descriptors, others)
        columns = [right, ops.where(others == classes[:, None], NO_OUTPUT, outputs)]
        if self.background:
            columns.append(_outputs_of(self.head, descriptors, ops.full((1,), num_landmarks, "int32")))
        return ops.concatenate(columns, axis=-1)

    def _sample(self, own, num_landmarks: int):
        """(m,) int32, distinct: the classes of the batch come first, as far as m reaches."""
        count = min(num_landmarks, max(LEAST_SAMPLE, round(self.share * num_landmarks)))
        chances = keras.random.uniform((num_landmarks,), seed=self.draws)
        chances = ops.scatter_update(chances, own[:, None], 2 + ops.zeros_like(own, dtype=chances.dtype))
        return ops.cast(ops.top_k(chances, count, sorted=False)[1], "int32")

    def get_config(self):
        head = keras.saving.serialize_keras_object(self.head)
        return super().get_config() | {
            "head": head, "share": self.share, "background": self.background, "seed": self.seed,
        }  # fmt: skip

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"head": keras.saving.deserialize_keras_object(config["head"])})


LEAST_SAMPLE = 64
"""Least classes that `SampledOutputs` compares a photo with: a tenth of a few dozen would hardly be a task."""


def _num_outputs(head: keras.layers.Layer) -> int:
    return head.num_outputs if isinstance(head, CosineHead) else head.units


def _outputs_of(head: keras.layers.Layer, descriptors, classes, by_row: bool = False):
    """A head's outputs for some classes alone.

    Args:
        head: A `CosineHead` or a dense layer, built.
        descriptors: (batch, d).
        classes: (m,) int32.
        by_row: Whether row i is asked for class i alone; then m = batch.

    Returns:
        (batch, m), or (batch,) with `by_row`.
    """
    if isinstance(head, CosineHead):
        descriptors = ops.normalize(descriptors, axis=-1)
        kernel = ops.reshape(head.kernel, (-1, head.num_outputs, head.centres))
        chosen = ops.normalize(ops.take(kernel, classes, axis=1), axis=0)  # (d, m, centres)
    else:
        chosen = ops.take(head.kernel, classes, axis=1)[..., None]
    outputs = ops.max(ops.einsum("bd,dbk->bk" if by_row else "bd,dmk->bmk", descriptors, chosen), axis=-1)
    return outputs if isinstance(head, CosineHead) else outputs + ops.take(head.bias, classes)


@dataclass(frozen=True)
class Head:
    """A kind of head: which layer it is, and what its outputs mean.

    Attributes:
        activation: Function from outputs, times `scale`, to scores: `sigmoid` (each landmark by itself, so that all may
            score low at once), `softmax` (landmarks compete), or `none` (cosines as they are, comparable between
            photos).
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
