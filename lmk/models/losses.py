"""Losses over class indices, computed from a head's outputs; a photo of no landmark is `NO_LANDMARK`.

Targets are class indices (batch,) or (batch, 1), or one-hot rows (batch, n), all zero for no landmark. Every loss gives
one value a photo, a sum over classes. The outputs of the right classes are gathered: rows of targets for 203,094
landmarks would take as much memory as the outputs themselves, several times over.
"""

from typing import Literal

import keras
import numpy as np
from keras import ops

from lmk.models.heads import Background, Head
from lmk.predictions import NO_LANDMARK

SMALLEST = 1e-6
"""Least value of 1 - p in a logarithm: below it float32 has too few digits, and the gradient overflows."""


class LandmarkLoss(keras.losses.Loss):
    """Base of the losses: targets from class indices, and weights of classes."""

    def __init__(self, background: Background = "zero", class_weights: np.ndarray | None = None):
        """`class_weights`: (num_landmarks,) float, the weight of a photo by its landmark; 1 for a photo of none."""
        super().__init__()
        self.background: Background = background
        self.class_weights = None if class_weights is None else np.asarray(class_weights, dtype="float32")

    def call(self, y_true, y_pred):
        classes = target_classes(y_true, y_pred.shape[-1], self.background)
        values = self.photo_losses(classes, y_pred)
        return values if self.class_weights is None else values * photo_weights(classes, self.class_weights)

    def photo_losses(self, classes, outputs):
        """Losses (batch,) from classes (batch,) int32, -1 for no target, and outputs (batch, n)."""
        raise NotImplementedError


class SummedBCE(LandmarkLoss):
    """Binary cross-entropy, summed over classes: each landmark is a question of its own.

    Outputs are logits. `activation` makes them probabilities: a sigmoid, or the softmax that the published
    network has. `label_smoothing` is taken off positive targets alone: added to thousands of negative
    ones it would outweigh them.
    """

    def __init__(
        self,
        activation: Literal["sigmoid", "softmax"] = "sigmoid",
        background: Background = "zero",
        label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
    ):
        if background == "uniform":
            raise ValueError("Equal targets for all landmarks need a softmax cross-entropy.")
        super().__init__(background, class_weights)
        self.activation, self.label_smoothing = activation, label_smoothing

    def photo_losses(self, classes, outputs):
        negative = ops.sum(self._negative(outputs), axis=-1)
        return negative + self._correction(classes, classes, outputs)

    def _negative(self, logits):
        """Terms (batch, n) of targets that are all 0."""
        if self.activation == "sigmoid":
            return ops.softplus(logits)
        return -ops.log(ops.maximum(1 - ops.softmax(logits, axis=-1), SMALLEST))

    def _correction(self, classes, columns, logits):
        """Change (batch,) of the terms of `columns` (batch,), where they are the right classes: 0 elsewhere.

        A term is linear in its target t: that of t = 0 plus t times the difference of both. So only the column of
        the right class needs more than `_negative`.
        """
        target = (1 - self.label_smoothing) * ops.cast((classes >= 0) & (columns == classes), logits.dtype)
        logit = _of_classes(logits, columns)
        if self.activation == "sigmoid":
            return -target * logit
        log_probability = logit - ops.logsumexp(logits, axis=-1)
        rest = ops.log(ops.maximum(1 - ops.exp(log_probability), SMALLEST))
        return target * (rest - log_probability)


class RankWeightedBCE(SummedBCE):
    """BCE that weighs confident answers more, as GAP does.

    Each photo's highest scored class counts again, times `rank_weight * (b - rank) / b`, where rank is the place
    of its confidence in the batch of b, 0 the most confident. This is the loss that the 19th place of 2018 describes.
    Its published code took the indices that sort the batch for the ranks (`kind="index"`), so the weights
    went to photos at random.
    """

    def __init__(self, kind: Literal["rank", "index"] = "rank", rank_weight: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.rank_weight = kind, rank_weight

    def photo_losses(self, classes, outputs):
        negative = self._negative(outputs)
        probabilities = outputs if self.activation == "sigmoid" else ops.softmax(outputs, axis=-1)  # order is enough
        answer = ops.cast(ops.argmax(outputs, axis=-1), "int32")
        weights = self.rank_weight * rank_weights(ops.max(probabilities, axis=-1), self.kind)
        again = _of_classes(negative, answer) + self._correction(classes, answer, outputs)
        return ops.sum(negative, axis=-1) + self._correction(classes, classes, outputs) + weights * again


class SoftmaxCrossEntropy(LandmarkLoss):
    """Cross-entropy of the softmax of `scale` times the outputs.

    A photo of no landmark counts nothing (background `zero`), is pulled towards equal probabilities (`uniform`),
    or has a class of its own (`class`). `label_smoothing` in [0, 1) is spread evenly over all classes.
    """

    def __init__(
        self,
        background: Background = "zero",
        label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
        scale: float = 1.0,
    ):
        super().__init__(background, class_weights)
        self.label_smoothing, self.scale = label_smoothing, scale

    def photo_losses(self, classes, outputs):
        logits = self.scale * outputs
        shown = ops.cast(classes >= 0, logits.dtype)
        right = (1 - self.label_smoothing) * shown
        spread = self.label_smoothing * shown
        if self.background == "uniform":
            spread = spread + 1 - shown
        # -sum(t log p) with p the softmax is sum(t) logsumexp - sum(t logit).
        loss = (right + spread) * ops.logsumexp(logits, axis=-1) - right * _of_classes(logits, classes)
        if self.background == "uniform" or self.label_smoothing > 0:
            loss = loss - spread * ops.mean(logits, axis=-1)
        return loss


class MarginLoss(SoftmaxCrossEntropy):
    """Softmax cross-entropy of cosines in which the right class must win by a margin.

    `arcface` adds the margin to the angle, in radians (Deng et al., arXiv:1801.07698); `cosface` takes it off the
    cosine (Wang et al., arXiv:1801.09414). With `dynamic_margins` and a sub-centre head this is the loss of the
    3rd place of 2020 (arXiv:2010.05350). A background class has the mean margin.

    Args:
        kind: `arcface` or `cosface`.
        margin: >= 0, for all landmarks or (num_landmarks,), one for each.
        scale: What cosines are multiplied with before the softmax.
    """

    def __init__(
        self,
        kind: Literal["arcface", "cosface"] = "arcface",
        margin: float | np.ndarray = 0.3,
        scale: float = 30.0,
        **kwargs,
    ):
        super().__init__(scale=scale, **kwargs)
        self.kind, self.margin = kind, np.asarray(margin, dtype="float32")

    def photo_losses(self, classes, outputs):
        margins = self._photo_margins(classes, outputs)
        lowered = with_margin(_of_classes(outputs, classes), margins, self.kind)
        # No column is that of class -1. The comparison takes a byte an output, and XLA fuses it away.
        columns = ops.arange(outputs.shape[-1], dtype="int32")
        return super().photo_losses(classes, ops.where(columns == classes[:, None], lowered[:, None], outputs))

    def _photo_margins(self, classes, outputs):
        if self.margin.ndim == 0:
            return ops.convert_to_tensor(self.margin, dtype=outputs.dtype)
        lacking = outputs.shape[-1] - len(self.margin)
        margins = np.pad(self.margin, (0, lacking), constant_values=self.margin.mean())
        return ops.take(ops.convert_to_tensor(margins, dtype=outputs.dtype), ops.maximum(classes, 0))


def with_margin(cosine, margin, kind: str):
    """The cosine of the right class, (batch,), made harder by a margin, a scalar or (batch,).

    The margin would turn an angle beyond pi - margin past pi, where the cosine rises again: there `arcface` takes
    margin * sin(margin) off the cosine, so that a larger angle never scores higher.
    """
    if kind == "cosface":
        return cosine - margin
    cosine = ops.clip(cosine, -1 + 1e-6, 1 - 1e-6)  # at 1 the sine's gradient is infinite
    turned = cosine * ops.cos(margin) - ops.sqrt(1 - cosine**2) * ops.sin(margin)
    return ops.where(cosine > -ops.cos(margin), turned, cosine - margin * ops.sin(margin))


def target_classes(y_true, num_outputs: int, background: Background):
    """Targets to class indices (batch,) int32; no landmark is -1, or the last output with a background class.

    y_true: (batch,) or (batch, 1) class indices, `NO_LANDMARK` for none; or one-hot rows (batch, num_outputs), all
    zero for none.
    """
    y_true = ops.convert_to_tensor(y_true)
    if len(y_true.shape) == 2 and y_true.shape[-1] == num_outputs and num_outputs > 1:
        classes = ops.where(ops.max(y_true, axis=-1) > 0, ops.argmax(y_true, axis=-1), NO_LANDMARK)
    else:
        classes = ops.reshape(y_true, (-1,))
    classes = ops.cast(classes, "int32")
    return ops.where(classes < 0, num_outputs - 1 if background == "class" else -1, classes)


def photo_weights(classes, class_weights: np.ndarray):
    """Weights (batch,) from classes (batch,) int: that of the landmark; 1 for none, be it -1 or a background class."""
    known = (classes >= 0) & (classes < len(class_weights))
    weights = ops.take(ops.convert_to_tensor(class_weights), ops.where(known, classes, 0))
    return ops.where(known, weights, 1.0)


def _of_classes(outputs, classes):
    """The outputs (batch,) of the classes (batch,) int32; any finite one for class -1."""
    return ops.take_along_axis(outputs, ops.maximum(classes, 0)[:, None], axis=-1)[:, 0]


def rank_weights(confidence, kind: Literal["rank", "index"] = "rank"):
    """(batch,) confidences to weights (b - rank) / b in (0, 1]; no gradient flows through them.

    `rank`: the place of each confidence, 0 the highest, equal ones in their order. `index`: the indices that sort the
    batch in place of the ranks, as published by mistake.
    """
    order = ops.argsort(-ops.stop_gradient(ops.convert_to_tensor(confidence)))  # torch stops no gradient of an array
    places = order if kind == "index" else ops.argsort(order)
    count = ops.cast(ops.shape(confidence)[0], keras.config.floatx())
    return (count - ops.cast(places, keras.config.floatx())) / count


def class_size_weights(counts: np.ndarray) -> np.ndarray:
    """(num_landmarks,) weights 1 / log(1 + n) of photos by the size n of their landmark; the mean over all photos is 1.

    counts: (num_landmarks,) int, training photos of each; none counts as one.
    """
    counts = np.maximum(counts, 1).astype(float)
    weights = 1 / np.log1p(counts)
    return (weights * counts.sum() / (weights * counts).sum()).astype("float32")


def dynamic_margins(counts: np.ndarray, low: float = 0.05, high: float = 0.5, power: float = -0.25) -> np.ndarray:
    """(num_landmarks,) margins from `low` for the largest landmark to `high` for the smallest, by n^power between.

    Few photos cover little of what a landmark looks like, so they must lie closer together; none count as one.
    arXiv:2010.05350.
    """
    scale = np.maximum(counts, 1).astype(float) ** power
    span = scale.max() - scale.min()
    share = (scale - scale.min()) / span if span > 0 else np.full(len(scale), 0.5)
    return (low + (high - low) * share).astype("float32")


LOSSES = ("bce", "rank-bce", "rank-bce-published", "softmax", "arcface", "cosface", "arcface-dynamic")
"""Losses by name. `arcface`, `cosface` and `arcface-dynamic` need a head of cosines, the others a dense one."""


def make_loss(
    name: str,
    head: Head,
    counts: np.ndarray,
    background: Background = "zero",
    label_smoothing: float = 0.0,
    weigh_classes: bool = False,
    margin: float = 0.3,
) -> LandmarkLoss:
    """The loss `name` for outputs of `head`.

    Args:
        name: One of `LOSSES`.
        head: The head whose outputs the loss takes.
        counts: (num_landmarks,) int, training photos of each landmark, for class weights and dynamic margins.
        background: Targets of photos of no landmark.
        label_smoothing: In [0, 1).
        weigh_classes: Weigh photos by `class_size_weights`.
        margin: Margin of `arcface`, in radians, and `cosface`.

    Raises:
        ValueError: The loss is unknown, or does not go with the head.
    """
    if name not in LOSSES:
        raise ValueError(f"No loss is named '{name}'; there are {', '.join(LOSSES)}.")
    if (name in ("arcface", "cosface", "arcface-dynamic")) != bool(head.centres):
        raise ValueError(f"The loss '{name}' needs {'a dense head' if head.centres else 'a head of cosines'}.")
    weights = class_size_weights(counts) if weigh_classes else None
    if name == "softmax":
        return SoftmaxCrossEntropy(background, label_smoothing, weights)
    if head.centres:
        return MarginLoss(
            kind="cosface" if name == "cosface" else "arcface",
            margin=dynamic_margins(counts) if name == "arcface-dynamic" else margin,
            scale=head.scale,
            background=background,
            label_smoothing=label_smoothing,
            class_weights=weights,
        )
    activation: Literal["sigmoid", "softmax"] = "softmax" if head.activation == "softmax" else "sigmoid"
    if name == "bce":
        return SummedBCE(activation, background, label_smoothing, weights)
    return RankWeightedBCE(
        kind="index" if name == "rank-bce-published" else "rank",
        activation=activation,
        background=background,
        label_smoothing=label_smoothing,
        class_weights=weights,
    )
