"""Metrics in training: over the last photos as the competition scores, and the published one, with its mistakes."""

import keras
from keras import ops

from lmk.models.device import from_all_replicas
from lmk.models.heads import Background, Head
from lmk.models.losses import target_classes


class TrainingMetric(keras.metrics.Metric):
    """A metric over the last `capacity` photos of an epoch, exact if the epoch has no more.

    Confidences are ranked together, whichever batch they came in; equal ones in the order they came.
    Targets as for the losses. Each step sorts `capacity` numbers.
    """

    def __init__(
        self,
        head: Head,
        background: Background = "zero",
        capacity: int = 8192,
        gains: tuple[float, ...] | None = None,
        name: str = "score",
    ):
        """`head` and `background`: what the model's outputs mean; `gains`: as `lmk.metrics.metric.Metric` has them.

        Without gains the metric is GAP, else the mean gain of the photos that show a landmark.
        """
        super().__init__(name=name)
        self.head, self.background, self.capacity, self.gains = head, background, capacity, gains
        # Every replica of a strategy gathers the whole batch, so all hold the same: reading takes the first one's,
        # where Keras' default would add the replicas' buffers.
        first = {"initializer": "zeros", "aggregation": "only_first_replica"}
        self.confidence = self.add_variable(shape=(capacity,), name="confidence", **first)
        self.hit = self.add_variable(shape=(capacity,), name="hit", **first)
        self.shown = self.add_variable(shape=(capacity,), name="shown", **first)
        self.count = self.add_variable(shape=(), dtype="int32", name="count", **first)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch; a photo of weight 0 is no photo, other weights count as 1."""
        found = answers(y_true, self.head.scores(y_pred, self.background), self.background, self.gains)
        confidence, hit, shown = from_all_replicas(*found)
        batch = ops.shape(confidence)[0]
        places = ((self.count + ops.arange(batch, dtype="int32")) % self.capacity)[:, None]
        for buffer, values in ((self.confidence, confidence), (self.hit, hit), (self.shown, shown)):
            buffer.assign(ops.scatter_update(buffer, places, ops.cast(values, buffer.dtype)))
        self.count.assign(self.count + batch)

    def result(self):
        confidence, hit, shown, count = map(ops.convert_to_tensor, (self.confidence, self.hit, self.shown, self.count))
        filled = ops.arange(self.capacity, dtype="int32") < count
        if self.gains is not None:
            filled = ops.cast(filled, hit.dtype)
            return ops.sum(filled * hit) / ops.maximum(ops.sum(filled * shown), 1)
        return ranked_gap(ops.where(filled, confidence, -float("inf")), hit, shown)


def batch_gap(y_true, scores, background: Background = "zero"):
    """GAP of one batch, 0 if it shows no landmark.

    y_true: targets as for the losses; scores: (batch, num_landmarks). Returns a scalar tensor in [0, 1].
    """
    return ranked_gap(*answers(y_true, scores, background))


def published_batch_gap(y_true, scores):
    """The metric that the 19th place of 2018 trained with, mistakes and all; not GAP, kept to show the difference.

    It never sorts the batch by confidence, divides by its size in place of the number of photos that show a
    landmark, and takes class 0 for the truth of photos that show none. Arguments as for `batch_gap`.
    """
    classes = ops.maximum(target_classes(y_true, scores.shape[-1], "zero"), 0)
    correct = ops.cast(ops.equal(classes, ops.cast(ops.argmax(scores, axis=-1), "int32")), scores.dtype)
    return ops.mean(ops.cumsum(correct) * correct / _ranks(correct))


def answers(y_true, scores, background: Background = "zero", gains: tuple[float, ...] | None = None):
    """Confidence, whether the answer is right, and whether a landmark is shown, each (batch,) float.

    With `gains` the gain of the right landmark's place among the scores is in place of whether the answer is right.
    """
    scores = ops.convert_to_tensor(scores)
    num_landmarks = scores.shape[-1]
    classes = target_classes(y_true, num_landmarks + (background == "class"), background)
    shown = (classes >= 0) & (classes < num_landmarks)
    if gains is not None:
        right = ops.take_along_axis(scores, ops.clip(classes, 0, num_landmarks - 1)[:, None], axis=-1)
        places = ops.sum(ops.cast(scores > right, "int32"), axis=-1)  # equal scores share the better place
        credit = ops.take(ops.convert_to_tensor((*gains, 0.0), scores.dtype), ops.minimum(places, len(gains)))
        shown = ops.cast(shown, scores.dtype)
        return ops.max(scores, axis=-1), shown * credit, shown
    hit = shown & (ops.cast(ops.argmax(scores, axis=-1), "int32") == classes)
    return ops.max(scores, axis=-1), ops.cast(hit, scores.dtype), ops.cast(shown, scores.dtype)


def ranked_gap(confidence, hit, shown):
    """GAP from (n,) confidences, 0 or 1 for right answers, and 0 or 1 for photos that show a landmark."""
    correct = ops.take(hit, ops.argsort(-confidence))
    return ops.sum(ops.cumsum(correct) * correct / _ranks(correct)) / ops.maximum(ops.sum(shown), 1)


def _ranks(values):
    return ops.cast(ops.arange(1, ops.shape(values)[0] + 1, dtype="int32"), values.dtype)
