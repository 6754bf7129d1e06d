"""The step that retrieves photos by the descriptors of all networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lmk.pipeline.building.networks import NetworkSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.code_of_steps import RETRIEVAL_CODE
from lmk.pipeline.config import TOP_K
from lmk.pipeline.described import NEIGHBOURS
from lmk.pipeline.key import Key
from lmk.pipeline.results import Neighbours
from lmk.pipeline.retrieve import retrieve, retrieve_for_graphs
from lmk.pipeline.steps import RETRIEVAL, Step, features_of, networks_of
from lmk.retrieval.neighbours import Options
from lmk.retrieval.ridge import PENALTY


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
        """kNN by the descriptors of all networks."""
        shared, config = self.shared, self.shared.config
        facts: dict[str, object] = {"options": asdict(Options()), "alone": config.each_network, "k": TOP_K}
        if config.spreads:
            facts |= {"ridge": PENALTY, "neighbours": NEIGHBOURS}
        needs = tuple((features_of if recipe.frozen else networks_of)(recipe.name) for recipe in config.recipes)
        parents = [shared.dataset.split_key, *(shared.keys[name] for name in needs)]
        key = shared.accepted(Key.of(RETRIEVAL, facts, parents, RETRIEVAL_CODE))

        def compute(results: Mapping[str, Any]) -> Neighbours:
            found: Neighbours = shared.on_backend(self._retrieve)
            return found

        step = Step(RETRIEVAL, RETRIEVAL, needs, key, shared.cache.answers(key, Neighbours), compute)
        return shared.keep([step])[0]

    def _retrieve(self) -> Neighbours:
        shared, config = self.shared, self.shared.config
        networks = [self.networks.of_recipe[recipe.name]() for recipe in config.recipes]
        descriptors, room = [one.descriptors for one in networks], networks[0].room
        alone, progress = config.each_network, shared.execution.progress
        if config.spreads:
            test = shared.dataset.test_ids
            return retrieve_for_graphs(shared.parts, test, descriptors, Options(), alone, room, progress)
        return retrieve(shared.dataset, descriptors, Options(), alone, room, progress)
