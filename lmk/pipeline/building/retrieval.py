"""The step that retrieves photos by the descriptors of all networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lmk.pipeline.building.networks import NetworkSteps
from lmk.pipeline.building.proposals import head_steps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.code_of_steps import PUBLISHED_RETRIEVAL_CODE, RETRIEVAL_CODE
from lmk.pipeline.config import TOP_K, Config
from lmk.pipeline.described import NEIGHBOURS
from lmk.pipeline.key import Key
from lmk.pipeline.published import by_published
from lmk.pipeline.results import Neighbours
from lmk.pipeline.retrieve import Further, retrieve, retrieve_for_graphs
from lmk.pipeline.steps import RETRIEVAL, Step, context_of, features_of, networks_of
from lmk.retrieval.neighbours import Options
from lmk.retrieval.ridge import PENALTY
from lmk.retrieval.scores import KNN


@dataclass(frozen=True, eq=False)
class RetrievalSteps:
    """Builds the step of retrieval.

    Attributes:
        shared: Settings, and the keys so far.
        networks: Whose descriptors are compared.
    """

    shared: Shared
    networks: NetworkSteps

    def retrieval(self) -> Step:
        """Landmarks by the descriptors of all networks: kNN, or a published form that takes its place."""
        shared, config = self.shared, self.shared.config
        facts: dict[str, object] = {"options": asdict(Options()), "alone": config.each_network, "k": TOP_K}
        if config.descriptor_width is not None:
            facts["descriptor width"] = config.descriptor_width
        if config.ridge:
            facts["ridge"] = PENALTY
        if config.spreads:
            facts["neighbours"] = NEIGHBOURS
        needs = tuple((features_of if recipe.frozen else networks_of)(recipe.name) for recipe in config.recipes)
        code: tuple[str, ...] = RETRIEVAL_CODE
        if config.retrieval != KNN:
            facts["by"] = config.retrieval
            needs, code = (*needs, *head_steps(config)), (*code, *PUBLISHED_RETRIEVAL_CODE)
        parents = [shared.dataset.split_key, *(shared.keys[name] for name in needs)]
        key = shared.accepted(Key.of(RETRIEVAL, facts, parents, code))

        def compute(results: Mapping[str, Any]) -> Neighbours:
            found: Neighbours = shared.on_backend(lambda: self._retrieve(results))
            return found

        step = Step(
            RETRIEVAL, RETRIEVAL, (*needs, *_asked_first(config)), key, shared.cache.answers(key, Neighbours), compute
        )
        return shared.keep([step])[0]

    def _retrieve(self, results: Mapping[str, Any]) -> Neighbours:
        config, near = self.shared.config, self._neighbours()
        if config.retrieval == KNN:
            return near
        describe = [self.networks.of_recipe[recipe.name]().descriptors for recipe in config.recipes]
        heads = [results[name] for name in head_steps(config)]
        return by_published(
            config.retrieval, near, self.shared.dataset, describe, heads, self.shared.execution.progress
        )

    def _neighbours(self) -> Neighbours:
        shared, config = self.shared, self.shared.config
        networks = [self.networks.of_recipe[recipe.name]() for recipe in config.recipes]
        descriptors, room = [one.descriptors for one in networks], networks[0].room
        further, progress = Further(config.each_network, config.ridge), shared.execution.progress
        if config.spreads:
            test = shared.dataset.test_ids
            return retrieve_for_graphs(shared.parts, test, descriptors, Options(), further, room, progress)
        return retrieve(shared.dataset, descriptors, Options(), further, room, progress)


def _asked_first(config: Config) -> tuple[str, ...]:
    """Steps that ask tuned networks about photos whose descriptors retrieval wants, too: one pass gives both."""
    return tuple(context_of(recipe.name) for recipe in config.recipes if config.spreads and not recipe.frozen)
