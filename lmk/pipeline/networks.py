"""The networks of a recipe: the pretrained extractor and its stored features, and a trained network for each part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from pathlib import Path

import keras
import numpy as np

from lmk.data.augment import CLOSEST
from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.models.distributed import agree, file_of_first
from lmk.models.extract import forward
from lmk.models.learner import TrainingSet
from lmk.models.network import Network, build_network
from lmk.models.prediction import predict_features
from lmk.models.recipe import Recipe
from lmk.models.runtimes import Predictor
from lmk.models.saved import load_network, save_network
from lmk.models.training import Record, Trainer, best_epochs
from lmk.pipeline.config import TOP_K
from lmk.pipeline.dataset import Asked, Dataset, Part
from lmk.pipeline.features import Extractor
from lmk.pipeline.histories import history_of_whole, write_history
from lmk.pipeline.places import Places
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.retrieval.descriptors import in_blocks, normalize, photo_descriptors
from lmk.util.checked import is_whole, seal, seal_of
from lmk.util.files import atomic_path, write_json
from lmk.util.progress import Progress
from lmk.util.stopping import Stop
from lmk.util.store import ArrayStore, make_room
from lmk.util.team import ALONE, Team

SHARD = 256
"""Photos a shard where a tuned network predicts."""
DIRECTIONS_FROM = 4096
"""Training photos whose descriptors give the directions of projection: some ten a number that is kept."""


@dataclass(eq=False)
class Networks:
    """A recipe on a dataset.

    Attributes:
        recipe: What is trained and how.
        dataset: Parts, and how photos are read.
        places: Where its results lie.
        extractor: Its pretrained backbone.
        seed: Random seed of training.
        progress: Reports training and prediction.
        team: Processes that train together.
        stop, checkpoint_minutes, jobs: As in `Execution`.
        metric: What training watches, and what ends it early.
    """

    recipe: Recipe
    dataset: Dataset
    places: Places
    extractor: Extractor
    seed: int
    progress: Progress
    team: Team = ALONE
    stop: Stop = field(default_factory=Stop)
    checkpoint_minutes: float = 10.0
    jobs: int | None = None
    metric: Metric = GAP
    histories: dict[str, list[Record]] = field(default_factory=dict)

    def extract(self) -> ArrayStore:
        """Compute and store the features that training, and for a frozen backbone prediction, reads."""
        split = self.dataset.split
        photos = self.dataset.photos if self.recipe.frozen else np.concatenate([split.train_ids, split.distractor_ids])
        self.features(photos)
        return self.places.feature_store()

    def train(self) -> dict[str, list[Record]]:
        """Train what is not trained yet, folds first; histories by the name of the part.

        Raises:
            LmkError: The processes that train together were not given the same.
        """
        agree(self.team, self.places.networks.digest, "a recipe, photos, settings or a version")
        for part in self.dataset.parts:
            if part.name not in self.histories:
                self.network(part)
        return self.histories

    def predictions(self) -> tuple[Predictions, Predictions]:
        """Predictions of all dev queries, each by its part's network, and of the test photos."""

        def ask(part: Part, asked: Asked) -> Predictions:
            return self.answer(part, asked.ids, asked.photos)

        return self.dataset.by_part(ask, self.recipe.name, self.progress)

    def answer(self, part: Part, ids: np.ndarray, photos: np.ndarray) -> Predictions:
        """The best landmarks of queries by a part's network, which need not be the one that holds them out.

        Args:
            part: Whose network answers.
            ids, photos: (n,) str, the queries and the photos that they show.
        """
        if not self.recipe.frozen:
            found = self._answers(part, photos)
            return Predictions(ids, found["landmarks"], found["scores"])
        return predict_features(self.network(part), ids, self.features(photos), np.unique(part.landmarks), TOP_K)

    def descriptors(self, part: Part, photos: np.ndarray) -> np.ndarray:
        """(n, d) float32 or float16 of length 1, by the part's network: the mean of the views' directions."""
        if self.recipe.frozen:
            return in_blocks(self.describe(part), self.features(photos), self.room)
        return self._tuned_descriptors(part, photos)

    def features(self, photos: np.ndarray) -> np.ndarray:
        """(n, views, ...) float16, the pretrained extractor's; stored, whatever the part."""
        return self.extractor.features(photos, self.places.feature_store())

    def room(self, shape: Sequence[int], dtype: type) -> np.ndarray:
        """An array to fill, on the disk if it is large."""
        return make_room(shape, dtype, self.places.stores)

    def network(self, part: Part) -> Network:
        """The part's trained network, from the workspace or trained now."""
        classes = np.unique(part.landmarks)
        extractor = self.extractor.frozen if self.recipe.frozen else self.extractor.new()
        keras.utils.set_random_seed(self.seed)
        network = build_network(self.recipe, extractor, len(classes))
        path, history = self.places.network(part.name)
        key = path.with_name(path.name.replace(".weights.h5", ".key.json"))
        for file in (path, seal_of(path), key, history, seal_of(history)):
            file_of_first(self.team, file)
        known = history_of_whole(path, history)
        if known is not None:
            self.histories[part.name] = known
            load_network(network, path)
            return network
        self.extractor.may_compute("networks")
        trainer = self._trainer(network, part, classes, path)
        self.histories[part.name] = trainer.run()
        save_network(network, path)
        seal(path)
        write_json(key, self.places.networks.to_dict())
        write_history(history, self.histories[part.name])
        trainer.checkpoint.unlink(missing_ok=True)  # not before: a kill in between would lose the training
        return network

    def _trainer(self, network: Network, part: Part, classes: np.ndarray, path: Path) -> Trainer:
        """Trainer of the part's network.

        A part without dev queries cannot stop early, so it trains as many epochs as the folds before it found best.
        """
        distractors = part.distractors if self.recipe.distractors else part.distractors[:0]
        ids = np.concatenate([part.photos, distractors])
        data = TrainingSet(
            ids=ids,
            classes=np.concatenate([np.searchsorted(classes, part.landmarks), np.full(len(distractors), NO_LANDMARK)]),
            features=self.features(ids) if self.recipe.stages[0].train_from is None else None,
            read=self.dataset.reader(self._seen_in_training),
        )
        held_out = len(part.queries) > 0
        return Trainer(
            network,
            data,
            self.seed,
            checkpoint=path.with_name(path.name.replace(".weights.h5", ".checkpoint.npz")),
            dev_score=(lambda: self._dev_score(network, part, classes)) if held_out else None,
            epochs={} if held_out else best_epochs(self._histories_of_held_out()),
            team=self.team,
            stop=self.stop,
            checkpoint_minutes=self.checkpoint_minutes,
            jobs=self.jobs,
            label=f"{self.recipe.name}, {part.name}",
            progress=self.progress,
            gains=self.metric.gains,
        )

    @property
    def _seen_in_training(self) -> int:
        """Pixels of a photo's shorter side of which augmented looks show none more finely."""
        return ceil(CLOSEST * max(stage.image_size or self.recipe.image_size for stage in self.recipe.stages))

    def _histories_of_held_out(self) -> list[list[Record]]:
        """Histories of all parts with dev queries, also of those whose predictions were stored."""
        parts = [part for part in self.dataset.parts if len(part.queries)]
        for part in parts:
            if part.name not in self.histories:
                self.network(part)
        return [self.histories[part.name] for part in parts]

    def _answers(self, part: Part, photos: np.ndarray) -> dict[str, np.ndarray]:
        """Landmarks, scores and descriptors of queries' photos by a network with a backbone of its own; stored."""
        classes, prepare = np.unique(part.landmarks), self._prepare(part)

        def compute(names: np.ndarray) -> dict[str, np.ndarray]:
            network, fast = prepare()
            features = forward(fast, self.recipe, self.extractor.read, names, self.jobs)
            found = predict_features(network, names, features, classes, TOP_K)
            descriptors = self._described(part, fast, features)
            return {"landmarks": found.landmarks, "scores": found.scores, "descriptors": descriptors}

        store, label = self.places.answer_store(part.name), f"{self.recipe.name}: prediction"
        return store.collect(photos, compute, SHARD, label, self.progress)

    def _tuned_descriptors(self, part: Part, photos: np.ndarray) -> np.ndarray:
        """(n, d) float16 of length 1: of photos that the network was asked about beside its answers, else alone."""
        asked = np.isin(photos, self.places.answer_store(part.name).ids())
        if asked.all():
            return self._answers(part, photos)["descriptors"]
        if not asked.any():
            return self._unasked_descriptors(part, photos)
        unasked = self._unasked_descriptors(part, photos[~asked])
        descriptors = self.room((len(photos), unasked.shape[1]), np.float16)
        descriptors[~asked] = unasked
        descriptors[asked] = self._answers(part, photos[asked])["descriptors"]
        return descriptors

    def _unasked_descriptors(self, part: Part, photos: np.ndarray) -> np.ndarray:
        """Descriptors of the gallery's photos; the head, which may have 100,000 classes, answers none of them."""
        prepare = self._prepare(part)

        def compute(names: np.ndarray) -> dict[str, np.ndarray]:
            fast = prepare()[1]
            features = forward(fast, self.recipe, self.extractor.read, names, self.jobs)
            return {"descriptors": self._described(part, fast, features)}

        store, label = self.places.descriptor_store(part.name), f"{self.recipe.name}: descriptors"
        return store.collect(photos, compute, SHARD, label, self.progress)["descriptors"]

    def _prepare(self, part: Part) -> Callable[[], tuple[Network, Predictor]]:
        """Function that gives the part's network and what predicts by its backbone, made with the first call."""

        @cache
        def ready() -> tuple[Network, Predictor]:
            self.extractor.may_compute("predictions")
            network = self.network(part)
            return network, self.extractor.fast(network.extractor)

        return ready

    def _described(self, part: Part, fast: Predictor, features: np.ndarray) -> np.ndarray:
        """(n, d) float16 descriptors of features of views (n, views, ...)."""
        return self.describe(part, fast)(features.reshape(*features.shape[:2], -1)).astype(np.float16)

    def describe(self, part: Part, fast: Predictor | None = None) -> Callable[[np.ndarray], np.ndarray]:
        """Function from features of views (n, views, d) to descriptors, projected where the run keeps fewer numbers of
        them.

        Args:
            part: Its photos give the directions along which descriptors differ.
            fast: The extractor of a tuned network.
        """
        if self.places.descriptor_width is None:
            return photo_descriptors
        directions = self._directions(part, fast)
        return lambda features: normalize(photo_descriptors(features) @ directions)

    def _directions(self, part: Part, fast: Predictor | None) -> np.ndarray:
        """(d, width) float32, the leading singular directions of training photos' descriptors; kept in a file.

        The descriptors are not centred, so that the cosines of projected ones are those of the originals but for what
        lies in the other directions.
        """
        path, width = self.places.directions(part.name), self.places.descriptor_width
        if not is_whole(path):
            photos = np.random.default_rng(self.seed).permutation(part.photos)[:DIRECTIONS_FROM]
            if fast is None:
                features = self.features(photos)
            else:
                features = forward(fast, self.recipe, self.extractor.read, photos, self.jobs)
            known = photo_descriptors(features.reshape(*features.shape[:2], -1))
            _, vectors = np.linalg.eigh(known.T.astype(np.float64) @ known)
            with atomic_path(path) as draft, draft.open("wb") as file:
                np.savez(file, directions=vectors[:, ::-1][:, :width].astype(np.float32))
            seal(path)
        with np.load(path, allow_pickle=False) as stored:
            return stored["directions"]

    def _dev_score(self, network: Network, part: Part, classes: np.ndarray) -> float:
        """The metric of a network in training on its part's queries, one view each: what early stopping looks at."""
        recipe = self.recipe.with_views(1)
        features = forward(network.extractor, recipe, self.extractor.read, part.queries.photos, self.jobs)
        found = predict_features(network, part.queries.ids, features, classes, TOP_K)
        return self.metric.score(found, part.queries.truth)
