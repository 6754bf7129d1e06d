"""Training of a recipe: its stages in order, a checkpoint an epoch, early stop on the true GAP of dev."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np

from lmk.data.batches import FeatureBatches, PhotoBatches, count_batches
from lmk.models.backbones.build import network_of, set_trainable
from lmk.models.batch_metrics import TrainingGAP
from lmk.models.device import jit_for_device
from lmk.models.distributed import file_of_first, from_first, share_of, together
from lmk.models.extract import Read
from lmk.models.losses import make_loss
from lmk.models.network import Network, build_extractor
from lmk.models.recipes import Stage
from lmk.models.schedules import depth_multipliers, make_optimizer, warmup_cosine
from lmk.util.files import atomic_path
from lmk.util.progress import Progress, silent
from lmk.util.team import ALONE, Team

Record = dict[str, float]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What a network learns from.

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
    """What a stage trains.

    Attributes:
        model: Compiled.
        part: The same part of the network, which has the variables of `model` unless several processes train.
        extractor: Of the part; a twin of the network's where the stage's views have another size.
    """

    model: keras.Model
    part: keras.Model
    extractor: keras.Model

    def give_back(self, network: Network) -> None:
        """Give the network the weights that were learnt."""
        if self.model is not self.part:
            self.part.set_weights(self.model.get_weights())
        if self.extractor is not network.extractor:
            network.extractor.set_weights(self.extractor.get_weights())


@dataclass(eq=False)
class Trainer:
    """Trains a network in place; a run that was killed goes on after its last whole epoch, to the same weights.

    Attributes:
        network: With its initial weights.
        data: Photos, and features where the first stages leave the backbone frozen.
        seed: Of order, augmentation and dropout.
        checkpoint: File for the state after each epoch; for the caller to remove once what was trained is stored.
        dev_gap: GAP of the network on dev, asked after each epoch of a stage with patience; None: no early stop.
        epochs: Epochs by stage in place of the recipe's, as the folds found best.
        label: For `progress`.
        progress: Told of each batch.
        team: The processes that train the network together; the first one's checkpoint and GAP on dev hold for all.
        history: A record an epoch: stage, loss, GAP in training, and GAP on dev where it was asked.
    """

    network: Network
    data: TrainingSet
    seed: int
    checkpoint: Path
    dev_gap: Callable[[], float] | None = None
    epochs: Mapping[int, int] = field(default_factory=dict)
    label: str = ""
    progress: Progress = silent
    team: Team = ALONE
    history: list[Record] = field(default_factory=list)
    _average: list[np.ndarray] | None = field(default=None, init=False)
    """Of the stage's trainable weights over its steps, where it wants one."""

    def run(self) -> list[Record]:
        """Train what the checkpoint lacks of all stages; returns the history."""
        file_of_first(self.team, self.checkpoint)
        stored = _load(self.checkpoint)
        for number in range(len(self.network.recipe.stages)):
            if stored is None or number >= stored["stage"]:
                self._train_stage(number, stored if stored and number == stored["stage"] else None)
        return self.history

    def _train_stage(self, number: int, stored: dict | None) -> None:
        stage = self.network.recipe.stages[number]
        epochs = self.epochs.get(number, stage.epochs)
        keras.utils.set_random_seed(self.seed + 1000 * number)
        self._average = None
        learner = self._learner(stage, epochs)
        model = learner.model
        best: tuple[float, list[np.ndarray] | None] = (-1.0, None)
        first = 0
        if stored:
            first, best = self._restore(model, stored)
        with self.progress(f"{self.label}: stage {number + 1}", epochs * self._steps(stage), "steps") as advance:
            advance(first * self._steps(stage))
            for epoch in range(first, epochs):
                if self._waited_enough(number, stage):
                    break
                with together(self.team):
                    record = self._fit(model, number, epoch, advance)
                if stage.patience is not None and self.dev_gap is not None:
                    with self._averaged(learner):
                        record["dev_gap"] = self._by_first(self.dev_gap)
                        if record["dev_gap"] > best[0]:
                            best = record["dev_gap"], [np.array(weight) for weight in model.get_weights()]
                self.history.append(record)
                if stage.train_from is not None:  # a frozen stage takes seconds and starts anew
                    self._save(model, number, epoch + 1, best)
        if best[1] is not None:
            model.set_weights(best[1])
        elif self._average is not None:
            _assign(model.trainable_variables, self._average)
        learner.give_back(self.network)

    def _learner(self, stage: Stage, epochs: int) -> Learner:
        """The part of the network that a stage trains, compiled; where several processes train it, a twin of it."""
        network = self.network
        extractor = self._extractor(stage)
        for layer in network.top.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = stage.learns_batch_norm
        part = network.top
        if stage.train_from is not None:
            set_trainable(extractor, stage.train_from, stage.learns_batch_norm)
            part = replace(network, extractor=extractor).whole()
        with together(self.team):
            model = part if self.team.processes == 1 else _twin(part)
            self._compile(model, extractor, stage, epochs)
        return Learner(model, part, extractor)

    def _extractor(self, stage: Stage) -> keras.Model:
        """The network's extractor; where the stage's views have another size, a twin of that size with its weights."""
        network, recipe = self.network, self.network.recipe
        if stage.image_size in (None, recipe.image_size) or stage.train_from is None:
            return network.extractor
        if recipe.pooling == "flatten":
            raise ValueError(f"{recipe.name} flattens its feature map: its head fits one image size alone.")
        twin = build_extractor(replace(recipe, image_size=stage.image_size), "none")
        twin.set_weights(network.extractor.get_weights())
        return twin

    def _by_first(self, dev_gap: Callable[[], float]) -> float:
        """The network's GAP on dev, as the first process finds it."""
        return struct.unpack("d", from_first(self.team, lambda: struct.pack("d", dev_gap())))[0]

    @contextmanager
    def _averaged(self, learner: Learner) -> Iterator[None]:
        """The network with its weights averaged, where the stage wants that; what learns is then as it was."""
        if self._average is None:
            learner.give_back(self.network)
            yield
            return
        variables = learner.model.trainable_variables
        own = [variable.numpy() for variable in variables]
        _assign(variables, self._average)
        learner.give_back(self.network)
        yield
        _assign(variables, own)

    def _stepped(self, model: keras.Model, stage: Stage) -> None:
        """After a step: move the average of the weights a little towards them."""
        if stage.ema is None:
            return
        weights = [variable.numpy() for variable in model.trainable_variables]
        if self._average is None:
            self._average = [np.array(weight) for weight in weights]
        for average, weight in zip(self._average, weights, strict=True):
            average += (1 - stage.ema) * (weight - average)

    def _compile(self, model: keras.Model, extractor: keras.Model, stage: Stage, epochs: int) -> None:
        """Give what learns its loss and its optimizer."""
        network, recipe = self.network, self.network.recipe
        multipliers = {} if stage.train_from is None else backbone_multipliers(extractor, stage)
        steps = self._steps(stage)
        rate = warmup_cosine(stage.learning_rate, epochs * steps, min(stage.warmup, epochs - 1) * steps)
        outputs = network.top.output_shape[-1] - (recipe.background == "class")
        counts = np.bincount(self.data.classes[self.data.classes >= 0], minlength=outputs)
        model.compile(
            optimizer=make_optimizer(recipe.optimizer, rate, multipliers, recipe.weight_decay),
            loss=make_loss(
                recipe.loss,
                network.head,
                counts,
                recipe.background,
                recipe.label_smoothing,
                recipe.weigh_classes,
                recipe.margin,
            ),
            metrics=[TrainingGAP(network.head, recipe.background)],
            jit_compile=jit_for_device(),
        )

    def _fit(self, model: keras.Model, number: int, epoch: int, advance: Callable[[int], None]) -> Record:
        stage = self.network.recipe.stages[number]
        batches = self._batches(stage, number, epoch)
        if stage.train_from is None:  # steps of milliseconds: `fit` takes longer to set out than to run
            model.reset_metrics()
            logs = {}
            for batch in range(len(batches)):
                logs = model.train_on_batch(*batches[batch], return_dict=True)
                self._stepped(model, stage)
                advance(1)
            return {"stage": number, "epoch": epoch, "loss": float(logs["loss"]), "train_gap": float(logs["gap"])}

        def after_step(batch: int, logs: object) -> None:
            self._stepped(model, stage)
            advance(1)

        told = keras.callbacks.LambdaCallback(on_train_batch_end=after_step)
        logs = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[told]).history
        return {"stage": number, "epoch": epoch, "loss": logs["loss"][-1], "train_gap": logs["gap"][-1]}

    def _batches(self, stage: Stage, number: int, epoch: int) -> keras.utils.PyDataset:
        data, recipe, share = self.data, self.network.recipe, share_of(self.team)
        seed = (self.seed, number, epoch)
        if stage.train_from is None:
            if data.features is None:
                raise ValueError(f"{recipe.name} trains on stored features, and there are none.")
            return FeatureBatches(data.features, data.classes, stage.batch_size, recipe.balance, seed, share)
        side, balance = stage.image_size or recipe.image_size, recipe.balance
        return PhotoBatches(data.read, data.ids, data.classes, side, stage.batch_size, balance, seed, share=share)

    def _steps(self, stage: Stage) -> int:
        views = self.data.features.shape[1] if stage.train_from is None and self.data.features is not None else 1
        return count_batches(len(self.data.ids) * views, stage.batch_size, share_of(self.team))

    def _waited_enough(self, number: int, stage: Stage) -> bool:
        gaps = [record["dev_gap"] for record in self.history if record["stage"] == number and "dev_gap" in record]
        return stage.patience is not None and bool(gaps) and len(gaps) - 1 - int(np.argmax(gaps)) >= stage.patience

    def _save(self, model: keras.Model, number: int, epoch: int, best: tuple[float, list[np.ndarray] | None]) -> None:
        """Everything that the next epochs depend on: weights, random states, the optimizer, the best weights yet."""
        if self.team.process > 0:
            return
        arrays = {f"model{place:04d}": variable.numpy() for place, variable in enumerate(_state(model))}
        arrays |= {f"best{place:04d}": weight for place, weight in enumerate(best[1] or ())}
        arrays |= {f"average{place:04d}": weight for place, weight in enumerate(self._average or ())}
        told = {"stage": number, "epoch": epoch, "best": best[0], "history": self.history}
        with atomic_path(self.checkpoint) as draft, draft.open("wb") as file:
            np.savez(file, allow_pickle=False, told=np.array(json.dumps(told)), **arrays)

    def _restore(self, model: keras.Model, stored: dict) -> tuple[int, tuple[float, list[np.ndarray] | None]]:
        with together(self.team):
            model.optimizer.build(model.trainable_variables)
        for variable, value in zip(_state(model), stored["model"], strict=True):
            variable.assign(value)
        self.history = stored["history"]
        self._average = stored["average"] or None
        return stored["epoch"], (stored["best"], stored["best_weights"] or None)


def best_epochs(histories: list[list[Record]]) -> dict[int, int]:
    """Epochs by stage: what was best on dev, the mean over the folds' histories; a stage without dev has no entry."""
    best: dict[int, list[int]] = {}
    for history in histories:
        for number in {int(record["stage"]) for record in history if "dev_gap" in record}:
            gaps = [record["dev_gap"] for record in history if record["stage"] == number]
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


def _twin(model: keras.Model) -> keras.Model:
    """A copy of a model and all its state, made as the present distribution wants it."""
    copy = type(model).from_config(model.get_config())
    _assign(copy.variables, [variable.numpy() for variable in model.variables])
    return copy


def _assign(variables: list[keras.Variable], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _state(model: keras.Model) -> list[keras.Variable]:
    """Weights and random states of a model, and its optimizer's variables."""
    return [*model.variables, *model.optimizer.variables]


def _load(checkpoint: Path) -> dict | None:
    """What `_save` wrote; None if there is nothing whole."""
    if not checkpoint.exists():
        return None
    with np.load(checkpoint, allow_pickle=False) as file:
        told = json.loads(str(file["told"]))
        names = sorted(file.files)
        told["model"] = [file[name] for name in names if name.startswith("model")]
        told["average"] = [file[name] for name in names if name.startswith("average")]
        told["best_weights"] = [file[name] for name in names if name.startswith("best")]
    return told
