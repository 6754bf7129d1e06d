"""What the ablation works with: a competition's dev queries by seed, stored features, heads trained on them quickly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from lmk.data.competitions import Competition, open_competition
from lmk.data.splits import make_split
from lmk.ensemble.tune import cross_fit
from lmk.files import digest_of, write_json
from lmk.metrics import average_precision, rank
from lmk.models.losses import make_loss
from lmk.models.network import Network, build_network
from lmk.models.predict import predict_features
from lmk.models.recipes import Recipe
from lmk.models.retrieval import Options, find_landmarks, photo_descriptors, side_by_side
from lmk.models.schedules import make_optimizer, warmup_cosine
from lmk.pipeline import open_run, recipe_key
from lmk.predictions import NO_LANDMARK, Predictions, concatenate
from lmk.recognition import Recognizer
from lmk.stages import Run, Settings
from lmk.workspace import Workspace

TOP = 10
DRAWS = 500


@dataclass(frozen=True, eq=False)
class Answer:
    """An idea's predictions of one seed's dev queries, and its mean processor seconds a fold: training, prediction."""

    dev: Predictions
    train: float = 0.0
    predict: float = 0.0


@dataclass(eq=False)
class Trial:
    """One seed: its split and dev queries, and what was computed on them."""

    run: Run
    made: dict[object, object] = field(default_factory=dict)

    @property
    def truth(self) -> np.ndarray:
        return self.run.dev.truth

    def once(self, key: object, compute: Callable[[], object]) -> object:
        """What `compute` gives, computed once a key."""
        if key not in self.made:
            self.made[key] = compute()
        return self.made[key]

    def cross_fitted(self, fit: Callable, apply: Callable) -> Predictions:
        return cross_fit(self.run.dev.photos, fit, apply, self.run.settings.seed)


class Lab:
    """A competition, its features by recipe, and a `Trial` a seed."""

    def __init__(
        self,
        competition: str,
        weights: str,
        workspace: Path,
        recipes: tuple[str, ...],
        seeds: int,
        folds: int,
        photos: int | None = None,
    ):
        """photos: The most training photos a landmark, drawn anew each seed: a harder competition; None for all."""
        self.photos = photos
        place = Workspace.open(workspace)
        opened = open_competition(competition, place.competitions)
        self.trials = []
        for seed in range(seeds):
            settings = Settings(recipes=recipes, weights=weights, seed=seed, folds=folds)
            run = open_run(settings, opened, place)
            if photos is not None:
                run.__dict__["split"] = _fewer(run, opened, photos)
            self.trials.append(Trial(run))
        self._models: dict[object, Network] = {}

    @cached_property
    def ids(self) -> np.ndarray:
        """(n,) str, sorted, training photos and distractors of all seeds."""
        return np.unique(np.concatenate([part for trial in self.trials for part in trial.run.training(None)[::2]]))

    def recipe(self, name: str) -> Recipe:
        return self.trials[0].run.recipe(name)

    def features(self, recipe: Recipe) -> np.ndarray:
        """(n, views, d) float16, in line with `ids`; stored in the workspace."""
        key = (recipe.backbone, recipe.image_size, recipe.dense, recipe.views)
        run = self.trials[0].run
        return self.trials[0].once(key, lambda: Recognizer(run, recipe, recipe_key(run, recipe)).features(self.ids))

    def head(self, trial: Trial, recipe: Recipe) -> Answer:
        """A recipe's head, trained and asked fold by fold on stored features; what was answered is stored, too."""
        return trial.once(recipe, lambda: self._stored(trial, recipe))

    def retrieval(self, trial: Trial, recipes: tuple[Recipe, ...], options: Options) -> tuple[Answer, np.ndarray]:
        """kNN by the recipes' descriptors, and the queries' likeness to distractors (n,)."""
        return trial.once((recipes, options), lambda: self._retrieval(trial, recipes, options))

    def rows(self, names: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.ids, names)

    def _stored(self, trial: Trial, recipe: Recipe) -> Answer:
        run = trial.run
        digest = digest_of({"recipe": recipe_key(run, recipe), "photos": self.photos, "lab": 1})
        path = run.workspace.predictions / f"ablation-{digest}.parquet"
        costs = path.with_suffix(".json")
        if path.exists() and costs.exists():
            return Answer(Predictions.load(path), **json.loads(costs.read_text()))
        answer = self._head(trial, recipe)
        answer.dev.save(path)
        write_json(costs, {"train": answer.train, "predict": answer.predict})
        return answer

    def _head(self, trial: Trial, recipe: Recipe) -> Answer:
        features, run = self.features(recipe), trial.run
        found, trained, predicted = [], 0.0, 0.0
        for fold in range(run.split.folds):
            photos, landmarks, distractors = run.training(fold)
            distractors = distractors if recipe.distractors else distractors[:0]
            known = np.unique(landmarks)
            classes = np.concatenate([np.searchsorted(known, landmarks), np.full(len(distractors), NO_LANDMARK)])
            start = time.process_time()
            learned = features[self.rows(np.concatenate([photos, distractors]))]
            network = self._trained(recipe, learned, classes, len(known), run.settings.seed * 100 + fold)
            done = time.process_time()
            queries = run.split.queries(fold)
            asked = features[self.rows(queries.photos)]
            found.append(_answered(predict_features(network, queries.ids, asked, known, TOP)))
            trained, predicted = trained + done - start, predicted + time.process_time() - done
        return Answer(concatenate(found), trained / run.split.folds, predicted / run.split.folds)

    def _trained(self, recipe: Recipe, features: np.ndarray, classes: np.ndarray, count: int, seed: int) -> Network:
        """A network of `count` landmarks, trained in one `fit`; models of one shape share what TensorFlow compiles."""
        views, stage = features.shape[1], recipe.stages[0]
        steps = -(-len(features) * views // stage.batch_size)
        keras.utils.set_random_seed(seed)
        inputs = keras.Input(features.shape[1:] if recipe.dense else features.shape[2:])
        fresh = build_network(recipe, keras.Model(inputs, inputs), count)
        sizes = np.bincount(classes[classes >= 0], minlength=count)
        by_size = tuple(sizes) if recipe.weigh_classes or "dynamic" in recipe.loss else ()
        key = (recipe, count, by_size)
        if key not in self._models:
            rate = warmup_cosine(stage.learning_rate, stage.epochs * steps)
            fresh.top.compile(
                optimizer=make_optimizer(recipe.optimizer, rate, {}, recipe.weight_decay),
                loss=make_loss(
                    recipe.loss, fresh.head, sizes, recipe.background, recipe.label_smoothing, recipe.weigh_classes,
                    recipe.margin,
                ),
                jit_compile=False,
            )  # fmt: skip
            self._models[key] = fresh
        network = self._models[key]
        network.top.set_weights(fresh.top.get_weights())
        for variable in network.top.optimizer.variables:
            if "learning_rate" not in variable.path:
                variable.assign(np.zeros(variable.shape, variable.dtype))
        rows = features.reshape(-1, features.shape[2]).astype(np.float32)
        targets = np.repeat(classes, views).astype(np.int32)
        network.top.fit(rows, targets, batch_size=stage.batch_size, epochs=stage.epochs, verbose=0)
        return network

    def _retrieval(self, trial: Trial, recipes: tuple[Recipe, ...], options: Options) -> tuple[Answer, np.ndarray]:
        run = trial.run
        described = [
            self.trials[0].once((recipe, "descriptors"), lambda recipe=recipe: photo_descriptors(self.features(recipe)))
            for recipe in recipes
        ]
        descriptors = side_by_side(described, options.weights)
        start = time.process_time()
        found, likeness = [], []
        for fold in range(run.split.folds):
            photos, landmarks, distractors = run.training(fold)
            queries = run.split.queries(fold)
            gallery, others, asked = (descriptors[self.rows(names)] for names in (photos, distractors, queries.photos))
            answers, like = find_landmarks(queries.ids, gallery, landmarks, others, asked, options, TOP)
            found.append(answers)
            likeness.append(like)
        seconds = (time.process_time() - start) / run.split.folds
        return Answer(concatenate(found), 0.0, seconds), np.concatenate(likeness)


def _answered(found: Predictions) -> Predictions:
    """The same without what is no number: a head whose training diverged answers nothing, which is worth nothing."""
    lost = np.isnan(found.scores)
    return Predictions(found.ids, np.where(lost, NO_LANDMARK, found.landmarks), np.where(lost, -np.inf, found.scores))


def paired(first: list[Predictions], second: list[Predictions], truths: list[np.ndarray]) -> dict[str, float]:
    """Mean GAP of the second lists over seeds, and its mean lead over the first with a 95 % interval.

    The interval is a bootstrap over seeds and, within each, over queries, the same ones for both.
    """
    hits = [[_hits(found, truth) for found, truth in zip(lists, truths, strict=True)] for lists in (first, second)]
    shown = [int((truth != NO_LANDMARK).sum()) for truth in truths]
    base, gap = (
        float(np.mean([average_precision(correct, count) for (correct, _), count in zip(part, shown, strict=True)]))
        for part in hits
    )
    rng = np.random.default_rng(0)
    leads = []
    for _ in range(DRAWS):
        drawn = []
        for seed in rng.integers(0, len(truths), len(truths)):
            truth = truths[seed]
            counts = np.bincount(rng.integers(0, len(truth), len(truth)), minlength=len(truth))
            num = max(1, int(counts[truth != NO_LANDMARK].sum()))
            gaps = [average_precision(np.repeat(part[seed][0], counts[part[seed][1]]), num) for part in hits]
            drawn.append(gaps[1] - gaps[0])
        leads.append(np.mean(drawn))
    low, high = np.quantile(leads, [0.025, 0.975])
    return {"gap": gap, "lead": gap - base, "low": float(low), "high": float(high)}


def _hits(found: Predictions, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each answer is right, best first, and its row."""
    order = rank(found.ids, found.best, found.confidence)
    return found.best[order] == truth[order], order


def _fewer(run: Run, competition: Competition, most: int):
    """The run's split with at most so many photos a landmark."""
    split, seed = run.split, run.settings.seed
    order = np.random.default_rng([seed, 7]).permutation(len(split.train_ids))
    sorted_by = order[np.argsort(split.train_landmarks[order], kind="stable")]
    place = np.arange(len(sorted_by)) - np.searchsorted(
        split.train_landmarks[sorted_by], split.train_landmarks[sorted_by]
    )
    kept = np.sort(sorted_by[place < most])
    return make_split(
        split.train_ids[kept], split.train_landmarks[kept], split.distractor_ids, split.folds,
        run.settings.share_without_landmark, seed,
    )  # fmt: skip
