"""What a stage of training works on: its data, and its compiled model with all state that the next step depends on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from lmk.models.batch_metrics import TrainingMetric
from lmk.models.extract import Read
from lmk.models.network import Network


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Training data of a network.

    Attributes:
        ids: (n,) str.
        classes: (n,) int, class indices, `NO_LANDMARK` for photos of none.
        features: (n, views, ...) float16, the frozen extractor's; None if no stage needs them.
        read: A photo's id to RGB (h, w, 3) uint8.
    """

    ids: np.ndarray
    classes: np.ndarray
    features: np.ndarray | None
    read: Read


@dataclass(frozen=True, eq=False)
class Learner:
    """Model and data of a stage of training.

    Attributes:
        model: Compiled.
        part: The same part of the network, which has the variables of `model` unless several processes train.
        extractor: The extractor inside `part`; a twin of the network's where the stage's views have another size.
        watched: The metric that `model` is compiled with.
        parts: Batches a step: gradients of so many are summed.
    """

    model: keras.Model
    part: keras.Model
    extractor: keras.Model
    watched: TrainingMetric
    parts: int

    def give_back(self, network: Network) -> None:
        """Give the network the weights that were learnt."""
        if self.model is not self.part:
            self.part.set_weights(self.model.get_weights())
        if self.extractor is not network.extractor:
            network.extractor.set_weights(self.extractor.get_weights())

    def metrics(self) -> list[keras.metrics.Metric]:
        """The epoch's mean loss, and its metric; Keras lists the latter only after a first step."""
        return [*(metric for metric in self.model.metrics if metric.name == "loss"), self.watched]

    def sums(self) -> list[keras.Variable]:
        """The variables of `metrics`."""
        return [variable for metric in self.metrics() for variable in metric.variables]

    def state(self) -> list[keras.Variable]:
        """Everything that the next step depends on, and the metrics of the epoch."""
        return [*self.model.variables, *self.model.optimizer.variables, *self.sums()]


@contextmanager
def metrics_kept(model: keras.Model) -> Iterator[None]:
    """Let metrics run over an epoch of `train_on_batch`, which sets them to zero at each call."""
    model.reset_metrics = lambda: None  # the instance's own hides the class' method
    try:
        yield
    finally:
        del model.reset_metrics


def twin(model: keras.Model) -> keras.Model:
    """A copy of a model and all its state, made as the present distribution wants it."""
    copy = type(model).from_config(model.get_config())
    assign(copy.variables, [variable.numpy() for variable in model.variables])
    return copy


def assign(variables: list[keras.Variable], values: list[np.ndarray]) -> None:
    """Give each variable its value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
