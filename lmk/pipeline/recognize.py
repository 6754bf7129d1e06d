"""Stages that need networks: each recipe trained and asked fold by fold, and the descriptors for retrieval."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property

import keras
import numpy as np

from lmk import __version__
from lmk.data.images import resize
from lmk.evaluation import gap_of
from lmk.models.distributed import agree, file_of_first
from lmk.models.extract import forward, view_features
from lmk.models.network import Network, build_extractor, build_network, calibrate_normalization
from lmk.models.prediction import predict_features
from lmk.models.recipes import Recipe
from lmk.models.runtimes import Predictor, predictor
from lmk.models.saved import load_network, save_network
from lmk.models.training import Record, Trainer, TrainingSet, best_epochs
from lmk.pipeline.steps import TOP_K, Made, Run, pack_lists
from lmk.predictions import NO_LANDMARK, Predictions, concatenate
from lmk.retrieval.descriptors import in_blocks, photo_descriptors, side_by_side
from lmk.retrieval.neighbours import Options, find_landmarks
from lmk.util.files import digest_of, write_json
from lmk.util.store import ArrayStore, make_room
from lmk.util.team import ALONE, Team

SHARD = 256
"""Photos a shard where a tuned network predicts."""
CALIBRATION_PHOTOS = 8
"""Photos that give a backbone without weights the statistics of its normalization, all at once in memory."""


class Recognizer:
    """A recipe on a run's competition: a network for each fold and one of all photos, and what they say."""

    def __init__(self, run: Run, recipe: Recipe, key: dict[str, object], team: Team = ALONE):
        """key: names all that the trained networks depend on; team: the processes that train them together."""
        self.run, self.recipe, self.key, self.team = run, recipe, key, team
        self.histories: dict[int | None, list[Record]] = {}

    def train(self) -> dict[int | None, list[Record]]:
        """Train what is not trained yet: each fold's network, then that of all photos; returns the histories.

        Raises:
            LmkError: The processes that train together were not given the same.
        """
        agree(self.team, digest_of({**self.key, "version": __version__}), "a recipe, photos, settings or a version")
        for fold in [*range(self.run.split.folds), None]:
            if fold not in self.histories:
                self.network(fold)
        return self.histories

    def predictions(self) -> tuple[Predictions, Predictions]:
        """Of all dev queries, each by its fold's network, and of the test photos by that of all photos."""
        return self.run.by_fold(self.recipe.name, self._answer)

    def descriptors(self, fold: int | None, photos: np.ndarray) -> np.ndarray:
        """(n, d) float32 or float16 of length 1, by the fold's network: the mean of the views' directions."""
        if self.recipe.frozen:
            return in_blocks(photo_descriptors, self.features(photos), self.room)
        return self._tuned(fold, photos)["descriptors"]

    def features(self, photos: np.ndarray) -> np.ndarray:
        """(n, views, ...) float16, the pretrained extractor's; stored, whatever the fold."""
        store = ArrayStore(self.run.workspace.stores, f"{self.recipe.name}-features", self.extractor_key)
        return view_features(self._predictor_here, self.recipe, self.run.read, photos, store, self.run.progress)

    def room(self, shape: Sequence[int], dtype: type) -> np.ndarray:
        """An array to fill, on the disk if it is large."""
        return make_room(shape, dtype, self.run.workspace.stores)

    def _predictor_here(self) -> Predictor:
        self.run.check_maker(self.recipe.name, "features")
        return self._frozen_predictor

    @property
    def extractor_key(self) -> dict[str, object]:
        """What the pretrained extractor's features depend on: neither the split nor the head."""
        recipe = self.recipe
        return {
            "backbone": [recipe.backbone, recipe.provider, self.key["weights"]],
            "views": [recipe.image_size, recipe.pooling, recipe.views, recipe.dense],
            "seed": self.run.settings.seed if self.key["weights"] == "none" else None,
            "computed by": [self.key["keras"], self.key["backend"], self.key["arithmetic"]],
            "competition": self.run.competition.digest,
        }

    @cached_property
    def extractor(self) -> keras.Model:
        """The backbone as pretrained, with its pooling; random weights are the same ones for every fold."""
        return self._new_extractor()

    def network(self, fold: int | None) -> Network:
        """The fold's trained network, from the workspace or trained now."""
        photos, landmarks, distractors = self.run.training(fold)
        classes = np.unique(landmarks)
        extractor = self.extractor if self.recipe.frozen else self._new_extractor()
        keras.utils.set_random_seed(self.run.settings.seed)
        network = build_network(self.recipe, extractor, len(classes))
        name = f"{self.recipe.name}-{digest_of({**self.key, 'fold': fold})}"
        path = self.run.workspace.weights / f"{name}.weights.h5"
        history = path.with_name(f"{name}.json")
        for file in (path, history):
            file_of_first(self.team, file)
        if path.exists() and history.exists():
            load_network(network, path)
            self.histories[fold] = json.loads(history.read_text())
            return network
        self.run.check_maker(self.recipe.name, "networks")
        distractors = distractors if self.recipe.distractors else distractors[:0]
        ids = np.concatenate([photos, distractors])
        data = TrainingSet(
            ids=ids,
            classes=np.concatenate([np.searchsorted(classes, landmarks), np.full(len(distractors), NO_LANDMARK)]),
            features=self.features(ids) if self.recipe.stages[0].train_from is None else None,
            read=self.run.read,
        )
        trainer = Trainer(
            network,
            data,
            self.run.settings.seed,
            checkpoint=path.with_name(f"{name}.checkpoint.npz"),
            dev_gap=None if fold is None else lambda: self._dev_gap(network, fold, classes),
            epochs=best_epochs(self._fold_histories()) if fold is None else {},
            team=self.team,
            label=f"{self.recipe.name}, " + ("all photos" if fold is None else f"fold {fold + 1}"),
            progress=self.run.progress,
        )
        self.histories[fold] = trainer.run()
        save_network(network, path)
        write_json(history, self.histories[fold])
        trainer.checkpoint.unlink(missing_ok=True)  # not before: a kill in between would lose the training
        return network

    def _fold_histories(self) -> list[list[Record]]:
        """The histories of all folds, also of those whose predictions are stored, so that they were not asked again."""
        for fold in range(self.run.split.folds):
            if fold not in self.histories:
                self.network(fold)
        return [self.histories[fold] for fold in range(self.run.split.folds)]

    @cached_property
    def _frozen_predictor(self) -> Predictor:
        return self._fast(self.extractor)

    def _fast(self, extractor: keras.Model) -> Predictor:
        """What predicts with the extractor's weights of now."""
        settings = self.run.settings
        return predictor(extractor, settings.runtime, settings.precision == "bf16")

    def _new_extractor(self) -> keras.Model:
        run = self.run
        keras.utils.set_random_seed(run.settings.seed)
        extractor = build_extractor(self.recipe, run.settings.weights)
        if run.settings.weights == "none":
            photos = np.random.default_rng(run.settings.seed).permutation(run.split.train_ids)[:CALIBRATION_PHOTOS]
            side = self.recipe.image_size
            calibrate_normalization(extractor, np.stack([resize(run.read(name), side, side) for name in photos]))
        return extractor

    def _answer(self, fold: int | None, ids: np.ndarray, photos: np.ndarray) -> Predictions:
        if not self.recipe.frozen:
            found = self._tuned(fold, photos)
            return Predictions(ids, found["landmarks"], found["scores"])
        classes = np.unique(self.run.training(fold)[1])
        return predict_features(self.network(fold), ids, self.features(photos), classes, TOP_K)

    def _tuned(self, fold: int | None, photos: np.ndarray) -> dict[str, np.ndarray]:
        """Landmarks, scores and descriptors of photos by a network with a backbone of its own; stored by shard."""
        store = ArrayStore(self.run.workspace.stores, f"{self.recipe.name}-tuned", {**self.key, "fold": fold})

        @cache
        def ready() -> tuple[Network, Predictor]:
            self.run.check_maker(self.recipe.name, "predictions")
            network = self.network(fold)
            return network, self._fast(network.extractor)

        def compute(names: np.ndarray) -> dict[str, np.ndarray]:
            network, fast = ready()
            features = forward(fast, self.recipe, self.run.read, names)
            found = predict_features(network, names, features, classes, TOP_K)
            flat = features.reshape(*features.shape[:2], -1)
            return {
                "landmarks": found.landmarks,
                "scores": found.scores,
                "descriptors": photo_descriptors(flat).astype(np.float16),
            }

        classes = np.unique(self.run.training(fold)[1])
        label = f"{self.recipe.name}: prediction"
        return store.collect(photos, compute, SHARD, label, self.run.progress)

    def _dev_gap(self, network: Network, fold: int, classes: np.ndarray) -> float:
        """GAP of a network in training on its fold's queries, from one view each: what early stop looks at."""
        queries = self.run.split.queries(fold)
        recipe = self.recipe.with_views(1)
        features = forward(network.extractor, recipe, self.run.read, queries.photos)
        found = predict_features(network, queries.ids, features, classes, TOP_K)
        return gap_of(found, queries.truth)


def retrieve(run: Run, recognizers: list[Recognizer], options: Options, each: bool) -> Made:
    """kNN of all recipes' descriptors, side by side, whitened on the fold's training photos and distractors.

    Returns:
        Predictions by cosine, and arrays: as `dev` and `test` the mean cosine of each query to the nearest distractors,
        (n, 1), since what looks like photos of no landmark is one more often; and with `each` what each recipe's
        descriptors say alone, packed by `pack_lists`.
    """
    similar: dict[str, list[np.ndarray]] = {"dev": [np.empty((0, 1))], "test": [np.empty((0, 1))]}
    singles = len(recognizers) if each and len(recognizers) > 1 else 0
    lists: dict[str, list[list[Predictions]]] = {part: [[] for _ in range(singles)] for part in similar}

    def answer(fold: int | None, ids: np.ndarray, photos: np.ndarray) -> Predictions:
        gallery, landmarks, distractors = run.training(fold)
        names = np.concatenate([gallery, distractors, photos])
        part = "test" if fold is None else "dev"
        described = [source.descriptors(fold, names) for source in recognizers]

        def ask(columns: list[np.ndarray], how: Options) -> tuple[Predictions, np.ndarray]:
            joined = side_by_side(columns, how.weights, recognizers[0].room)
            known, others, queries = np.split(joined, [len(gallery), -len(photos)])
            return find_landmarks(ids, known, landmarks, others, queries, how, TOP_K)

        for place in range(singles):
            lists[part][place].append(ask([described[place]], replace(options, weights=None))[0])
        found, likeness = ask(described, options)
        similar[part].append(likeness[:, None])
        return found

    dev, test = run.by_fold("retrieval", answer)
    arrays = {part: np.concatenate(columns) for part, columns in similar.items()}
    for part, whole in (("dev", dev), ("test", test)):
        alone = [concatenate(found) if found else whole.top(TOP_K) for found in lists[part]]
        arrays |= pack_lists(part, alone)
    return dev, test, arrays
