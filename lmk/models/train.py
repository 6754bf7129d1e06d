"""Training of a recipe: its stages in order, a checkpoint an epoch, early stop on the true GAP of dev."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from lmk.data.batches import FeatureBatches, PhotoBatches
from lmk.files import atomic_path
from lmk.models.backbones import network_of, set_trainable
from lmk.models.batch_metrics import TrainingGAP
from lmk.models.device import jit_for_device
from lmk.models.extract import Read
from lmk.models.losses import make_loss
from lmk.models.network import Network
from lmk.models.recipes import Stage
from lmk.models.schedules import make_optimizer, warmup_cosine
from lmk.progress import Progress, silent

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


@dataclass(eq=False)
class Trainer:
    """Trains a network in place; a run that was killed goes on after its last whole epoch, to the same weights.

    Attributes:
        network: With its initial weights.
        data: Photos, and features where the first stages leave the backbone frozen.
        seed: Of order, augmentation and dropout.
        checkpoint: File for the state after each epoch; removed at the end.
        dev_gap: GAP of the network on dev, asked after each epoch of a stage with patience; None: no early stop.
        epochs: Epochs by stage in place of the recipe's, as the folds found best.
        label: For `progress`.
        progress: Told of each batch.
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
    history: list[Record] = field(default_factory=list)

    def run(self) -> list[Record]:
        """Train what the checkpoint lacks of all stages; returns the history."""
        stored = _load(self.checkpoint)
        for number in range(len(self.network.recipe.stages)):
            if stored is None or number >= stored["stage"]:
                self._train_stage(number, stored if stored and number == stored["stage"] else None)
        self.checkpoint.unlink(missing_ok=True)
        return self.history

    def _train_stage(self, number: int, stored: dict | None) -> None:
        stage = self.network.recipe.stages[number]
        epochs = self.epochs.get(number, stage.epochs)
        keras.utils.set_random_seed(self.seed + 1000 * number)
        model = self._compiled(stage, epochs)
        best: tuple[float, list[np.ndarray] | None] = (-1.0, None)
        first = 0
        if stored:
            first, best = self._restore(model, stored)
        with self.progress(f"{self.label}: stage {number + 1}", epochs * self._steps(stage), "steps") as advance:
            advance(first * self._steps(stage))
            for epoch in range(first, epochs):
                if self._waited_enough(number, stage):
                    break
                record = self._fit(model, number, epoch, advance)
                if stage.patience is not None and self.dev_gap is not None:
                    record["dev_gap"] = self.dev_gap()
                    if record["dev_gap"] > best[0]:
                        best = record["dev_gap"], [np.array(weight) for weight in model.get_weights()]
                self.history.append(record)
                if stage.train_from is not None:  # a frozen stage takes seconds and starts anew
                    self._save(model, number, epoch + 1, best)
        if best[1] is not None:
            model.set_weights(best[1])

    def _compiled(self, stage: Stage, epochs: int) -> keras.Model:
        """The part that the stage trains, with its loss and its optimizer."""
        network, recipe = self.network, self.network.recipe
        multipliers = {}
        if stage.train_from is None:
            model = network.top
        else:
            set_trainable(network.extractor, stage.train_from)
            model = network.whole()
            if stage.backbone_factor != 1:
                variables = network_of(network.extractor).trainable_variables
                multipliers = {variable.path: stage.backbone_factor for variable in variables}
        steps = self._steps(stage)
        rate = warmup_cosine(stage.learning_rate, epochs * steps, min(stage.warmup, epochs - 1) * steps)
        outputs = network.top.output_shape[-1] - (recipe.background == "class")
        counts = np.bincount(self.data.classes[self.data.classes >= 0], minlength=outputs)
        model.compile(
            optimizer=make_optimizer(recipe.optimizer, rate, multipliers, recipe.weight_decay),
            loss=make_loss(
                recipe.loss, network.head, counts, recipe.background, recipe.label_smoothing, recipe.weigh_classes
            ),
            metrics=[TrainingGAP(network.head, recipe.background)],
            jit_compile=jit_for_device(),
        )
        return model

    def _fit(self, model: keras.Model, number: int, epoch: int, advance: Callable[[int], None]) -> Record:
        batches = self._batches(self.network.recipe.stages[number], number, epoch)
        told = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: advance(1))
        logs = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[told]).history
        return {"stage": number, "epoch": epoch, "loss": logs["loss"][-1], "train_gap": logs["gap"][-1]}

    def _batches(self, stage: Stage, number: int, epoch: int) -> keras.utils.PyDataset:
        data, recipe = self.data, self.network.recipe
        seed = (self.seed, number, epoch)
        if stage.train_from is None:
            if data.features is None:
                raise ValueError(f"{recipe.name} trains on stored features, and there are none.")
            return FeatureBatches(data.features, data.classes, stage.batch_size, recipe.balance, seed)
        return PhotoBatches(
            data.read, data.ids, data.classes, recipe.image_size, stage.batch_size, recipe.balance, seed
        )

    def _steps(self, stage: Stage) -> int:
        views = self.data.features.shape[1] if stage.train_from is None and self.data.features is not None else 1
        return -(-len(self.data.ids) * views // stage.batch_size)

    def _waited_enough(self, number: int, stage: Stage) -> bool:
        gaps = [record["dev_gap"] for record in self.history if record["stage"] == number and "dev_gap" in record]
        return stage.patience is not None and bool(gaps) and len(gaps) - 1 - int(np.argmax(gaps)) >= stage.patience

    def _save(self, model: keras.Model, number: int, epoch: int, best: tuple[float, list[np.ndarray] | None]) -> None:
        """Everything that the next epochs depend on: weights, random states, the optimizer, the best weights yet."""
        arrays = {f"model{place:04d}": variable.numpy() for place, variable in enumerate(_state(model))}
        arrays |= {f"best{place:04d}": weight for place, weight in enumerate(best[1] or ())}
        told = {"stage": number, "epoch": epoch, "best": best[0], "history": self.history}
        with atomic_path(self.checkpoint) as draft, draft.open("wb") as file:
            np.savez(file, allow_pickle=False, told=np.array(json.dumps(told)), **arrays)

    def _restore(self, model: keras.Model, stored: dict) -> tuple[int, tuple[float, list[np.ndarray] | None]]:
        model.optimizer.build(model.trainable_variables)
        for variable, value in zip(_state(model), stored["model"], strict=True):
            variable.assign(value)
        self.history = stored["history"]
        return stored["epoch"], (stored["best"], stored["best_weights"] or None)


def best_epochs(histories: list[list[Record]]) -> dict[int, int]:
    """Epochs by stage: what was best on dev, the mean over the folds' histories; a stage without dev has no entry."""
    best: dict[int, list[int]] = {}
    for history in histories:
        for number in {int(record["stage"]) for record in history if "dev_gap" in record}:
            gaps = [record["dev_gap"] for record in history if record["stage"] == number]
            best.setdefault(number, []).append(int(np.argmax(gaps)) + 1)
    return {number: max(1, round(float(np.mean(epochs)))) for number, epochs in best.items()}


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
        told["best_weights"] = [file[name] for name in names if name.startswith("best")]
    return told
