"""Training of a recipe: its stages in order, checkpoints by time, early stop by the metric on dev."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lmk.data.batches import FeatureBatches, PhotoBatches, WithClasses, count_batches
from lmk.models.backbones.build import network_of, set_trainable
from lmk.models.batch_metrics import TrainingMetric
from lmk.models.checkpoints import read_checkpoint, write_checkpoint
from lmk.models.device import jit_for_device
from lmk.models.distributed import file_of_first, from_first, share_of, together
from lmk.models.learner import Learner, TrainingSet, assign, metrics_kept, twin
from lmk.models.losses import make_loss
from lmk.models.memory import accumulation, device_bytes, memory_errors
from lmk.models.network import Network, build_extractor
from lmk.models.normalization import match_normalization
from lmk.models.recipe import Stage
from lmk.models.schedules import depth_multipliers, make_optimizer, warmup_cosine
from lmk.util.errors import StoppedEarly
from lmk.util.progress import Progress, silent
from lmk.util.stopping import Stop
from lmk.util.team import ALONE, Team

Record = dict[str, float]
Best = tuple[float, list[np.ndarray] | None]
"""The best value of the metric on dev in a stage, -1 before it was asked, and the model's weights then."""

MATCHED_PHOTOS = 512
"""Photos whose statistics batch normalization starts from where it learns."""
BATCH_NORM_MOMENTUM = 0.9
"""Momentum of the moving statistics of a backbone that learns: they follow the last tens of batches. With the 0.999 of
Keras' MobileNetV2 they would be those of the weights of a thousand steps ago, which small competitions do not have."""
STEPS_TO_AGREE = 16
"""Steps after which several processes ask the first one whether to stop; asking takes a message to all."""


@dataclass(eq=False)
class Trainer:
    """Trains a network in place; a run that was killed goes on after its last checkpoint, to the same weights.

    Attributes:
        network: With its initial weights.
        data: Photos, and features where the first stages leave the backbone frozen.
        seed: Random seed of order, augmentation and dropout.
        checkpoint: File for the state; for the caller to remove once what was trained is stored.
        dev_score: The metric of the network on dev, asked after each epoch of a stage with patience; None: no stop.
        epochs: Epochs by stage in place of the recipe's, as the folds found best.
        label: For `progress`.
        progress: Reports each batch.
        team: The processes that train the network together; the first one's checkpoint and result on dev hold for all.
        checkpoint_minutes: Minutes between checkpoints within an epoch; one more is written after each epoch in which
            the backbone learns.
        stop: Asked after each step whether the run should end; a checkpoint is written first.
        jobs: Threads that read and augment photos; as many as there are cores if None.
        gains: Form in which the metric is watched in training, as `lmk.metrics.metric.Metric.gains` has it.
        history: A record an epoch: stage, loss, the metric in training, and the metric on dev where it was asked.
    """

    network: Network
    data: TrainingSet
    seed: int
    checkpoint: Path
    dev_score: Callable[[], float] | None = None
    epochs: Mapping[int, int] = field(default_factory=dict)
    label: str = ""
    progress: Progress = silent
    team: Team = ALONE
    checkpoint_minutes: float = 10.0
    stop: Stop = field(default_factory=Stop)
    jobs: int | None = None
    gains: tuple[float, ...] | None = None
    history: list[Record] = field(default_factory=list)
    _saved: float = field(default=0.0, init=False)
    """When the last checkpoint was written, by the monotonic clock."""

    def run(self) -> list[Record]:
        """Train what the checkpoint lacks of all stages; returns the history.

        Raises:
            StoppedEarly: `stop` asked for it; the checkpoint holds what was trained.
            LmkError: The device's memory does not suffice.
        """
        file_of_first(self.team, self.checkpoint)
        stored = read_checkpoint(self.checkpoint)
        self._saved = time.monotonic()
        with self.stop.deferred():
            for number in range(len(self.network.recipe.stages)):
                if stored is None or number >= stored["stage"]:
                    self._train_stage(number, stored if stored and number == stored["stage"] else None)
        return self.history

    def _train_stage(self, number: int, stored: dict | None) -> None:
        stage = self.network.recipe.stages[number]
        epochs = self.epochs.get(number, stage.epochs)
        keras.utils.set_random_seed(self.seed + 1000 * number)
        learner = self._learner(stage, number, epochs, stored)
        best: Best = (-1.0, None)
        first = done = 0
        if stored:
            first, done, best = self._restore(learner, stored)
        steps = self._steps(stage, learner.parts)
        with self.progress(f"{self.label}: stage {number + 1}", epochs * steps, "steps") as advance:
            advance(first * steps + done)
            for epoch in range(first, epochs):
                if self._waited_enough(number, stage):
                    break
                epoch_in = _Epoch(self, learner, number, epoch, done, steps, best, advance)
                done = 0
                with together(self.team):
                    record, own = self._fit(epoch_in)
                if stage.patience is not None and self.dev_score is not None:
                    learner.give_back(self.network)
                    record["dev_score"] = self._by_first(self.dev_score)
                    if record["dev_score"] > best[0]:
                        best = record["dev_score"], [np.array(weight) for weight in learner.model.get_weights()]
                self.history.append(record)
                if own is not None:
                    assign(learner.model.trainable_variables, own)
                # An epoch on stored features may take less time than its checkpoint.
                self.after_step(learner, number, epoch + 1, 0, best, save=stage.train_from is not None)
        if best[1] is not None:
            learner.model.set_weights(best[1])
        elif stage.ema is not None:
            learner.model.optimizer.finalize_variable_values(learner.model.trainable_variables)
        learner.give_back(self.network)

    def _learner(self, stage: Stage, number: int, epochs: int, stored: dict | None) -> Learner:
        """The part of the network that a stage trains, compiled; where several processes train it, a twin of it."""
        network = self.network
        extractor = self._extractor(stage)
        for layer in network.top.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = stage.learns_batch_norm
        if stage.train_from is not None:
            set_trainable(extractor, stage.train_from, stage.learns_batch_norm)
            layers = network_of(extractor).layers
            if any(isinstance(layer, keras.layers.BatchNormalization) and layer.trainable for layer in layers):
                self._prepare_normalization(extractor, stage, number, stored)
        part = replace(network, extractor=extractor).trained_part(whole=stage.train_from is not None)
        with together(self.team):
            model = part if self.team.processes == 1 else twin(part)
            each = -(-stage.batch_size // share_of(self.team).parts)
            # A run that goes on keeps its parts, whatever device it goes on with: its steps are those of its schedule.
            parts = stored["parts"] if stored else accumulation(model, each, device_bytes(), network.recipe.name)
            watched = TrainingMetric(network.head, network.recipe.background, gains=self.gains)
            self._compile(model, extractor, stage, epochs, watched, parts)
        return Learner(model, part, extractor, watched, parts)

    def _prepare_normalization(self, extractor: keras.Model, stage: Stage, number: int, stored: dict | None) -> None:
        """Let batch normalization learn from where prediction is; a checkpoint brings its statistics itself."""
        for layer in network_of(extractor).layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = min(layer.momentum, BATCH_NORM_MOMENTUM)
        if stored is None:
            views = self._photos(replace(stage, batch_size=64), (self.seed, number, stage.epochs))
            count = min(len(views), -(-MATCHED_PHOTOS // 64))
            match_normalization(extractor, (views[batch][0] for batch in range(count)))

    def _extractor(self, stage: Stage) -> keras.Model:
        """The network's extractor; where the stage's views have another size, a twin of that size with its weights."""
        network, recipe = self.network, self.network.recipe
        if stage.image_size in (None, recipe.image_size) or stage.train_from is None:
            return network.extractor
        if recipe.pooling == "flatten":
            raise ValueError(f"{recipe.name} flattens its feature map: its head fits one image size alone.")
        other = build_extractor(replace(recipe, image_size=stage.image_size), "none")
        other.set_weights(network.extractor.get_weights())
        return other

    def _by_first(self, dev_score: Callable[[], float]) -> float:
        """The network's metric on dev, as the first process finds it."""
        return struct.unpack("d", from_first(self.team, lambda: struct.pack("d", dev_score())))[0]

    def _compile(
        self, model: keras.Model, extractor: keras.Model, stage: Stage, epochs: int, watched: TrainingMetric, parts: int
    ) -> None:
        """Give what learns its loss and its optimizer."""
        network, recipe = self.network, self.network.recipe
        multipliers = {} if stage.train_from is None else backbone_multipliers(extractor, stage)
        steps = self._steps(stage, parts)
        rate = warmup_cosine(stage.learning_rate, epochs * steps, min(stage.warmup, epochs - 1) * steps)
        outputs = network.top.output_shape[-1] - (recipe.background == "class")
        counts = np.bincount(self.data.classes[self.data.classes >= 0], minlength=outputs)
        model.compile(
            optimizer=make_optimizer(
                recipe.optimizer,
                rate,
                multipliers,
                recipe.weight_decay if stage.weight_decay is None else stage.weight_decay,
                # The average moves with each part of a step.
                None if stage.ema is None else stage.ema ** (1 / parts),
                parts,
            ),
            loss=make_loss(
                recipe.loss,
                network.head,
                counts,
                recipe.background,
                recipe.label_smoothing,
                recipe.weigh_classes,
                recipe.margin,
            ),
            metrics=[watched],
            jit_compile=jit_for_device(),
        )

    def _fit(self, epoch: _Epoch) -> tuple[Record, list[np.ndarray] | None]:
        """Result of an epoch: its record; and the weights that go on learning where the model then has others.

        Where the stage wants the average of the weights, the model has that afterwards.
        """
        stage, model = self.network.recipe.stages[epoch.number], epoch.learner.model
        batches = self._batches(stage, epoch.number, epoch.epoch, epoch.learner.parts)
        with memory_errors(self.network.recipe.name, stage.batch_size // epoch.learner.parts):
            if stage.train_from is None:  # steps of milliseconds: `fit` takes longer to set out than to run
                logs = self._step_by_step(epoch, batches, stage.ema is not None)
            else:
                batches.first = epoch.done
                logs = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[epoch]).history
        loss, watched = (float(np.ravel(logs[name])[-1]) for name in ("loss", "score"))
        return {"stage": epoch.number, "epoch": epoch.epoch, "loss": loss, "train_score": watched}, epoch.own

    def _step_by_step(self, epoch: _Epoch, batches: keras.utils.PyDataset, average: bool) -> dict[str, Any]:
        """`fit` for batches that are computed in no time; at the end it, too, puts the weights' average in place."""
        model, logs = epoch.learner.model, {}
        for metric in epoch.learner.metrics():
            metric.reset_state()
        epoch.on_epoch_begin(0)
        with metrics_kept(model):
            for batch in range(epoch.done, len(batches)):
                logs = model.train_on_batch(*batches[batch], return_dict=True)
                epoch.on_train_batch_end(batch)
        epoch.on_epoch_end(0)
        if average:
            model.optimizer.finalize_variable_values(model.trainable_variables)
        return logs

    def _batches(self, stage: Stage, number: int, epoch: int, parts: int) -> keras.utils.PyDataset:
        data, recipe = self.data, self.network.recipe
        seed = (self.seed, number, epoch)
        if stage.train_from is not None:
            batches = self._photos(replace(stage, batch_size=-(-stage.batch_size // parts)), seed)
        elif data.features is None:
            raise ValueError(f"{recipe.name} trains on stored features, and there are none.")
        else:
            size = -(-stage.batch_size // parts)
            most = stage.steps if stage.steps is None else stage.steps * parts
            batches = FeatureBatches(data.features, data.classes, size, recipe.balance, seed, share_of(self.team), most)
        return batches if recipe.sampled_classes is None else WithClasses(batches)

    def _photos(self, stage: Stage, seed: tuple[int, int, int]) -> PhotoBatches:
        data, recipe = self.data, self.network.recipe
        side = stage.image_size or recipe.image_size
        return PhotoBatches(
            data.read, data.ids, data.classes, side, stage.batch_size, recipe.balance, seed, self.jobs,
            share_of(self.team), stage.steps,
        )  # fmt: skip

    def _steps(self, stage: Stage, parts: int) -> int:
        """Batches of an epoch; a step of the optimizer takes `parts` of them."""
        views = self.data.features.shape[1] if stage.train_from is None and self.data.features is not None else 1
        size = -(-stage.batch_size // parts)
        steps = count_batches(len(self.data.ids) * views, size, share_of(self.team))
        return steps if stage.steps is None else min(steps, stage.steps * parts)

    def _waited_enough(self, number: int, stage: Stage) -> bool:
        gaps = [record["dev_score"] for record in self.history if record["stage"] == number and "dev_score" in record]
        return stage.patience is not None and bool(gaps) and len(gaps) - 1 - int(np.argmax(gaps)) >= stage.patience

    def after_step(self, learner: Learner, number: int, epoch: int, done: int, best: Best, save: bool = False) -> None:
        """Write a checkpoint where it is time for one, and end the run where that is asked.

        Args:
            learner: What the stage trains.
            number: Number of the stage.
            epoch: The one in work, from 0.
            done: Batches of it that are done.
            best: So far.
            save: Whether it is time for a checkpoint whatever the clock says.

        Raises:
            StoppedEarly: It was asked.
        """
        stop = self._stop_asked(done)
        if save or stop or time.monotonic() - self._saved >= 60 * self.checkpoint_minutes:
            if keras.backend.backend() == "jax":
                learner.model.jax_state_sync()  # within `fit` the variables themselves are not up to date
            self._save(learner, number, epoch, done, best)
        if stop:
            self._end(number, epoch, done)

    def _stop_asked(self, done: int) -> bool:
        if self.team.processes == 1:
            return self.stop.asked
        return done % STEPS_TO_AGREE == 0 and from_first(self.team, lambda: b"1" if self.stop.asked else b"0") == b"1"

    def _end(self, number: int, epoch: int, done: int) -> None:
        raise StoppedEarly(
            f"Stopped, as {self.stop.reason or 'the first process was asked to'}: {self.label or 'training'} has a "
            f"checkpoint in stage {number + 1}, epoch {epoch + 1}, after {done} batches. Run the same command to go on."
        )

    def _save(self, learner: Learner, number: int, epoch: int, done: int, best: Best) -> None:
        """Everything that the next steps depend on: weights, random states, the optimizer, the best weights yet."""
        self._saved = time.monotonic()
        if self.team.process > 0:
            return
        facts = {
            "stage": number,
            "epoch": epoch,
            "done": done,
            "parts": learner.parts,
            "best": best[0],
            "history": self.history,
        }
        state = [variable.numpy() for variable in learner.state()]
        write_checkpoint(self.checkpoint, facts, state, best[1] or ())

    def _restore(self, learner: Learner, stored: dict) -> tuple[int, int, Best]:
        """Take up a checkpoint's state; returns its epoch, the batches of it that are done, and the best yet."""
        with together(self.team):
            learner.model.optimizer.build(learner.model.trainable_variables)
        assign(learner.state(), stored["model"])
        if stored["done"] == 0:  # they are those of the epoch before
            for metric in learner.metrics():
                metric.reset_state()
        self.history = stored["history"]
        return stored["epoch"], stored["done"], (stored["best"], stored["best_weights"] or None)


class _Epoch(keras.callbacks.Callback):
    """Work around the steps of one epoch.

    Attributes:
        done: Batches of the epoch that are done, also before this run of it.
        steps: Batches of the epoch.
        own: The weights that go on learning, where `fit` put their average in their place.
    """

    def __init__(
        self,
        trainer: Trainer,
        learner: Learner,
        number: int,
        epoch: int,
        done: int,
        steps: int,
        best: Best,
        advance: Callable[[int], None],
    ):
        super().__init__()
        self.trainer, self.learner, self.number, self.epoch = trainer, learner, number, epoch
        self.done, self.steps, self.best, self.advance = done, steps, best, advance
        self.own: list[np.ndarray] | None = None
        # Keras sets the sums of loss and metric to zero when an epoch begins, also one that goes on.
        self._sums = [variable.numpy() for variable in learner.sums()] if done else None

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if self._sums is not None:
            assign(self.learner.sums(), self._sums)

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.done += 1
        self.advance(1)
        if self.done < self.steps:  # after the last one the epoch's record comes first
            self.trainer.after_step(self.learner, self.number, self.epoch, self.done, self.best)

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if self.trainer.network.recipe.stages[self.number].ema is not None:
            self.own = [variable.numpy() for variable in self.learner.model.trainable_variables]


def best_epochs(histories: list[list[Record]]) -> dict[int, int]:
    """Epochs by stage: what was best on dev, the mean over the folds' histories; a stage without dev has no entry."""
    best: dict[int, list[int]] = {}
    for history in histories:
        for number in {int(record["stage"]) for record in history if "dev_score" in record}:
            gaps = [record["dev_score"] for record in history if record["stage"] == number]
            best.setdefault(number, []).append(int(np.argmax(gaps)) + 1)
    return {number: max(1, round(float(np.mean(epochs)))) for number, epochs in best.items()}


def backbone_multipliers(extractor: keras.Model, stage: Stage) -> dict[str, float]:
    """Factors of the learning rate by variable path in the backbone: the stage's own, and less by depth."""
    if stage.depth_decay != 1:
        deep = depth_multipliers(network_of(extractor), decay=stage.depth_decay)
        return {path: stage.backbone_factor * factor for path, factor in deep.items()}
    if stage.backbone_factor == 1:
        return {}
    return {variable.path: stage.backbone_factor for variable in network_of(extractor).trainable_variables}
