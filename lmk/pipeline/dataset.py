"""The dataset of a run: readable photos, the split into training and dev, and how photos are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lmk.data import competitions
from lmk.data.competitions import DEMO, Competition
from lmk.data.identity import Identity, identify, remembered
from lmk.data.images import read_photo
from lmk.data.splits import Queries, Split, make_holdout, make_split
from lmk.demo.competition import make_demo
from lmk.pipeline.config import READ_SIDE, Config, Execution
from lmk.pipeline.key import Key
from lmk.predictions import Predictions, best_of, concatenate
from lmk.util.errors import LmkError
from lmk.util.progress import Progress, silent

READING = ("lmk.data.headers", "lmk.data.images", "lmk.data.views")
"""Modules that make the pixels of photos and views."""
SPLITTING = ("lmk.data.splits",)
"""Modules that decide what is trained on and what is asked."""


def open_competition(name: str, folder: Path, progress: Progress = silent) -> Competition:
    """Read a competition by slug, path, or `demo`, which is drawn into `folder` where it is absent; arguments and
    errors as for `lmk.data.competitions.open_competition`."""
    if name == DEMO:
        make_demo(folder / DEMO, progress=progress)
    return competitions.open_competition(name, folder, progress)


@dataclass(frozen=True, eq=False)
class Part:
    """Training photos of one network, and the queries that it answers.

    Attributes:
        name: For people: `fold 1`, `all photos`, `holdout`.
        fold: Fold that is held out; None for the part with all photos.
        photos, landmarks: (n,) str and (n,) int64, training photos and what they show.
        distractors: (d,) str, training photos of no landmark.
        queries: Dev queries, none of whose photos are among these.
        answers_test: Whether its network answers the test photos.
    """

    name: str
    fold: int | None
    photos: np.ndarray
    landmarks: np.ndarray
    distractors: np.ndarray
    queries: Queries
    answers_test: bool


class Asked(NamedTuple):
    """Queries for a model: of dev or of test, ids (n,) str, and the photos that they show (n,) str."""

    of: Literal["dev", "test"]
    ids: np.ndarray
    photos: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A competition as one run sees it.

    Attributes:
        competition: Its files.
        identity: What its photos hold.
        split: Folds of the readable training photos and distractors.
        parts: What each network is trained on and asked.
        dev: Queries of all parts, part by part.
        test_ids: (m,) str, test photos that can be read, in the sample's order.
        photos_key, split_key: Keys of the pixels of all photos, and of the split.
        seconds: Time of the search for unreadable photos, in seconds.
        known_before: Whether an earlier run had searched.
    """

    competition: Competition
    identity: Identity
    split: Split
    parts: tuple[Part, ...]
    dev: Queries
    test_ids: np.ndarray
    photos_key: Key
    split_key: Key
    seconds: float = 0.0
    known_before: bool = False

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Reason by id of each photo that cannot be read; none of them is trained on or asked."""
        return self.identity.unreadable

    @cached_property
    def photos(self) -> np.ndarray:
        """(n,) str, every readable photo: training photos, distractors, test photos."""
        return np.concatenate([self.split.train_ids, self.split.distractor_ids, self.test_ids])

    @property
    def reference(self) -> Part:
        """The part whose photos galleries and local features are learned from: no dev photo is among them where dev
        is a holdout; with folds it is all photos, and a query is never compared with itself."""
        return self.parts[-1] if self.parts[-1].fold is None and not self.is_holdout else self.parts[0]

    @property
    def is_holdout(self) -> bool:
        """Whether dev is one held-out part."""
        return self.parts[0].name == "holdout"

    def read(self, photo_id: str, enough: int | None = None) -> np.ndarray:
        """RGB (h, w, 3) uint8, its longest side at most `READ_SIDE`; `enough` is as for `read_photo`."""
        path = self.competition.photo(photo_id)
        if path is None:
            raise LmkError(f"The photo '{photo_id}' is gone. Was it removed while lmk ran?")
        return read_photo(path, READ_SIDE, enough)

    def reader(self, enough: int) -> Callable[[str], np.ndarray]:
        """Reader of photos for a use that resizes their shorter side to `enough` pixels or fewer."""
        return partial(self.read, enough=enough)

    def by_part(
        self, answer: Callable[[Part, Asked], Predictions], label: str, progress: Progress
    ) -> tuple[Predictions, Predictions]:
        """Dev predictions, each part's queries by its own model, and test predictions.

        Args:
            answer: Function from a part and queries to predictions.
            label: What is computed, for `progress`.
            progress: Reports each part.
        """
        dev, test = [], []
        with progress(label, len(self.parts), "networks") as advance:
            for part in self.parts:
                if len(part.queries):
                    dev.append(answer(part, Asked("dev", part.queries.ids, part.queries.photos)))
                if part.answers_test:
                    test.append(self._test_answers(part, answer))
                advance(1)
        return concatenate(dev), test[0]

    def _test_answers(self, part: Part, answer: Callable[[Part, Asked], Predictions]) -> Predictions:
        if not len(self.test_ids):
            return best_of(self.test_ids, np.empty((0, 0)), np.empty((0, 0)), 1)
        return answer(part, Asked("test", self.test_ids, self.test_ids))


def open_dataset(config: Config, competition: Competition, execution: Execution) -> Dataset:
    """Look for unreadable photos, once a competition, and split the others.

    Raises:
        LmkError: The readable training photos show one landmark alone, so that none can be held out.
    """
    start = time.monotonic()
    folder = execution.workspace.root / "photos"
    known_before = remembered(competition, folder) is not None
    identity = identify(competition, folder, execution.jobs, execution.progress)
    unreadable = identity.unreadable
    seconds = round(time.monotonic() - start, 3)
    if unreadable:
        first, reason = next(iter(unreadable.items()))
        few = "1 photo cannot be read and is left out"
        said = few if len(unreadable) == 1 else f"{len(unreadable):,} photos cannot be read and are left out; first"
        execution.note(f"{said}: {first}, {reason}.")
    split = _split(config, competition, unreadable)
    return dataset_of(config, competition, identity, split, seconds, known_before)


def dataset_of(
    config: Config,
    competition: Competition,
    identity: Identity,
    split: Split,
    seconds: float = 0.0,
    known_before: bool = False,
) -> Dataset:
    """The dataset of a split that stands; `identity` names its photos, further arguments are as in `Dataset`."""
    unreadable = identity.unreadable
    holdout = config.holds_out(len(split.train_ids))
    parts = _holdout(split, config.refit) if holdout else _folds(split)
    dev = Queries(
        *(np.concatenate([getattr(part.queries, name) for part in parts]) for name in ("ids", "photos", "truth"))
    )
    ids = competition.test_ids
    photos_key = Key.of("photos", {"competition": identity.digest, "read_side": READ_SIDE}, code=READING)
    facts = {
        "unreadable": sorted(unreadable),
        "seed": config.seed,
        "parts": ["holdout", config.dev_queries, config.refit] if holdout else ["folds", config.folds],
        "share": config.share_without_landmark,
    }
    return Dataset(
        competition=competition,
        identity=identity,
        split=split,
        parts=parts,
        dev=dev,
        test_ids=ids[competition.has_photo(ids) & _readable(ids, unreadable)],
        photos_key=photos_key,
        split_key=Key.of("split", facts, [photos_key], SPLITTING),
        seconds=seconds,
        known_before=known_before,
    )


def _split(config: Config, competition: Competition, unreadable: Mapping[str, str]) -> Split:
    good = _readable(competition.train_ids, unreadable)
    known = np.unique(competition.train_landmarks[good])
    if len(known) < 2:
        raise LmkError(
            f"{competition.root} has readable training photos of {len(known)} landmark(s). It needs two at least: "
            "what is left must be known when one is held out."
        )
    photos, landmarks = competition.train_ids[good], competition.train_landmarks[good]
    distractors = competition.distractor_ids[_readable(competition.distractor_ids, unreadable)]
    share, seed = config.share_without_landmark, config.seed
    if not config.holds_out(len(photos)):
        return make_split(photos, landmarks, distractors, config.folds, share, seed)
    return make_holdout(photos, landmarks, distractors, config.dev_queries, share, seed)


def _folds(split: Split) -> tuple[Part, ...]:
    """A part for each fold, then one with all photos, whose network answers the test photos."""
    return (*(_part(split, fold, f"fold {fold + 1}") for fold in range(split.folds)), _everything(split))


def _holdout(split: Split, refit: bool) -> tuple[Part, ...]:
    """One part that answers dev, and the test photos, too, unless another is fitted to all photos for them."""
    return (_part(split, 0, "holdout", answers_test=not refit), *([_everything(split)] if refit else []))


def _part(split: Split, fold: int, name: str, answers_test: bool = False) -> Part:
    photos, distractors = split.training(fold)
    return Part(
        name,
        fold,
        split.train_ids[photos],
        split.train_landmarks[photos],
        split.distractor_ids[distractors],
        split.queries(fold),
        answers_test,
    )


def _everything(split: Split) -> Part:
    nothing = Queries(np.empty(0, str), np.empty(0, str), np.empty(0, np.int64))
    return Part("all photos", None, split.train_ids, split.train_landmarks, split.distractor_ids, nothing, True)


def _readable(ids: np.ndarray, unreadable: Mapping[str, str]) -> np.ndarray:
    return ~np.isin(ids, np.array(sorted(unreadable), dtype=str))
