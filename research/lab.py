"""What the ablation works with: a competition's dev queries by seed, stored features, heads trained on them quickly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from lmk.data.splits import Split, make_split
from lmk.ensemble.combine import combination
from lmk.ensemble.tune import cross_fit
from lmk.metrics import average_precision, rank
from lmk.models.extract import forward, photos_at_once
from lmk.models.losses import make_loss
from lmk.models.network import Network, build_network
from lmk.models.prediction import predict_features
from lmk.models.recipe import Recipe
from lmk.models.recipe_files import find_recipe
from lmk.models.schedules import make_optimizer, warmup_cosine
from lmk.pipeline.building.networks import NetworkSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.config import Config, Execution, config_of
from lmk.pipeline.dataset import Dataset, Part, dataset_of, open_competition, open_dataset
from lmk.pipeline.described import Described as PartPhotos
from lmk.pipeline.networks import Networks
from lmk.pipeline.steps import networks_of
from lmk.predictions import NO_LANDMARK, Predictions, concatenate
from lmk.retrieval.descriptors import photo_descriptors, side_by_side
from lmk.retrieval.neighbours import Options, find_landmarks
from lmk.retrieval.published import RETRIEVALS, Described
from lmk.retrieval.scores import PRODUCT
from lmk.util.files import digest_of, write_json
from lmk.util.workspace import Workspace

TOP = 10
DRAWS = 500
VOTES = ("mean", "vote", "descriptors")
"""Ways of making one answer of several views."""
TIMED_PHOTOS = 20
"""Photos on which the passes of a backbone are timed."""


@dataclass(frozen=True)
class Setting:
    """A competition made of another one: harder, so that choices must hold there, too.

    Attributes:
        photos: The most training photos a landmark, drawn anew each seed; None for all.
        distractors: The most photos of no landmark, drawn anew each seed; None for all.
        image_size: Side of the views in place of the recipes' own: what a smaller photo still shows.
    """

    photos: int | None = None
    distractors: int | None = None
    image_size: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """An idea's predictions of one seed's dev queries, and what it cost.

    Attributes:
        train: Mean processor seconds of a fold's training, from stored features.
        predict: The same of answering its queries.
        recipes: Whose passes of a backbone it needs, each once.
    """

    dev: Predictions
    train: float = 0.0
    predict: float = 0.0
    recipes: frozenset[Recipe] = frozenset()


@dataclass(eq=False)
class Trial:
    """One seed: its split and dev queries, and what was computed on them."""

    config: Config
    dataset: Dataset
    execution: Execution
    made: dict[object, object] = field(default_factory=dict)

    @property
    def truth(self) -> np.ndarray:
        """(n,) int64, the landmark that each dev query shows."""
        return self.dataset.dev.truth

    def networks(self, recipe: Recipe) -> Networks:
        """A recipe's networks on this trial's split."""
        steps = NetworkSteps(Shared(self.config, self.dataset, self.execution))
        steps.recipe(recipe)
        return steps.of_recipe[recipe.name]()

    def digest(self, recipe: Recipe) -> str:
        """Digest of all that a recipe's networks depend on."""
        shared = Shared(self.config, self.dataset, self.execution)
        NetworkSteps(shared).recipe(recipe)
        return shared.keys[networks_of(recipe.name)].digest

    def once(self, key: object, compute: Callable[[], object]) -> object:
        """What `compute` gives, computed once a key."""
        if key not in self.made:
            self.made[key] = compute()
        return self.made[key]

    def cross_fitted(self, parts: Sequence[Answer], fit: Callable, apply: Callable) -> Answer:
        """What is made of the parts, fitted on dev as lmk does; it costs what they cost, and its own.

        Args:
            parts: Answers to the same queries, each with all that it needs.
            fit: From rows to what was fitted on them.
            apply: From that and rows to predictions of these.
        """
        own = {"fit": 0.0, "apply": 0.0}

        def timed(name: str, function: Callable) -> Callable:
            def call(*given):
                start = time.process_time()
                made = function(*given)
                own[name] += time.process_time() - start
                return made

            return call

        dev = cross_fit(self.dataset.dev.photos, timed("fit", fit), timed("apply", apply), self.config.seed)
        return Answer(
            dev,
            sum(part.train for part in parts) + own["fit"] / self.config.folds,
            sum(part.predict for part in parts) + own["apply"] / self.config.folds,
            frozenset().union(*(part.recipes for part in parts)),
        )


class Lab:
    """A competition in one setting, its features by recipe, and a `Trial` a seed."""

    def __init__(
        self,
        competition: str,
        weights: str,
        workspace: Path,
        recipes: tuple[str, ...],
        seeds: int,
        folds: int,
        setting: Setting | None = None,
    ):
        self.setting = setting or Setting()
        place = Workspace.open(workspace)
        opened = open_competition(competition, place.competitions)
        self.trials = []
        for seed in range(seeds):
            config, execution = config_of(recipes, weights=weights, seed=seed, folds=folds), Execution(place)
            dataset = open_dataset(config, opened, execution)
            if self.setting.photos is not None or self.setting.distractors is not None:
                dataset = dataset_of(config, opened, dataset.identity, _fewer(config, dataset.split, self.setting))
            self.trials.append(Trial(config, dataset, execution))
        self._models: dict[object, Network] = {}
        self._seconds: dict[object, float] = {}

    @cached_property
    def ids(self) -> np.ndarray:
        """(n,) str, sorted, training photos and distractors of all seeds."""
        return np.unique(
            np.concatenate(
                [
                    part
                    for trial in self.trials
                    for part in (trial.dataset.split.train_ids, trial.dataset.split.distractor_ids)
                ]
            )
        )

    def recipe(self, name: str) -> Recipe:
        recipe = find_recipe(name)
        side = self.setting.image_size
        return recipe if side is None else replace(recipe, image_size=side)

    def features(self, recipe: Recipe) -> np.ndarray:
        """(n, views, d) float16, in line with `ids`; stored in the workspace."""
        return self.trials[0].once(passes_of(recipe), lambda: self.trials[0].networks(recipe).features(self.ids))

    def pass_seconds(self, recipe: Recipe) -> float:
        """Processor seconds of the backbone's passes over one photo, its reading and views with them."""
        key = passes_of(recipe)
        if key not in self._seconds:
            source = self.trials[0].networks(recipe)
            count = photos_at_once(recipe)
            names = np.resize(self.ids, count * -(-TIMED_PHOTOS // count))
            forward(source.extractor.frozen, recipe, source.dataset.read, names[:count])  # compiled and warm
            start = time.process_time()
            forward(source.extractor.frozen, recipe, source.dataset.read, names)
            self._seconds[key] = (time.process_time() - start) / len(names)
        return self._seconds[key]

    def answer(self, trial: Trial, recipe: Recipe) -> Answer:
        """A recipe trained and asked fold by fold; what it answered is stored, too.

        A head learns on stored features; a backbone that learns is trained as in a run of lmk.
        """
        if recipe not in trial.made:
            trial.made |= self._stored(trial, recipe)
        return trial.made[recipe]

    def retrieval(self, trial: Trial, recipes: tuple[Recipe, ...], options: Options) -> tuple[Answer, np.ndarray]:
        """kNN by the recipes' descriptors, and the queries' likeness to distractors (n,)."""
        return trial.once((recipes, options), lambda: self._retrieval(trial, recipes, options))

    def described(self, trial: Trial, recipes: tuple[Recipe, ...], ask: Callable[[PartPhotos], Predictions]) -> Answer:
        """What `ask` says of each part's photos by the recipes' descriptors, which are not whitened."""
        descriptors = side_by_side(self._described(recipes))

        def answer(part: Part) -> Predictions:
            queries, none = part.queries, part.queries.photos[:0]
            known = descriptors[self.rows(np.concatenate([part.photos, part.distractors]))]
            asked = descriptors[self.rows(queries.photos)]
            return ask(PartPhotos(queries, none, part.photos, part.landmarks, part.distractors, asked, known))

        return self._by_part(trial, recipes, answer)

    def published(self, trial: Trial, recipes: tuple[Recipe, ...], name: str) -> Answer:
        """Retrieval as published, by one of `RETRIEVALS`; logits are the mean scores of the recipes' heads."""
        return trial.once((recipes, name), lambda: self._published(trial, recipes, name))

    def rows(self, names: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.ids, names)

    def _stored(self, trial: Trial, recipe: Recipe) -> dict[Recipe, Answer]:
        """The answers by each way of making one of several views; all are the same network's."""
        folder = trial.execution.workspace.predictions
        voted = [replace(recipe, vote=vote) for vote in VOTES]
        digest = digest_of({"networks": trial.digest(voted[0]), "setting": asdict(self.setting), "lab": 2})
        paths = [folder / f"ablation-{digest}-{vote}.parquet" for vote in VOTES]
        costs = folder / f"ablation-{digest}.json"
        if not costs.exists():
            made = self._fold_by_fold(trial, voted)
            for answer, path in zip(made, paths, strict=True):
                answer.dev.save(path)
            write_json(costs, [{"train": answer.train, "predict": answer.predict} for answer in made])
        return {
            each: Answer(Predictions.load(path), **cost, recipes=frozenset([recipe]))
            for each, path, cost in zip(voted, paths, json.loads(costs.read_text()), strict=True)
        }

    def _fold_by_fold(self, trial: Trial, voted: list[Recipe]) -> list[Answer]:
        """Each fold's network trained once, and its queries answered by each of the recipes, which differ in `vote`."""
        recipe, dataset = voted[0], trial.dataset
        found: list[list[Predictions]] = [[] for _ in voted]
        trained, predicted = 0.0, [0.0] * len(voted)
        if recipe.stages[0].train_from is None:
            self.features(recipe)  # stored, and their passes counted apart
        parts = [part for part in dataset.parts if len(part.queries)]
        for part in parts:
            known, queries = np.unique(part.landmarks), part.queries
            start = time.process_time()
            network = self._head(trial, recipe, part) if recipe.frozen else trial.networks(recipe).network(part)
            trained += time.process_time() - start
            if recipe.frozen:
                asked = self.features(recipe)[self.rows(queries.photos)]
            else:
                asked = forward(network.extractor, recipe, dataset.read, queries.photos)
            for place, each in enumerate(voted):
                start = time.process_time()
                answers = predict_features(replace(network, recipe=each), queries.ids, asked, known, TOP)
                predicted[place] += time.process_time() - start
                found[place].append(_answered(answers))
        folds = len(parts)
        return [Answer(concatenate(f), trained / folds, p / folds) for f, p in zip(found, predicted, strict=True)]

    def _head(self, trial: Trial, recipe: Recipe, part: Part) -> Network:
        """The part's network, its head trained on stored features."""
        features = self.features(recipe)
        distractors = part.distractors if recipe.distractors else part.distractors[:0]
        known = np.unique(part.landmarks)
        classes = np.concatenate([np.searchsorted(known, part.landmarks), np.full(len(distractors), NO_LANDMARK)])
        learned = features[self.rows(np.concatenate([part.photos, distractors]))]
        return self._trained(recipe, learned, classes, len(known), trial.config.seed * 100 + (part.fold or 0))

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

    def _described(self, recipes: tuple[Recipe, ...]) -> list[np.ndarray]:
        """Descriptors (n, d) of all photos by each recipe's network."""
        return [
            self.trials[0].once(
                (passes_of(recipe), "descriptors"), lambda recipe=recipe: photo_descriptors(self.features(recipe))
            )
            for recipe in recipes
        ]

    def _published(self, trial: Trial, recipes: tuple[Recipe, ...], name: str) -> Answer:
        parts = [part for part in trial.dataset.parts if len(part.queries)]
        described = self._described(recipes)
        heads = [self.answer(trial, recipe) for recipe in recipes] if name == PRODUCT else []
        start = time.process_time()
        if heads:
            lists = [head.dev for head in heads]
            logits = combination("mean", lists)(lists, TOP)
        else:
            logits = _unanswered(trial.dataset.dev.ids)
        found = []
        for part in parts:
            ids = [self.rows(names) for names in (part.photos, part.distractors, part.queries.photos)]
            models = [Described(*(one[rows] for rows in ids)) for one in described]
            found.append(RETRIEVALS[name](part.queries.ids, models, part.landmarks, logits, TOP))
        seconds = (time.process_time() - start) / len(parts)
        train = sum(head.train for head in heads)
        predict = seconds + sum(head.predict for head in heads)
        return Answer(concatenate(found), train, predict, frozenset(recipes))

    def _retrieval(self, trial: Trial, recipes: tuple[Recipe, ...], options: Options) -> tuple[Answer, np.ndarray]:
        descriptors, likeness = side_by_side(self._described(recipes), options.weights), []

        def answer(part: Part) -> Predictions:
            names = (part.photos, part.distractors, part.queries.photos)
            gallery, others, asked = (descriptors[self.rows(ids)] for ids in names)
            found, like = find_landmarks(part.queries.ids, gallery, part.landmarks, others, asked, options, TOP)
            likeness.append(like)
            return found

        found = self._by_part(trial, recipes, answer)
        return found, np.concatenate(likeness)

    def _by_part(self, trial: Trial, recipes: tuple[Recipe, ...], answer: Callable[[Part], Predictions]) -> Answer:
        """What each part that asks is answered without a network of its own, and the mean seconds of a part."""
        parts = [part for part in trial.dataset.parts if len(part.queries)]
        start = time.process_time()
        found = concatenate([answer(part) for part in parts])
        return Answer(found, 0.0, (time.process_time() - start) / len(parts), frozenset(recipes))


def passes_of(recipe: Recipe) -> tuple[object, ...]:
    """What the passes of a backbone over a photo depend on, the photo apart."""
    return recipe.backbone, recipe.image_size, recipe.dense, recipe.views


def _answered(found: Predictions) -> Predictions:
    """The same without what is no number: a head whose training diverged answers nothing, which is worth nothing."""
    lost = np.isnan(found.scores)
    return Predictions(found.ids, np.where(lost, NO_LANDMARK, found.landmarks), np.where(lost, -np.inf, found.scores))


def _unanswered(ids: np.ndarray) -> Predictions:
    """Queries of which nothing is said."""
    return Predictions(ids, np.full((len(ids), 1), NO_LANDMARK), np.full((len(ids), 1), -np.inf))


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


def _fewer(config: Config, split: Split, setting: Setting) -> Split:
    """The split with at most so many photos a landmark, and so many of no landmark."""
    seed = config.seed
    order = np.random.default_rng([seed, 7]).permutation(len(split.train_ids))
    sorted_by = order[np.argsort(split.train_landmarks[order], kind="stable")]
    place = np.arange(len(sorted_by)) - np.searchsorted(
        split.train_landmarks[sorted_by], split.train_landmarks[sorted_by]
    )
    kept = np.sort(sorted_by[place < (len(place) if setting.photos is None else setting.photos)])
    others = np.random.default_rng([seed, 8]).permutation(len(split.distractor_ids))[: setting.distractors]
    return make_split(
        split.train_ids[kept], split.train_landmarks[kept], split.distractor_ids[np.sort(others)], split.folds,
        config.share_without_landmark, seed,
    )  # fmt: skip
