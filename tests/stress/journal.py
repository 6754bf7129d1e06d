"""What a run that may be killed tells before its work goes on: phases begun, units computed, units stored."""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lmk.pipeline.steps import Step


class Journal:
    """One line an event, flushed before the work goes on: what a killed process did."""

    def __init__(self, path: Path):
        self.path = path

    def tell(self, what: str, unit: str) -> None:
        """`what` happened to a unit of work."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([what, unit, time.monotonic()]) + "\n")

    def events(self, first: int = 0) -> list[tuple[str, str]]:
        """All that was told from a line on, in order."""
        return [(what, unit) for what, unit, _ in self._told(first)]

    def _told(self, first: int = 0) -> list[tuple[str, str, float]]:
        found = []
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines[first:]:
            with suppress(ValueError):  # the last line of a killed process may be cut
                what, unit, when = json.loads(line)
                found.append((what, unit, when))
        return found

    def lines(self) -> int:
        """How many lines there are."""
        return self.path.read_bytes().count(b"\n") if self.path.exists() else 0

    def computed_again(self) -> list[str]:
        """Units that were computed although they had been stored."""
        stored, again = set(), []
        for what, unit in self.events():
            if what == "stored":
                stored.add(unit)
            elif what == "computed" and unit in stored:
                again.append(unit)
        return again

    def seconds(self) -> dict[str, float]:
        """The phases in the order in which they began first, with the seconds of the longest stretch of each."""
        told = self._told()
        begun = [(unit, when) for what, unit, when in told if what == "phase"] + [("", told[-1][2])]
        found: dict[str, float] = {}
        for (phase, start), (_, end) in pairwise(begun):
            found[phase] = max(found.get(phase, 0.0), end - start)
        return found

    def phase(self) -> str:
        """The phase that the last process was in."""
        return next((unit for what, unit in reversed(self.events()) if what == "phase"), "start")


def watch(journal: Journal, put: Callable[[Any, str, Any], None]) -> None:
    """Make this process tell the journal of every phase, shard, epoch and stage; `put` sets an attribute."""
    from lmk.pipeline import run as pipeline

    _watch_stores(journal, put)
    _watch_training(journal, put)
    build = pipeline.build

    def telling_build(*words: Any) -> list[Step]:
        return [_telling_step(journal, step) for step in build(*words)]

    put(pipeline, "build", telling_build)
    for name, phase in (("keep_record", "record"), ("write_page", "page")):
        put(pipeline, name, _in_phase(journal, phase, getattr(pipeline, name)))


def _telling_step(journal: Journal, step: Step) -> Step:
    """The step, which tells when it computes and when its result is kept."""

    def compute(results: Any) -> Any:
        journal.tell("phase", step.stage)
        made = step.compute(results)
        journal.tell("computed", step.name)
        return made

    class Telling:
        missing, load = step.slot.missing, step.slot.load

        @staticmethod
        def save(result: Any) -> None:
            step.slot.save(result)
            journal.tell("stored", step.name)

    return replace(step, compute=compute, slot=Telling())


def _watch_stores(journal: Journal, put: Callable[[Any, str, Any], None]) -> None:
    from lmk.util.store import ArrayStore

    append, collect = ArrayStore.append, ArrayStore.collect

    def telling_append(store: ArrayStore, ids: np.ndarray, arrays: Any) -> None:
        unit = f"{store.folder.name} {hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"
        journal.tell("computed", unit)
        append(store, ids, arrays)
        journal.tell("stored", unit)

    def telling_collect(store: ArrayStore, ids: np.ndarray, *rest: Any) -> Any:
        if len(store.missing(ids)):
            journal.tell("phase", f"shards of {store.folder.name.rpartition('-')[0]}")
        return collect(store, ids, *rest)

    put(ArrayStore, "append", telling_append)
    put(ArrayStore, "collect", telling_collect)


def _watch_training(journal: Journal, put: Callable[[Any, str, Any], None]) -> None:
    from lmk.models.delf import network as delf
    from lmk.models.delf import training as delf_training
    from lmk.models.training import Trainer
    from lmk.pipeline.delf import DelfExtractor

    run, fit, save, save_delf = Trainer.run, Trainer._fit, Trainer._save, delf.save_delf

    def telling_run(trainer: Trainer) -> Any:
        journal.tell("phase", f"training of {trainer.network.recipe.name}")
        return run(trainer)

    def telling_fit(trainer: Trainer, epoch: Any) -> Any:
        found = fit(trainer, epoch)
        journal.tell("computed", f"{trainer.checkpoint.name} stage {epoch.number} epoch {epoch.epoch + 1}")
        return found

    def telling_save(trainer: Trainer, learner: Any, number: int, epoch: int, done: int, best: Any) -> None:
        save(trainer, learner, number, epoch, done, best)
        if done == 0:  # a checkpoint within an epoch stores a part of it
            journal.tell("stored", f"{trainer.checkpoint.name} stage {number} epoch {epoch}")

    def telling_save_delf(*words: Any) -> None:
        journal.tell("computed", "DELF's network")
        save_delf(*words)
        journal.tell("stored", "DELF's network")

    put(Trainer, "run", telling_run)
    put(Trainer, "_fit", telling_fit)
    put(Trainer, "_save", telling_save)
    put(delf_training, "train_delf", _in_phase(journal, "training of DELF", delf_training.train_delf))
    put(delf, "save_delf", telling_save_delf)
    put(DelfExtractor, "_fit_pca", _in_phase(journal, "PCA of DELF", DelfExtractor._fit_pca))


def _in_phase(journal: Journal, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which tells first that its phase begins."""

    def telling(*words: Any, **named: Any) -> Any:
        journal.tell("phase", phase)
        return function(*words, **named)

    return telling
