"""The steps of a recipe: features, trained networks, answers, and the answers of the networks of every fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk.models.backbones.catalogue import backbone_named, weights_digest
from lmk.models.recipe import Recipe
from lmk.pipeline.backend import choose_backend, refusal
from lmk.pipeline.building.handle import Handle
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.code_of_steps import NETWORK_CODE, TRAINING_CODE, provider_code
from lmk.pipeline.config import TOP_K, Backend
from lmk.pipeline.key import Key
from lmk.pipeline.places import Places
from lmk.pipeline.results import Answers
from lmk.pipeline.steps import SPREAD, Step, context_of, features_of, networks_of

if TYPE_CHECKING:  # loads Keras
    from lmk.pipeline.networks import Networks


@dataclass(frozen=True)
class RecipeKeys:
    """Keys of a recipe's steps."""

    features: Key
    networks: Key
    answers: Key


@dataclass(frozen=True, eq=False)
class NetworkSteps:
    """Builds the steps of recipes.

    Attributes:
        shared: Settings, and the keys so far.
        of_recipe: What gives a recipe's networks, by its name; they are made when they are first asked for.
    """

    shared: Shared
    of_recipe: dict[str, Callable[[], Networks]] = field(default_factory=dict)

    def recipe(self, recipe: Recipe) -> list[Step]:
        """Features (where the backbone starts frozen), trained networks, and answers."""
        shared, name = self.shared, recipe.name
        weights = weights_digest(recipe.backbone, shared.config.weights, recipe.provider)

        def stored(backend: Backend) -> bool:
            key = self._keys(recipe, weights, backend).answers
            return shared.cache.answers(key, Answers).missing() == 0

        backend = choose_backend(name, stored, shared.execution)
        keys = self._keys(recipe, weights, backend, shared.accepted)
        places = self._places(keys)
        refuse = refusal(name, backend, shared.execution.workspace)
        networks = self.of_recipe[name] = cache(partial(self._networks, recipe, places, refuse))
        steps = []
        if recipe.stages[0].train_from is None:  # else the first stage trains the backbone, and no feature lasts
            steps.append(self._features_step(recipe, keys.features, places, networks))
        needs = tuple(step.name for step in steps)
        steps.append(self._training_step(name, needs, keys.networks, places, networks))
        steps.append(self._answers_step(name, (*needs, networks_of(name)), keys.answers, networks))
        return shared.keep(steps)

    def contexts(self) -> list[Step]:
        """The test photos as the networks of each fold answer them, recipe by recipe."""
        return self.shared.keep([self._context_step(recipe) for recipe in self.shared.config.recipes])

    def _features_step(self, recipe: Recipe, key: Key, places: Places, networks: Callable[[], Networks]) -> Step:
        dataset, split = self.shared.dataset, self.shared.dataset.split
        ids = dataset.photos if recipe.frozen else np.concatenate([split.train_ids, split.distractor_ids])
        store = places.feature_store
        return Step(
            features_of(recipe.name),
            recipe.name,
            (),
            key,
            Handle(lambda: len(store().missing(ids)) / max(1, len(ids)), store),
            lambda results: self.shared.on_backend(lambda: networks().extract()),
        )

    def _training_step(
        self, recipe: str, needs: tuple[str, ...], key: Key, places: Places, networks: Callable[[], Networks]
    ) -> Step:
        parts = self.shared.dataset.parts

        def compute(results: Mapping[str, Any]) -> Places:
            places.discard_damaged(parts)
            self.shared.on_backend(lambda: networks().train())
            return places

        slot = Handle(lambda: 1 - places.trained(parts), lambda: places)
        return Step(networks_of(recipe), recipe, needs, key, slot, compute)

    def _answers_step(self, recipe: str, needs: tuple[str, ...], key: Key, networks: Callable[[], Networks]) -> Step:
        def compute(results: Mapping[str, Any]) -> Answers:
            found: Answers = self.shared.on_backend(lambda: Answers(*networks().predictions()))
            return found

        return Step(recipe, recipe, needs, key, self.shared.cache.answers(key, Answers), compute)

    def _context_step(self, recipe: Recipe) -> Step:
        shared, name = self.shared, recipe.name
        needs = (*((features_of(name),) if recipe.frozen else ()), networks_of(name), name)
        key = shared.accepted(Key.of(context_of(name), {}, [shared.keys[name]], TRAINING_CODE))

        def compute(results: Mapping[str, Any]) -> Answers:
            found: Answers = shared.on_backend(lambda: self._answers_of_every_fold(name, results[name]))
            return found

        return Step(context_of(name), SPREAD, needs, key, shared.cache.answers(key, Answers), compute)

    def _answers_of_every_fold(self, recipe: str, answers: Answers) -> Answers:
        """The answers with those of each fold's network to the test photos as their context."""
        parts, test = self.shared.parts, self.shared.dataset.test_ids
        context = []
        for fold in parts.folds:
            if fold is parts.tested or not len(test):
                context.append(answers.test)
            else:
                context.append(self.of_recipe[recipe]().answer(fold, test, test))
        return Answers(answers.dev, answers.test, context=tuple(context))

    def _keys(
        self, recipe: Recipe, weights: str, backend: Backend, accepted: Callable[[Key], Key] = lambda key: key
    ) -> RecipeKeys:
        """The keys of a recipe's steps.

        Args:
            recipe: The recipe.
            weights: Digest of its backbone's weights.
            backend: What computes it.
            accepted: Gives the key that stands in for a key, before the next one is made of it.
        """
        config, dataset, name = self.shared.config, self.shared.dataset, recipe.name
        facts = {
            "backbone": [recipe.backbone, recipe.provider, recipe.pixels, weights],
            "views": [recipe.image_size, recipe.pooling, recipe.views, recipe.dense],
            "seed": config.seed if weights == "none" else None,
            "backend": list(backend),
            "arithmetic": [config.precision, config.runtime],
        }
        parents = [dataset.photos_key] if weights != "none" else [dataset.split_key]  # which calibrates on training
        network_code = (*NETWORK_CODE, *provider_code(recipe.provider or backbone_named(recipe.backbone).provider))
        features = accepted(Key.of(features_of(name), facts, parents, network_code))
        training = {"recipe": recipe.key(), **facts, "seed": config.seed, **self.shared.metric_facts}
        code = (*network_code, *TRAINING_CODE, *self.shared.metric_code)
        networks = accepted(Key.of(networks_of(name), training, [dataset.split_key, features], code))
        return RecipeKeys(features, networks, accepted(Key.of(name, {"k": TOP_K}, [networks], code)))

    def _places(self, keys: RecipeKeys) -> Places:
        workspace = self.shared.execution.workspace
        width = self.shared.config.descriptor_width
        return Places(workspace.stores, workspace.weights, keys.features, keys.networks, width)

    def _networks(self, recipe: Recipe, places: Places, refuse: Callable[[str], None]) -> Networks:
        from lmk.pipeline.features import Extractor, pixels_seen  # loads Keras
        from lmk.pipeline.networks import Networks

        config, dataset, execution = self.shared.config, self.shared.dataset, self.shared.execution
        extractor = Extractor(
            recipe,
            config.weights,
            config.seed,
            dataset.split.train_ids,
            dataset.reader(pixels_seen(recipe)),
            config.runtime,
            config.precision,
            refuse,
            execution.progress,
            execution.jobs,
        )
        return Networks(
            recipe,
            dataset,
            places,
            extractor,
            config.seed,
            execution.progress,
            self.shared.team,
            execution.stop,
            execution.checkpoint_minutes,
            execution.jobs,
            self.shared.metric,
        )
