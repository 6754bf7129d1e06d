"""The stages of a run, each stored under all that it depends on: what is there already is not computed again."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from lmk import __version__
from lmk.data.competitions import Competition
from lmk.data.images import read_photo
from lmk.data.splits import Queries, Split, make_split
from lmk.models.recipes import Recipe, find_recipe
from lmk.predictions import Predictions, best_of, concatenate
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path, digest_of
from lmk.util.progress import Progress, silent
from lmk.util.workspace import Maker, Workspace

log = logging.getLogger(__name__)

RETRIEVAL, ENSEMBLE, FUSED = "retrieval", "ensemble", "fused"
"""Stages besides the recipes, which are called by their names."""
TOP_K = 20
"""Landmarks that each source keeps a query."""
READ_SIDE = 1024
"""Longest side that photos are read at, in pixels; larger ones are scaled down while they are decoded."""


Made = tuple[Predictions, Predictions, Mapping[str, np.ndarray]]
"""What a stage computes: predictions of dev and of test, and other arrays by name."""


def maker_here() -> Maker:
    """What computes here."""
    return version("keras"), os.environ.get("KERAS_BACKEND", "tensorflow")


@dataclass(frozen=True)
class Settings:
    """What a run is asked for.

    Attributes:
        recipes: Names, in order.
        weights: Of the backbones: `imagenet`, `none`, or a file or folder.
        image_size: In place of the recipes' own, in pixels.
        epochs: The most of each stage of training, in place of the recipes' own.
        views: A photo, in place of the recipes' own.
        seed: Of all random choices.
        folds: Parts of the split; each is held out in turn.
        share_without_landmark: Of the dev queries.
        ensemble: Whether the recipes and retrieval are blended, verified and fused.
        each_network: Whether retrieval by each network's descriptors alone is blended beside that by all.
        fusion: One of `ensemble.fuse.RULES`.
        local_features: What verifies: one of `lmk.local.kinds.KINDS`.
        delf: The backbone that DELF trains on, or the folder of a published one; None: what suits the weights.
        delf_tune: Epochs in which DELF's backbone learns before its attention does; 0 leaves it frozen.
        candidates: Landmarks verified a query.
        gallery: Photos compared a landmark, at the most.
        nearest: Whether these are the ones most like the query, in place of a seeded choice.
        enough: Inliers of one photo after which no more of its landmark are compared with a query; None: all are.
        precision: In which networks compute: `auto` (as the device does fastest without harm), `float32` or `bf16`.
        runtime: Who predicts with trained networks on a CPU: `keras` or `openvino`.
        jobs: Processes for what is many independent photos or pairs.
        answer_unreadable: Whether a query without a readable photo gets an answer, below all others.
    """

    recipes: tuple[str, ...]
    weights: str = "imagenet"
    image_size: int | None = None
    epochs: int | None = None
    views: int | None = None
    seed: int = 0
    folds: int = 5
    share_without_landmark: float = 0.6
    ensemble: bool = True
    each_network: bool = False
    fusion: str = "learned"
    local_features: str = "rootsift"
    delf: str | None = None
    delf_tune: int = 0
    candidates: int = 5
    gallery: int = 32
    nearest: bool = False
    enough: int | None = None
    precision: str = "auto"
    runtime: str = "keras"
    jobs: int = 2
    answer_unreadable: bool = True


def recipe_of(settings: Settings, name: str) -> Recipe:
    """The recipe of that name, with what the settings change of it."""
    recipe = find_recipe(name)
    if settings.image_size is not None:
        recipe = replace(recipe, image_size=settings.image_size)
    if settings.views is not None:
        recipe = recipe.with_views(settings.views)
    if settings.epochs is not None:
        most = settings.epochs
        recipe = replace(recipe, stages=tuple(replace(s, epochs=min(s.epochs, most)) for s in recipe.stages))
    return recipe


@dataclass(frozen=True, eq=False)
class Source:
    """What a stage made.

    Attributes:
        name, key: The stage, and the digest of all that it depends on.
        dev: Predictions of all dev queries, each by a model that never saw it.
        test: Predictions of all test photos that can be read.
        extras: Other arrays, by name.
    """

    name: str
    key: str
    dev: Predictions
    test: Predictions
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)


def pack_lists(part: str, lists: Sequence[Predictions]) -> dict[str, np.ndarray]:
    """Further lists of a stage's queries as arrays that `Source.extras` keeps; part: `dev` or `test`."""
    found = {f"{part} landmarks {place}": one.landmarks for place, one in enumerate(lists)}
    return found | {f"{part} scores {place}": one.scores for place, one in enumerate(lists)}


def lists_of(source: Source, part: Literal["dev", "test"]) -> list[Predictions]:
    """A stage's predictions of dev or of test, then the further lists that it packed."""
    whole: Predictions = getattr(source, part)
    lists = [whole]
    while (name := f"{part} landmarks {len(lists) - 1}") in source.extras:
        scores = source.extras[f"{part} scores {len(lists) - 1}"]
        lists.append(Predictions(whole.ids, source.extras[name], scores))
    return lists


def all_lists(parts: Iterable[Source], part: Literal["dev", "test"]) -> list[Predictions]:
    """All that is blended: the predictions of the parts, and the further lists that they packed."""
    return [found for source in parts for found in lists_of(source, part)]


@dataclass(eq=False)
class Run:
    """What the stages share: the competition, the split, where things are kept, and what has been told so far.

    Attributes:
        unreadable: Photo id to the reason why it cannot be read; such photos are not trained on.
        seconds: Time by stage.
        reused: Stages whose result was stored.
        made_by: Recipe to what computes or computed its results; `maker_of` finds it.
    """

    settings: Settings
    competition: Competition
    workspace: Workspace
    unreadable: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = silent
    note: Callable[[str], None] = lambda text: None
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    made_by: dict[str, Maker] = field(default_factory=dict)

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name, with what the settings change of it."""
        return recipe_of(self.settings, name)

    def maker_of(self, name: str, stored: Callable[[Maker], bool]) -> Maker:
        """What computes the results of a network, or computed them: here, or in a kernel from which they were pulled
        where none were made here; this is told once.

        Features and networks differ a little from one Keras to another, so it stands in their keys.

        Args:
            name: A recipe, or another network.
            stored: Whether a maker's results are in the workspace.
        """
        if name not in self.made_by:
            here = maker_here()
            makers = (maker for maker in (here, *self.workspace.makers()) if stored(maker))
            maker = self.made_by[name] = next(makers, here)
            if maker != here:
                self.note(f"{name} comes from a kernel with Keras {' '.join(maker)}; here is {' '.join(here)}.")
        return self.made_by[name]

    def check_maker(self, name: str, what: str) -> None:
        """Refuse to compute here what is to stand beside another Keras' results, under its name.

        Raises:
            LmkError: The network's results came from a kernel with another Keras.
        """
        here = maker_here()
        there = self.made_by.get(name, here)
        if there != here:
            raise LmkError(
                f"{name} comes from a kernel with Keras {' '.join(there)}, but some of its {what} are not here, and "
                f"Keras {' '.join(here)} would not give the same. Pull the kernel again, install that Keras, or remove "
                f"{self.workspace.makers_file} to compute all of it here."
            )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the block's time as the stage's."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - start, 3)

    @cached_property
    def split(self) -> Split:
        """Of the photos that can be read.

        Raises:
            LmkError: They show one landmark alone, so that none can be held out.
        """
        competition = self.competition
        good = self._readable(competition.train_ids)
        known = np.unique(competition.train_landmarks[good])
        if len(known) < 2:
            raise LmkError(
                f"{competition.root} has readable training photos of {len(known)} landmark(s). It needs two at least: "
                "what is left must be known when one is held out."
            )
        return make_split(
            competition.train_ids[good],
            competition.train_landmarks[good],
            competition.distractor_ids[self._readable(competition.distractor_ids)],
            self.settings.folds,
            self.settings.share_without_landmark,
            self.settings.seed,
        )

    @cached_property
    def dev(self) -> Queries:
        """The queries of all folds, fold by fold."""
        folds = [self.split.queries(fold) for fold in range(self.split.folds)]
        return Queries(
            *(np.concatenate([getattr(fold, name) for fold in folds]) for name in ("ids", "photos", "truth"))
        )

    @cached_property
    def test_ids(self) -> np.ndarray:
        """(m,) str, test photos that can be read, in the sample's order."""
        ids = self.competition.test_ids
        return ids[self.competition.has_photo(ids) & self._readable(ids)]

    @cached_property
    def data_key(self) -> dict[str, object]:
        """Names the photos and the split, for the keys of stages."""
        return {
            "competition": self.competition.digest,
            "unreadable": sorted(self.unreadable),
            "seed": self.settings.seed,
            "folds": self.settings.folds,
            "share": self.settings.share_without_landmark,
        }

    def read(self, photo_id: str) -> np.ndarray:
        """RGB (h, w, 3) uint8, its longest side at most `READ_SIDE`."""
        path = self.competition.photo(photo_id)
        if path is None:
            raise LmkError(f"The photo '{photo_id}' is gone. Was it removed while lmk ran?")
        return read_photo(path, READ_SIDE)

    def digest(self, stage: str, key: Mapping[str, object]) -> str:
        """Names a stage's result."""
        return digest_of({"stage": stage, "lmk": __version__, **key})

    def is_stored(self, stage: str, key: Mapping[str, object]) -> bool:
        """Whether `stored` would compute nothing."""
        return all(path.exists() for path in self.files(stage, self.digest(stage, key)))

    def stored(self, stage: str, key: Mapping[str, object], compute: Callable[[], Made]) -> Source:
        """The stage's predictions and arrays from the workspace, or computed and put there."""
        digest = self.digest(stage, key)
        dev, test, extras = self.files(stage, digest)
        with self.timed(stage):
            if self.is_stored(stage, key):
                log.info("%s is stored in %s.", stage, dev)
                self.reused.append(stage)
                with np.load(extras, allow_pickle=False) as file:
                    arrays = {name: file[name] for name in file.files}
                return Source(stage, digest, Predictions.load(dev), Predictions.load(test), arrays)
            self.note(f"{stage} ...")
            made = compute()
            made[0].save(dev)
            made[1].save(test)
            with atomic_path(extras) as draft, draft.open("wb") as file:
                np.savez(file, allow_pickle=False, **made[2])
        return Source(stage, digest, *made)

    def by_fold(
        self, label: str, answer: Callable[[int | None, np.ndarray, np.ndarray], Predictions]
    ) -> tuple[Predictions, Predictions]:
        """Dev predictions, each fold's queries by its own model, and test predictions by the model of all photos.

        label: Whose progress is told.
        answer: From the fold (None: all photos), query ids and the photos that they show.
        """

        def asked(fold: int | None, ids: np.ndarray, photos: np.ndarray) -> Predictions:
            return answer(fold, ids, photos) if len(ids) else best_of(ids, np.empty((0, 0)), np.empty((0, 0)), TOP_K)

        folds = [self.split.queries(fold) for fold in range(self.split.folds)]
        dev = []
        with self.progress(label, len(folds) + 1, "networks") as advance:
            for fold, queries in enumerate(folds):
                dev.append(asked(fold, queries.ids, queries.photos))
                advance(1)
            test = asked(None, self.test_ids, self.test_ids)
            advance(1)
        return concatenate(dev), test

    def training(self, fold: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training photos (n,) str, their landmarks (n,), and distractors (d,) str of a fold, or of all (None)."""
        split = self.split
        if fold is None:
            return split.train_ids, split.train_landmarks, split.distractor_ids
        photos, distractors = split.training(fold)
        return split.train_ids[photos], split.train_landmarks[photos], split.distractor_ids[distractors]

    def files(self, stage: str, digest: str) -> tuple[Path, Path, Path]:
        """Where a stage's predictions of dev and of test lie, and its other arrays."""
        base = f"{stage}-{digest}"
        dev, test, extras = (
            self.workspace.predictions / f"{base}.{end}" for end in ("dev.parquet", "test.parquet", "npz")
        )
        return dev, test, extras

    def _readable(self, ids: np.ndarray) -> np.ndarray:
        return ~np.isin(ids, np.array(sorted(self.unreadable), dtype=str))
