"""From a configuration and a dataset to the list of steps, each with its key; nothing is computed and Keras not loaded.

The tuples of modules below say which code makes a step's numbers. An edit there makes the step's results stale, and
those of all steps that need it; tests/test_steps.py finds a module that computes for a step and is not declared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk.data.splits import choose_galleries, photo_of
from lmk.local.compare import Settings
from lmk.local.compare import comparison_settings as settings_by_name
from lmk.local.delf import DelfOptions
from lmk.local.kinds import DELF, KINDS, LOCAL_FEATURES
from lmk.local.pairs import pair_inliers
from lmk.models.backbones.catalogue import weights_digest
from lmk.models.delf.files import published_digest
from lmk.models.delf.recipe import DelfRecipe
from lmk.models.recipes import Recipe
from lmk.pipeline.backend import choose_backend, refusal, running_backend
from lmk.pipeline.cache import Cache
from lmk.pipeline.config import CONTEXT_CANDIDATES, TOP_K, Backend, Config, Execution
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.delf import PCA_FEATURES, PCA_PHOTOS, DelfExtractor, recipe_of
from lmk.pipeline.described import BUDGET, NEIGHBOURS
from lmk.pipeline.dev_parts import DevParts, dev_parts
from lmk.pipeline.key import Key
from lmk.pipeline.likes import Like, find_like
from lmk.pipeline.local_features import LocalSource
from lmk.pipeline.places import Places
from lmk.pipeline.results import Answers, Blended, Fitted, Neighbours, SpreadAnswers, Verified
from lmk.pipeline.steps import (
    DELF_NETWORK,
    ENSEMBLE,
    FUSED,
    RETRIEVAL,
    SPREAD,
    SPREAD_FUSED,
    VERIFICATION,
    Step,
    context_of,
    features_of,
    local_of,
    networks_of,
)
from lmk.pipeline.verify import Comparison, verify_in_passes, verify_proposals
from lmk.predictions import NO_LANDMARK
from lmk.retrieval.neighbours import Options
from lmk.retrieval.ridge import PENALTY
from lmk.util.errors import LmkError
from lmk.util.store import ArrayStore
from lmk.util.team import ALONE, Team

if TYPE_CHECKING:  # loads Keras
    from lmk.pipeline.networks import Networks

NETWORK_CODE = (
    "lmk.data.images",
    "lmk.data.views",
    "lmk.models.backbones.build",
    "lmk.models.backbones.catalogue",
    "lmk.models.backbones.efficientnet",
    "lmk.models.backbones.keras_applications",
    "lmk.models.backbones.scaling",
    "lmk.models.backbones.weights",
    "lmk.models.dense_views",
    "lmk.models.device",
    "lmk.models.extract",
    "lmk.models.heads",
    "lmk.models.network",
    "lmk.models.pooling",
    "lmk.models.runtimes",
    "lmk.pipeline.features",
)
TRAINING_CODE = (
    "lmk.data.augment",
    "lmk.data.batches",
    "lmk.evaluation",
    "lmk.metrics",
    "lmk.models.batch_metrics",
    "lmk.models.losses",
    "lmk.models.memory",
    "lmk.models.prediction",
    "lmk.models.schedules",
    "lmk.models.training",
    "lmk.pipeline.networks",
    "lmk.predictions",
    "lmk.retrieval.descriptors",
)
RETRIEVAL_CODE = (
    "lmk.ensemble.tune",
    "lmk.pipeline.described",
    "lmk.pipeline.dev_parts",
    "lmk.pipeline.retrieve",
    "lmk.predictions",
    "lmk.retrieval.descriptors",
    "lmk.retrieval.graph",
    "lmk.retrieval.neighbours",
    "lmk.retrieval.ridge",
    "lmk.retrieval.whitening",
)
SPREAD_CODE = (
    "lmk.ensemble.edges",
    "lmk.ensemble.spread",
    "lmk.ensemble.spreading",
    "lmk.ensemble.tune",
    "lmk.evaluation",
    "lmk.metrics",
    "lmk.pipeline.described",
    "lmk.pipeline.dev_parts",
    "lmk.pipeline.spread",
    "lmk.predictions",
    "lmk.retrieval.graph",
    "lmk.retrieval.neighbours",
    "lmk.retrieval.ridge",
    "lmk.retrieval.whitening",
)
PAIRS_CODE = ("lmk.local.pairs",)
BLEND_CODE = (
    "lmk.ensemble.blend",
    "lmk.ensemble.calibrate",
    "lmk.ensemble.candidates",
    "lmk.ensemble.climb",
    "lmk.ensemble.combine",
    "lmk.ensemble.tune",
    "lmk.evaluation",
    "lmk.metrics",
    "lmk.pipeline.blend",
    "lmk.pipeline.dev_parts",
    "lmk.predictions",
)
LOCAL_CODE: Mapping[str, tuple[str, ...]] = {
    "rootsift": ("lmk.local.features", "lmk.local.rootsift", "lmk.local.suppress"),
    "delf": ("lmk.local.delf", "lmk.local.features", "lmk.local.pca", "lmk.local.suppress"),
    **{
        kind: (
            "lmk.local.features",
            "lmk.local.learned",
            "lmk.local.suppress",
            f"lmk.models.local.{module}",
        )
        for kind, module in (("xfeat", "xfeat"), ("aliked-t16", "aliked"), ("aliked-n16", "aliked"))
    },
}
DELF_CODE = (
    "lmk.data.augment",
    "lmk.data.batches",
    "lmk.models.backbones.build",
    "lmk.models.backbones.catalogue",
    "lmk.models.backbones.efficientnet",
    "lmk.models.backbones.keras_applications",
    "lmk.models.backbones.scaling",
    "lmk.models.backbones.weights",
    "lmk.models.datum",
    "lmk.models.delf.canvas",
    "lmk.models.delf.checkpoint_tensorflow",
    "lmk.models.delf.files",
    "lmk.models.delf.keras_resnet",
    "lmk.models.delf.network",
    "lmk.models.delf.published",
    "lmk.models.delf.receptive",
    "lmk.models.delf.slim_resnet",
    "lmk.models.delf.training",
    "lmk.models.device",
    "lmk.models.extract",
    "lmk.models.runtimes",
    "lmk.models.schedules",
    "lmk.pipeline.delf",
)
COMPARISON_CODE = (
    "lmk.local.captions",
    "lmk.local.compare",
    "lmk.local.evidence",
    "lmk.local.matching",
    "lmk.local.published",
    "lmk.local.ransac",
    "lmk.local.spatial",
    "lmk.local.verify",
)
EVIDENCE_CODE = ("lmk.local.evidence", "lmk.pipeline.verify", "lmk.data.splits")
FUSION_CODE = (
    "lmk.ensemble.fuse",
    "lmk.ensemble.tune",
    "lmk.evaluation",
    "lmk.metrics",
    "lmk.pipeline.dev_parts",
    "lmk.pipeline.fuse",
    "lmk.predictions",
)


def build(config: Config, dataset: Dataset, execution: Execution, team: Team = ALONE) -> list[Step]:
    """The steps of a run in order; each stands after those that it needs.

    Args:
        config: What determines results; the backends of pulled results are chosen here.
        dataset: The competition as the run sees it.
        execution: Where results lie and how they are computed.
        team: Processes that train networks together.

    Raises:
        LmkError: Weights are absent, or dev has no query that shows a landmark although the run blends.
    """
    builder = Builder(config, dataset, execution, team)
    if config.ensemble and not (dataset.dev.truth != NO_LANDMARK).any():
        raise LmkError(
            "No landmark has two photos, so no query can be held out and dev cannot weigh the sources of a blend. "
            "Run one recipe with --no-ensemble."
        )
    steps = [step for recipe in config.recipes for step in builder.recipe(recipe)]
    if config.like is not None:
        steps += [builder.blend(), *builder.local_features(), builder.verification(), builder.fusion()]
    elif config.spreads:
        steps += [*builder.contexts(), builder.retrieval(), builder.blend(), *builder.local_features()]
        steps += [builder.spread(), builder.verification(), builder.fusion(), builder.spread_fused()]
    elif config.ensemble:
        steps += [builder.retrieval(), builder.blend(), *builder.local_features(), builder.verification()]
        steps.append(builder.fusion())
    return steps


def local_steps(config: Config, dataset: Dataset, execution: Execution) -> list[Step]:
    """The steps that extract local features alone; arguments as for `build`."""
    return Builder(config, dataset, execution).local_features()


def comparison_of(config: Config, dataset: Dataset, execution: Execution) -> Comparison:
    """How the first kind of local features compares photos; arguments as for `build`."""
    builder = Builder(config, dataset, execution)
    builder.local_features()
    kind = KINDS[config.local_features][0]
    return builder.comparison(kind, builder.pairs_key(kind))


def targets_of(config: Config) -> list[str]:
    """Steps whose results a run's record tells: answers of every stage, and the evidence."""
    recipes = [recipe.name for recipe in config.recipes]
    if config.like is not None:
        return [*recipes, ENSEMBLE, VERIFICATION, FUSED]
    if config.spreads:
        return [*recipes, RETRIEVAL, ENSEMBLE, SPREAD, VERIFICATION, FUSED, SPREAD_FUSED]
    return [*recipes, RETRIEVAL, ENSEMBLE, VERIFICATION, FUSED] if config.ensemble else recipes


def proposals_of(config: Config, results: Mapping[str, Any]) -> Answers:
    """What is verified and fused: the best landmarks of the ensemble, spread where the run spreads."""
    if not config.spreads:
        found: Answers = results[ENSEMBLE]
        return found
    spread, count = results[SPREAD], config.candidates
    context = tuple(one.top(min(CONTEXT_CANDIDATES, count)) for one in spread.context)
    return Answers(spread.dev.top(count), spread.test.top(count), context=context)


def proposing_step(config: Config) -> str:
    """The step whose best landmarks are verified and fused."""
    return SPREAD if config.spreads else ENSEMBLE


def comparison_settings(kind: str, config: Config) -> Settings:
    """How two photos are compared by a kind of local features."""
    if config.like is not None:
        return replace(find_like(config.like).comparison, seed=config.seed)
    return settings_by_name(kind, config.comparison, config.seed, config.enough)


@dataclass(frozen=True)
class RecipeKeys:
    """Keys of a recipe's steps."""

    features: Key
    networks: Key
    answers: Key


class Builder:
    """Makes steps one after the other; keys of earlier steps go into those of later ones."""

    def __init__(self, config: Config, dataset: Dataset, execution: Execution, team: Team = ALONE):
        self.config, self.dataset, self.execution, self.team = config, dataset, execution, team
        self.like: Like | None = None
        if config.like is not None:
            self.like = find_like(config.like).as_asked(config.passes, config.divisor, config.seed)
        self.cache = Cache(execution.workspace)
        self.keys: dict[str, Key] = {}
        self.networks: dict[str, Callable[[], Networks]] = {}
        self.local: dict[str, LocalSource] = {}
        self.galleries: Callable[[], dict[int, list[str]]] = _once(self._choose_galleries)

    def recipe(self, recipe: Recipe) -> list[Step]:
        """Features (where the backbone starts frozen), trained networks, and answers."""
        weights = weights_digest(recipe.backbone, self.config.weights, recipe.provider)

        def stored(backend: Backend) -> bool:
            key = self._recipe_keys(recipe, weights, backend).answers
            return self.cache.answers(key, Answers).missing() == 0

        backend = choose_backend(recipe.name, stored, self.execution)
        keys = self._recipe_keys(recipe, weights, backend, accept=True)
        places = self._places(keys)
        refuse = refusal(recipe.name, backend, self.execution.workspace)
        networks = self.networks[recipe.name] = _once(partial(self._networks, recipe, places, refuse))
        frozen_first = recipe.stages[0].train_from is None
        steps = []
        if frozen_first:
            steps.append(self._features_step(recipe, keys.features, places.feature_store, networks))
        needs = (features_of(recipe.name),) if frozen_first else ()
        steps.append(
            Step(
                networks_of(recipe.name),
                recipe.name,
                needs,
                keys.networks,
                Handle(partial(_untrained, places, self.dataset), lambda: places),
                lambda results: self._on_backend(lambda: networks().train()) and places,
            )
        )
        steps.append(
            Step(
                recipe.name,
                recipe.name,
                (*needs, networks_of(recipe.name)),
                keys.answers,
                self.cache.answers(keys.answers, Answers),
                lambda results: self._on_backend(lambda: Answers(*networks().predictions())),
            )
        )
        return self._keep(steps)

    def contexts(self) -> list[Step]:
        """The test photos as the networks of each fold answer them, recipe by recipe."""
        return self._keep([self._context_step(recipe) for recipe in self.config.recipes])

    def _context_step(self, recipe: Recipe) -> Step:
        name, dataset = recipe.name, self.dataset
        needs = [networks_of(name), name]
        if recipe.frozen:
            needs.insert(0, features_of(name))
        key = self._accepted(Key.of(context_of(name), {}, [self.keys[name]], TRAINING_CODE))

        def compute(results: Mapping[str, Any]) -> Answers:
            answers, test = results[name], dataset.test_ids
            context = []
            for fold in self.parts.folds:
                if fold is self.parts.tested or not len(test):
                    context.append(answers.test)
                else:
                    context.append(self.networks[name]().answer(fold, test, test))
            return Answers(answers.dev, answers.test, context=tuple(context))

        slot = self.cache.answers(key, Answers)
        return Step(
            context_of(name),
            SPREAD,
            tuple(needs),
            key,
            slot,
            lambda results: self._on_backend(lambda: compute(results)),
        )

    def retrieval(self) -> Step:
        """kNN by the descriptors of all networks."""
        config = self.config
        facts: dict[str, object] = {"options": asdict(Options()), "alone": config.each_network, "k": TOP_K}
        if config.descriptor_width is not None:
            facts["descriptor width"] = config.descriptor_width
        if config.spreads:
            facts |= {"ridge": PENALTY, "neighbours": NEIGHBOURS}
        needs = []
        for recipe in config.recipes:
            needs += [features_of(recipe.name)] if recipe.frozen else [networks_of(recipe.name)]
        parents = [self.keys[name] for name in needs]
        key = self._accepted(Key.of(RETRIEVAL, facts, [self.dataset.split_key, *parents], RETRIEVAL_CODE))

        def compute() -> Neighbours:
            from lmk.pipeline.retrieve import retrieve, retrieve_for_graphs

            sources = [self.networks[recipe.name]() for recipe in config.recipes]
            if config.spreads:
                return retrieve_for_graphs(
                    self.parts,
                    self.dataset.test_ids,
                    [source.descriptors for source in sources],
                    Options(),
                    config.each_network,
                    sources[0].room,
                    self.execution.progress,
                )
            return retrieve(
                self.dataset,
                [source.descriptors for source in sources],
                Options(),
                config.each_network,
                sources[0].room,
                self.execution.progress,
            )

        slot = self.cache.answers(key, Neighbours)
        step = Step(RETRIEVAL, RETRIEVAL, tuple(needs), key, slot, lambda results: self._on_backend(compute))
        return self._keep([step])[0]

    def blend(self) -> Step:
        """The blend of recipes and retrieval."""
        from lmk.pipeline.blend import blend

        config, dataset = self.config, self.dataset
        sources = self._sources()
        # Spreading may raise any landmark of a list among the candidates.
        kept = TOP_K if config.spreads else config.candidates
        facts: dict[str, object] = {"k": kept, "seed": config.seed, "alone": self.like is not None}
        if config.spreads:
            facts["cross-fitted"] = "by part"
        key = self._accepted(Key.of(ENSEMBLE, facts, [self.keys[name] for name in sources], BLEND_CODE))

        def compute(results: Mapping[str, Any]) -> Blended:
            if self.like is not None:  # its one network, and nothing else
                only = results[sources[0]]
                return Blended(only.dev.top(1), only.test.top(1), weights={sources[0]: 1.0})
            parts = self.parts if config.spreads else None
            return blend(self._source_answers(results), dataset.dev, kept, config.seed, parts)

        return self._keep([Step(ENSEMBLE, ENSEMBLE, sources, key, self.cache.answers(key, Blended), compute)])[0]

    def local_features(self) -> list[Step]:
        """Local features of the queries and the galleries, by kind; DELF's network before its features."""
        steps = []
        for kind in KINDS[self.config.local_features]:
            if kind == DELF:
                steps += self._delf_steps()
            else:
                extractor = LOCAL_FEATURES[kind].extractor(_own_weights(self.config.weights), self.config.most_features)
                key = Key.of(local_of(kind), extractor.key(), [self.dataset.photos_key], LOCAL_CODE[kind])
                steps.append(self._local_step(kind, extractor, self._accepted(key), ()))
        return self._keep(steps)

    def spread(self) -> Step:
        """The blended lists, spread along descriptors and verified pairs of photos."""
        kinds = KINDS[self.config.local_features]
        keys = {kind: self._graph_pairs_key(kind) for kind in kinds}
        parents = [self.keys[ENSEMBLE], self.keys[RETRIEVAL], *keys.values()]
        facts = {"kinds": list(kinds), "budget": BUDGET, "seed": self.config.seed}
        key = self._accepted(Key.of(SPREAD, facts, parents, SPREAD_CODE))

        def compute(results: Mapping[str, Any]) -> SpreadAnswers:
            from lmk.ensemble.spreading import RECOGNIZED
            from lmk.pipeline.spread import spread_answers, verify_graphs  # loads scikit-learn

            blended, graphs = results[ENSEMBLE], results[RETRIEVAL].graphs
            inliers = verify_graphs(self.parts, blended.test.ids, blended, graphs, partial(self._compare_pairs, keys))
            return spread_answers(self.parts, blended, graphs, inliers, self._train_landmarks, RECOGNIZED)

        needs = (ENSEMBLE, RETRIEVAL, *(local_of(kind) for kind in kinds))
        return self._keep([Step(SPREAD, SPREAD, needs, key, self.cache.answers(key, SpreadAnswers), compute)])[0]

    def spread_fused(self) -> Step:
        """The fused lists, spread along the same graphs."""
        parents = [self.keys[name] for name in (FUSED, SPREAD)]
        key = self._accepted(Key.of(SPREAD_FUSED, {"seed": self.config.seed}, parents, SPREAD_CODE))

        def compute(results: Mapping[str, Any]) -> SpreadAnswers:
            from lmk.ensemble import spreading
            from lmk.pipeline.spread import spread_answers

            graphs, inliers = results[RETRIEVAL].graphs, results[SPREAD].inliers
            tried = spreading.FUSED
            found = spread_answers(self.parts, results[FUSED], graphs, inliers, self._train_landmarks, tried)
            return replace(found, inliers=())  # those of the step before

        needs = (FUSED, SPREAD, RETRIEVAL)
        slot = self.cache.answers(key, SpreadAnswers)
        return self._keep([Step(SPREAD_FUSED, SPREAD_FUSED, needs, key, slot, compute)])[0]

    @cached_property
    def parts(self) -> DevParts:
        """What dev is cross-fitted by where answers are spread."""
        return dev_parts(self.dataset.parts, self.dataset.dev, self.config.seed)

    @property
    def _train_landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset.split.train_ids, self.dataset.split.train_landmarks

    def _graph_pairs_key(self, kind: str) -> Key:
        """Everything that the comparison of two photos depends on."""
        facts = {"comparison": comparison_settings(kind, self.config).key()}
        return Key.of("pairs", facts, [self.keys[local_of(kind)]], (*COMPARISON_CODE, *PAIRS_CODE))

    def _compare_pairs(self, keys: Mapping[str, Key], pairs: np.ndarray) -> np.ndarray:
        """(p, kinds), inliers of pairs of photos; of photos in no gallery the features are extracted now."""
        execution, found = self.execution, []
        for kind, key in keys.items():
            table = self.local[kind].table(np.unique(pairs))
            store = ArrayStore(execution.workspace.stores, "pairs", key.to_dict())
            settings = comparison_settings(kind, self.config)
            found.append(pair_inliers(pairs, table, store, settings, execution.jobs, execution.progress))
        return np.stack(found, axis=1).astype(np.float64)

    def verification(self) -> Step:
        """Evidence for what the ensemble proposes."""
        kinds = KINDS[self.config.local_features]
        pairs = {kind: self.pairs_key(kind) for kind in kinds}
        facts: dict[str, object] = {"kinds": list(kinds), "passes": self.config.passes}
        proposing = proposing_step(self.config)
        if self.config.spreads:
            facts["candidates"] = [self.config.candidates, CONTEXT_CANDIDATES]
        key = Key.of(VERIFICATION, facts, [self.keys[proposing], *pairs.values()], EVIDENCE_CODE)
        key = self._accepted(key)

        def compute(results: Mapping[str, Any]) -> Verified:
            if self.like is not None:
                kind, chosen = kinds[0], self.like.gallery
                passes = [self.comparison(kind, self.pairs_key(kind, number)) for number in range(chosen.passes)]
                jobs, progress = self.execution.jobs, self.execution.progress
                return verify_in_passes(results[ENSEMBLE], self.galleries(), passes, chosen, jobs, progress)
            nearest = self.config.gallery if self.config.nearest else None
            comparisons = {kind: self.comparison(kind, pairs[kind]) for kind in kinds}
            execution = self.execution
            proposed = proposals_of(self.config, results)
            hidden = self._hidden_photos() if self.config.spreads else ()
            return verify_proposals(
                proposed, self.galleries(), comparisons, nearest, execution.jobs, execution.progress, hidden
            )

        needs = (proposing, *(local_of(kind) for kind in kinds))
        slot = self.cache.evidence(key, kinds)
        return self._keep([Step(VERIFICATION, VERIFICATION, needs, key, slot, compute)])[0]

    def _hidden_photos(self) -> list[frozenset[str]]:
        """For each part of dev the gallery photos that its networks do not know."""
        every = set(self.dataset.reference.photos.tolist())
        unknown = [frozenset(every - set(fold.photos.tolist())) for fold in self.parts.folds]
        return [unknown[fold] for fold in self.parts.fold_of]

    def fusion(self) -> Step:
        """One confidence of recognition and evidence."""
        config, dataset = self.config, self.dataset
        needs = (*self._sources(), proposing_step(config), VERIFICATION)
        facts = {"rule": config.fusion, "seed": config.seed, "divisor": config.divisor}
        key = self._accepted(Key.of(FUSED, facts, [self.keys[name] for name in needs], FUSION_CODE))

        def compute(results: Mapping[str, Any]) -> Fitted:
            from lmk.pipeline.fuse import FUSIONS, Proposed, photo_counts  # loads scikit-learn

            proposed = Proposed(
                sources=self._source_answers(results),
                neighbours=results.get(RETRIEVAL),
                blended=proposals_of(config, results),
                verified=results[VERIFICATION],
                dev=dataset.dev,
                photo_counts=photo_counts(dataset.competition.train_landmarks),
                seed=config.seed,
                divisor=config.divisor,
                parts=self.parts if config.spreads else None,
            )
            return FUSIONS[config.fusion](proposed)

        return self._keep([Step(FUSED, FUSED, needs, key, self.cache.answers(key, Fitted), compute)])[0]

    def comparison(self, kind: str, key: Key) -> Comparison:
        """How a kind of local features compares photos, with the store of its comparisons."""
        store = ArrayStore(self.execution.workspace.stores, "verification-pairs", key.to_dict())
        return Comparison(self.local[kind], comparison_settings(kind, self.config), store)

    def pairs_key(self, kind: str, number: int = 0) -> Key:
        """Everything that the comparison of a query with a landmark depends on, in the pass `number`."""
        config = self.config
        gallery: object = [config.gallery, "nearest" if config.nearest else config.seed]
        if self.like is not None:
            chosen = self.like.gallery
            gallery = ["at random", chosen.kept, chosen.compared, chosen.seed, number]
        facts = {
            "comparison": comparison_settings(kind, self.config).key(),
            "gallery": gallery,
            "reference": self.dataset.split_key.digest if self.dataset.is_holdout else sorted(self.dataset.unreadable),
        }
        return Key.of("verification-pairs", facts, [self.keys[local_of(kind)]], COMPARISON_CODE)

    def _choose_galleries(self) -> dict[int, list[str]]:
        """At most `Config.gallery` training photos of each landmark, a seeded choice."""
        part = self.dataset.reference
        kept = self.config.gallery if self.like is None else self.like.gallery.kept
        return choose_galleries(part.photos, part.landmarks, kept, self.config.seed)

    def _recipe_keys(self, recipe: Recipe, weights: str, backend: Backend, accept: bool = False) -> RecipeKeys:
        config, dataset, name = self.config, self.dataset, recipe.name
        accepted = self._accepted if accept else lambda key: key
        facts = {
            "backbone": [recipe.backbone, recipe.provider, recipe.pixels, weights],
            "views": [recipe.image_size, recipe.pooling, recipe.views, recipe.dense],
            "seed": config.seed if weights == "none" else None,
            "backend": list(backend),
            "arithmetic": [config.precision, config.runtime],
        }
        parents = [dataset.photos_key] if weights != "none" else [dataset.split_key]  # which calibrates on training
        features = accepted(Key.of(features_of(name), facts, parents, NETWORK_CODE))
        training = {"recipe": recipe.key(), **facts, "seed": config.seed}
        code = (*NETWORK_CODE, *TRAINING_CODE)
        networks = accepted(Key.of(networks_of(name), training, [dataset.split_key, features], code))
        return RecipeKeys(features, networks, accepted(Key.of(name, {"k": TOP_K}, [networks], code)))

    def _places(self, keys: RecipeKeys) -> Places:
        workspace = self.execution.workspace
        width = self.config.descriptor_width
        return Places(workspace.stores, workspace.weights, keys.features, keys.networks, width)

    def _networks(self, recipe: Recipe, places: Places, refuse: Callable[[str], None]) -> Networks:
        from lmk.pipeline.features import Extractor, pixels_seen  # loads Keras
        from lmk.pipeline.networks import Networks

        config, dataset, execution, progress = self.config, self.dataset, self.execution, self.execution.progress
        extractor = Extractor(
            recipe,
            config.weights,
            config.seed,
            dataset.split.train_ids,
            dataset.reader(pixels_seen(recipe)),
            config.runtime,
            config.precision,
            refuse,
            progress,
            execution.jobs,
        )
        return Networks(
            recipe,
            dataset,
            places,
            extractor,
            config.seed,
            progress,
            self.team,
            execution.stop,
            execution.checkpoint_minutes,
            execution.jobs,
        )

    def _features_step(
        self, recipe: Recipe, key: Key, store: Callable[[], ArrayStore], networks: Callable[[], Networks]
    ) -> Step:
        split = self.dataset.split
        ids = self.dataset.photos if recipe.frozen else np.concatenate([split.train_ids, split.distractor_ids])
        return Step(
            features_of(recipe.name),
            recipe.name,
            (),
            key,
            Handle(lambda: len(store().missing(ids)) / max(1, len(ids)), store),
            lambda results: self._on_backend(lambda: networks().extract()),
        )

    def _delf_steps(self) -> list[Step]:
        config, dataset, workspace = self.config, self.dataset, self.execution.workspace
        recipe = recipe_of(config.weights, config.delf, config.delf_tune)
        facts = self._delf_facts(recipe)
        options = self._delf_options(recipe)

        def keys(backend: Backend) -> tuple[Key, Key]:
            parents = [dataset.split_key] if dataset.is_holdout else [dataset.photos_key]
            network = self._accepted(Key.of(DELF_NETWORK, {**facts, "backend": list(backend)}, parents, DELF_CODE))
            code = LOCAL_CODE[DELF]
            return network, self._accepted(Key.of(local_of(DELF), options.key({}), [network, dataset.photos_key], code))

        def stored(backend: Backend) -> bool:
            key = keys(backend)[1]
            return any((workspace.stores / f"{_file_name(key.name)}-{key.digest}").glob("*.npz"))

        backend = choose_backend(DELF_NETWORK, stored, self.execution)
        network, features = keys(backend)
        base = workspace.weights / f"{DELF_NETWORK}-{network.digest}"
        extractor = DelfExtractor(
            recipe,
            options,
            config.weights,
            dataset.reference,
            dataset.read,
            (base.with_name(f"{base.name}.weights.h5"), base.with_name(f"{base.name}.npz")),
            self.execution.jobs,
            config.precision,
            refusal(DELF_NETWORK, backend, workspace),
            self.execution.progress,
        )

        def train(results: Mapping[str, Any]) -> DelfExtractor:
            extractor.train()
            return extractor

        slot = Handle(lambda: 0.0 if extractor.is_trained() else 1.0, lambda: extractor)
        trained = Step(DELF_NETWORK, VERIFICATION, (), network, slot, train)
        return [trained, self._local_step(DELF, extractor, features, (DELF_NETWORK,))]

    def _delf_options(self, recipe: DelfRecipe) -> DelfOptions:
        """Which features are kept; a published threshold on scores means something to published weights alone."""
        if self.like is None:
            options = DelfOptions()
            return replace(
                options, max_features=min(options.max_features, self.config.most_features or options.max_features)
            )
        return self.like.delf if Path(recipe.backbone).is_dir() else self.like.without_threshold

    def _delf_facts(self, recipe: Any) -> dict[str, object]:
        """What DELF's network depends on besides its training photos.

        Raises:
            LmkError: The weights of the backbone cannot be had, or there are none.
        """
        folder = Path(recipe.backbone)
        if folder.is_dir():
            return {"published": published_digest(folder), "dimensions": recipe.dimensions}
        if self.config.weights == "none":
            raise LmkError("DELF needs pretrained weights: give --weights, or --local-features rootsift.")
        return {
            "recipe": recipe.key(),
            "weights": weights_digest(recipe.backbone, self.config.weights),
            "unreadable": sorted(self.dataset.unreadable),
            "pca": [PCA_PHOTOS, PCA_FEATURES],
        }

    def _local_step(self, kind: str, extractor: Any, key: Key, needs: Sequence[str]) -> Step:
        execution, dataset = self.execution, self.dataset
        store = ArrayStore(execution.workspace.stores, _file_name(key.name), key.to_dict())
        source = LocalSource(kind, extractor, store, dataset.read, execution.jobs, execution.progress)
        self.local[kind] = source
        # Photos of galleries are read by the steps that compare them: of many landmarks few are proposed.
        ids = np.unique(np.concatenate([photo_of(dataset.dev.ids), dataset.test_ids]))

        def compute(results: Mapping[str, Any]) -> LocalSource:
            source.table(ids)
            return source

        slot = Handle(lambda: len(store.missing(ids)) / max(1, len(ids)), lambda: source)
        return Step(local_of(kind), VERIFICATION, tuple(needs), key, slot, compute)

    def _sources(self) -> tuple[str, ...]:
        """Steps whose answers are blended."""
        recipes = [recipe.name for recipe in self.config.recipes]
        if self.like is not None:
            return tuple(recipes)
        return (*(context_of(name) if self.config.spreads else name for name in recipes), RETRIEVAL)

    def _source_answers(self, results: Mapping[str, Any]) -> dict[str, Answers]:
        """What is blended, by recipe and `retrieval`."""
        names = [*(recipe.name for recipe in self.config.recipes), RETRIEVAL]
        return {name: results[step] for name, step in zip(names, self._sources(), strict=False)}

    def _accepted(self, key: Key) -> Key:
        """The key, or that of a stale result which the user accepts in its place."""
        if key.name not in self.config.accepted:
            return key
        return self.cache.stale(key) or key

    def _keep(self, steps: list[Step]) -> list[Step]:
        self.keys |= {step.name: step.key for step in steps}
        return steps

    def _on_backend(self, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, with Keras started."""
        with running_backend(self.config.precision, self.execution.note, self.team):
            return compute()


@dataclass(frozen=True)
class Handle:
    """A `Slot` of a result that keeps its own arrays as it computes them, such as a store or trained networks."""

    share_missing: Callable[[], float]
    handle: Callable[[], Any]

    def missing(self) -> float:
        """Share of its arrays that is not stored."""
        return self.share_missing()

    def load(self) -> Any:
        """What reads the arrays when they are asked for."""
        return self.handle()

    def save(self, result: Any) -> None:
        """Nothing: the arrays were stored as they were computed."""


def _untrained(places: Places, dataset: Dataset) -> float:
    return 1 - places.trained(dataset.parts)


def _own_weights(weights: str) -> str | None:
    """The file or folder in which learned local features look for their weights before installed packages."""
    return None if weights in ("none", "imagenet", "tiny") else weights


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    """`make`, called when its result is first asked for."""
    made: list[Any] = []

    def get() -> Any:
        if not made:
            made.append(make())
        return made[0]

    return get


def _file_name(step: str) -> str:
    return step.replace("/", "-")
