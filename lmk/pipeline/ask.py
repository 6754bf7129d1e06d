"""Photos from anywhere, recognised by what a run trained: one photo, one answer, with the gallery photo behind it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk.data.competitions import read_competition
from lmk.data.images import read_photo
from lmk.data.names import read_names
from lmk.local.evidence import Evidence
from lmk.local.features import FeatureTable, LocalFeatures
from lmk.local.kinds import kinds_of
from lmk.local.verify import verify
from lmk.metrics.registry import find_metric
from lmk.pipeline.backend import running_backend
from lmk.pipeline.blend import blend
from lmk.pipeline.build import build
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.networks import NetworkSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.config import READ_SIDE, TOP_K, Config, Execution
from lmk.pipeline.dataset import Dataset, Part, open_dataset
from lmk.pipeline.described import NO_QUERIES
from lmk.pipeline.fuse import Proposed, fuse, photo_counts
from lmk.pipeline.recorded import config_of_run
from lmk.pipeline.results import Answers, Neighbours, Verified
from lmk.pipeline.retrieve import Describe, Further, lists_of
from lmk.pipeline.steps import ENSEMBLE, FUSED, RETRIEVAL, VERIFICATION, execute, networks_of
from lmk.pipeline.verify import write_matches
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.retrieval.descriptors import side_by_side
from lmk.retrieval.neighbours import Options
from lmk.retrieval.scores import KNN
from lmk.runs import RunRecord
from lmk.util.errors import LmkError
from lmk.util.store import ArrayStore

if TYPE_CHECKING:  # loads Keras
    from lmk.pipeline.networks import Networks


@dataclass(frozen=True)
class Candidate:
    """A landmark that a photo may show.

    Attributes:
        landmark: Its number.
        name: Its name; empty where the competition has none.
        confidence: The run's score; of the learned fusion the probability that it is right.
        inliers: Inliers of the best gallery photo, None where nothing was verified.
        gallery_photo: Id of that photo, or of the nearest one by descriptors; empty if there is none.
    """

    landmark: int
    name: str
    confidence: float
    inliers: int | None
    gallery_photo: str


@dataclass(frozen=True, eq=False)
class Recognition:
    """A run's answer for a photo.

    Attributes:
        candidates: The best landmark first.
        is_probability: Whether confidences are probabilities.
        draw: Writes the match picture of the photo and the first candidate's gallery photo into a file (.jpg, .png)
            and returns the number of inliers in it.
    """

    candidates: tuple[Candidate, ...]
    is_probability: bool
    draw: Callable[[Path], int]


def recognize(record: RunRecord, photos: Sequence[Path], execution: Execution) -> list[Recognition]:
    """Ask a run which landmark each photo shows. Photos are answered one by one: nothing is spread between them.

    Of a run that spreads, its blend and fusion are fitted once more without spreading, the first time, and stored.

    Args:
        record: The run.
        photos: Files that can be read.
        execution: Where the run's results lie.

    Raises:
        LmkError: The run's photos or networks are gone, or it follows a published system.
    """
    config = replace(config_of_run(record), spread=False, divisor="dev")
    if config.like is not None or config.retrieval != KNN:
        system = config.like or f"the retrieval {config.retrieval}"
        raise LmkError(f"{record.run} follows {system}, which answers whole test sets. Name another run by --run.")
    root = Path(record.root)
    if not root.is_dir():
        raise LmkError(f"The photos of {record.run} were in {root}, which is gone. Name another run by --run.")
    competition = read_competition(record.competition, root, execution.progress)
    dataset = open_dataset(config, competition, execution)
    return _Asking(config, dataset, execution, record, photos).answers()


class _Asking:
    """The run's steps without spreading, and the photos that it is asked about; their ids are `photo 0`, ..."""

    def __init__(
        self, config: Config, dataset: Dataset, execution: Execution, record: RunRecord, photos: Sequence[Path]
    ):
        self.config, self.dataset, self.execution, self.record = config, dataset, execution, record
        self.steps = build(config, dataset, execution)
        shared = Shared(config, dataset, execution)
        self.networks, self.local = NetworkSteps(shared), LocalSteps(shared)
        for recipe in config.recipes:
            self.networks.recipe(recipe)
        self.local.local_features()  # also where nothing was verified: a picture needs them
        self.paths = {f"photo {place}": path for place, path in enumerate(photos)}
        self.ids = np.array(list(self.paths), dtype=str)
        self.part: Part = next(part for part in dataset.parts if part.answers_test)
        self.names = read_names(dataset.competition.root)
        self._tables: dict[str, FeatureTable] = {}

    def answers(self) -> list[Recognition]:
        """One answer for each photo."""
        self._check()
        results = self._results()
        with running_backend(self.config, self.execution.note):
            lists, described = self._recognized()
        if self.config.ensemble:
            found, evidence = self._fused(results, lists, described)
        else:
            found, evidence = lists[self.record.submitted], {}
        nearest = _nearest_photos(described, self.part)
        return [self._answer(row, found, evidence, nearest) for row in range(len(self.ids))]

    def _check(self) -> None:
        """Refuse a run whose networks are not there: asking about a photo must not train for hours."""
        absent = {networks_of(recipe.name) for recipe in self.config.recipes}
        if any(step.name in absent and step.slot.missing() for step in self.steps):
            raise LmkError(
                f"The networks of {self.record.run} are gone, or lmk or the photos changed since. Run it again: "
                f"{self.record.command}"
            )

    def _results(self) -> Mapping[str, Any]:
        """Results of the run on dev without spreading, from the workspace or computed now."""
        if not self.config.ensemble:
            return {}
        recipes = [recipe.name for recipe in self.config.recipes]
        targets = [*recipes, RETRIEVAL, ENSEMBLE, VERIFICATION, FUSED]
        lacking = any(step.name in targets and step.slot.missing() for step in self.steps)
        with self.execution.workspace.alone() if lacking else nullcontext():
            return execute(self.steps, targets, self.execution).results

    def _read(self, photo_id: str, enough: int | None = None) -> np.ndarray:
        """A photo's pixels, as `Dataset.read` gives them."""
        return read_photo(self.paths[photo_id], READ_SIDE, enough)

    def _recognized(self) -> tuple[dict[str, Predictions], np.ndarray]:
        """Each recipe's list, and descriptors (gallery, distractors, photos) of all networks side by side."""
        from lmk.models.extract import forward  # loads Keras
        from lmk.models.prediction import predict_features
        from lmk.pipeline.features import pixels_seen

        lists, columns = {}, []
        gallery = np.concatenate([self.part.photos, self.part.distractors])
        for recipe in self.config.recipes:
            networks: Networks = self.networks.of_recipe[recipe.name]()
            networks.extractor.may_compute("predictions")
            network = networks.network(self.part)
            backbone = networks.extractor.frozen if recipe.frozen else network.extractor
            fast = networks.extractor.fast(backbone)
            read = partial(self._read, enough=pixels_seen(recipe))
            features = forward(fast, recipe, read, self.ids, self.execution.jobs)
            classes = np.unique(self.part.landmarks)
            lists[recipe.name] = predict_features(network, self.ids, features, classes, TOP_K)
            own = networks.describe(self.part, None if recipe.frozen else fast)(
                features.reshape(*features.shape[:2], -1)
            )
            columns.append(np.concatenate([networks.descriptors(self.part, gallery), own]))
        self.columns, self.room = columns, networks.room
        return lists, side_by_side(columns, None, self.room)

    def _fused(
        self, results: Mapping[str, Any], lists: Mapping[str, Predictions], described: np.ndarray
    ) -> tuple[Predictions, dict[str, Evidence]]:
        """The photos' lists, blended, verified and fused as the run's test photos are."""
        config, dataset = self.config, self.dataset
        sources: dict[str, Answers] = {name: Answers(results[name].dev, found) for name, found in lists.items()}
        near = sources[RETRIEVAL] = self._neighbours(results[RETRIEVAL])
        metric = find_metric(config.metric)
        blended = blend(sources, dataset.dev, config.candidates, config.seed, metric)
        verified = self._verified(blended.test)
        proposed = Proposed(
            sources=sources,
            neighbours=near,
            blended=Answers(results[ENSEMBLE].dev, blended.test),
            verified=Verified(results[VERIFICATION].dev, verified),
            dev=dataset.dev,
            photo_counts=photo_counts(dataset.competition.train_landmarks),
            seed=config.seed,
            metric=metric,
        )
        return fuse(proposed, config.fusion).test, verified

    def _neighbours(self, stored: Neighbours) -> Neighbours:
        """Retrieval's answers for the photos, beside those for dev."""

        def by(column: np.ndarray) -> Describe:
            known, own = np.split(column, [len(column) - len(self.ids)])
            return lambda part, photos: own if np.array_equal(photos, self.ids) else known

        describe = [by(column) for column in self.columns]
        further = Further(self.config.each_network, self.config.ridge)
        _, lists, likeness = lists_of(self.part, NO_QUERIES, self.ids, describe, Options(), further, self.room)
        alone = tuple(Answers(one.dev, found) for one, found in zip(stored.alone, lists[1:], strict=True))
        return Neighbours(stored.dev, lists[0], stored.likeness_dev, likeness, alone)

    def _verified(self, proposals: Predictions) -> dict[str, Evidence]:
        """Evidence for the proposals by each kind of local features; nothing is stored."""
        config, execution = self.config, self.execution
        galleries = self.local.galleries
        wanted = [landmark for landmark in np.unique(proposals.landmarks).tolist() if landmark != NO_LANDMARK]
        gallery = {landmark: galleries.get(landmark, []) for landmark in wanted}
        known = np.unique(np.array([photo for photos in gallery.values() for photo in photos], dtype=str))
        found = {}
        for kind in kinds_of(config.local_features):
            comparison = self.local.comparison(kind)
            with tempfile.TemporaryDirectory() as folder:
                found[kind] = verify(
                    proposals,
                    gallery,
                    self._features(kind),
                    comparison.local.table(known),
                    ArrayStore(Path(folder), "asked", {}),
                    comparison.settings,
                    nearest=config.gallery if config.nearest else None,
                    jobs=execution.jobs,
                    progress=execution.progress,
                    matcher=comparison.matcher,
                )
        return found

    def _features(self, kind: str) -> FeatureTable:
        """Local features of the photos; computed once, for evidence and pictures."""
        if kind in self._tables:
            return self._tables[kind]
        extractor = self.local.sources[kind].extractor
        photos: list[LocalFeatures] = []
        for start in range(0, len(self.ids), extractor.batch_size):
            photos += extractor([self._read(name) for name in self.ids[start : start + extractor.batch_size].tolist()])
        self._tables[kind] = FeatureTable.pack(self.ids, photos, extractor)
        return self._tables[kind]

    def _answer(
        self, row: int, found: Predictions, evidence: Mapping[str, Evidence], nearest: Sequence[Mapping[int, str]]
    ) -> Recognition:
        candidates = []
        for landmark, score in zip(found.landmarks[row].tolist(), found.scores[row].tolist(), strict=True):
            if landmark == NO_LANDMARK:
                continue
            inliers, photo = _strongest(evidence, row, landmark)
            photo = photo or nearest[row].get(landmark, "")
            candidates.append(Candidate(landmark, self.names.get(landmark, ""), score, inliers, photo))
        learned = self.config.ensemble and self.config.fusion == "learned"

        def draw(path: Path) -> int:
            return self._draw(str(self.ids[row]), candidates[0].gallery_photo, path)

        return Recognition(tuple(candidates), learned, draw)

    def _draw(self, photo_id: str, gallery_photo: str, path: Path) -> int:
        """Write the match picture by the first kind of local features; returns the inliers."""
        kind = kinds_of(self.config.local_features)[0]
        comparison = self.local.comparison(kind)
        here, there = self._features(kind)[photo_id], comparison.local.of([gallery_photo])[0]
        return write_matches(path, comparison, (self._read(photo_id), here), (self.dataset.read(gallery_photo), there))


def _strongest(evidence: Mapping[str, Evidence], row: int, landmark: int) -> tuple[int | None, str]:
    """Inliers and id of the gallery photo that the first kind of local features compares best with."""
    for one in evidence.values():
        column = np.flatnonzero(one.landmarks[row] == landmark)
        if len(column):
            return int(one.inliers[row, column[0]]), str(one.best_photo[row, column[0]])
    return None, ""


def _nearest_photos(described: np.ndarray, part: Part) -> list[dict[int, str]]:
    """Gallery photo, for each photo asked about, of each landmark that is nearest by descriptors (n, d)."""
    known, rest = described[: len(part.photos)], described[len(part.photos) + len(part.distractors) :]
    found = []
    for similarity in np.asarray(rest, np.float32) @ np.asarray(known, np.float32).T:
        order = np.argsort(similarity, kind="stable")  # the nearest of a landmark is written last
        found.append(dict(zip(part.landmarks[order].tolist(), part.photos[order].tolist(), strict=True)))
    return found
