"""The steps that spread answers over photos that show the same place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lmk.ensemble import spreading
from lmk.local.pairs import pair_inliers
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.proposals import comparison_settings
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.code_of_steps import SPREAD_CODE
from lmk.pipeline.described import BUDGET
from lmk.pipeline.key import Key
from lmk.pipeline.results import SpreadAnswers
from lmk.pipeline.spread import spread_answers, verify_graphs
from lmk.pipeline.steps import ENSEMBLE, FUSED, RETRIEVAL, SPREAD, SPREAD_FUSED, Step, local_of
from lmk.util.store import ArrayStore


@dataclass(frozen=True, eq=False)
class SpreadSteps:
    """Builds the steps that spread.

    Attributes:
        shared: Settings, and the keys so far.
        local: By whose features neighbours are verified.
    """

    shared: Shared
    local: LocalSteps

    def spread(self) -> Step:
        """The blended lists, spread along descriptors and verified pairs of photos."""
        shared, kinds = self.shared, self.local.kinds
        pairs = map(self.local.graph_pairs_key, kinds)
        facts = {"kinds": list(kinds), "budget": BUDGET, "seed": shared.config.seed} | shared.metric_facts
        parents = [shared.keys[ENSEMBLE], shared.keys[RETRIEVAL], *pairs]
        key = Key.of(SPREAD, facts, parents, (*SPREAD_CODE, *shared.metric_code))
        return self._step(SPREAD, key, (ENSEMBLE, RETRIEVAL, *map(local_of, kinds)), self._spread)

    def spread_fused(self) -> Step:
        """The fused lists, spread along the same graphs."""
        shared = self.shared
        parents = [shared.keys[name] for name in (FUSED, SPREAD)]
        facts = {"seed": shared.config.seed} | shared.metric_facts
        key = Key.of(SPREAD_FUSED, facts, parents, (*SPREAD_CODE, *shared.metric_code))
        return self._step(SPREAD_FUSED, key, (FUSED, SPREAD, RETRIEVAL), self._spread_fused)

    def _step(
        self, name: str, key: Key, needs: tuple[str, ...], compute: Callable[[Mapping[str, Any]], SpreadAnswers]
    ) -> Step:
        key = self.shared.accepted(key)
        slot = self.shared.cache.answers(key, SpreadAnswers)
        return self.shared.keep([Step(name, name, needs, key, slot, compute)])[0]

    def _spread(self, results: Mapping[str, Any]) -> SpreadAnswers:
        parts, blended, graphs = self.shared.parts, results[ENSEMBLE], results[RETRIEVAL].graphs
        inliers = verify_graphs(parts, blended.test.ids, blended, graphs, self._compare)
        return spread_answers(parts, blended, graphs, inliers, self._train, spreading.RECOGNIZED, self.shared.metric)

    def _spread_fused(self, results: Mapping[str, Any]) -> SpreadAnswers:
        graphs, inliers = results[RETRIEVAL].graphs, results[SPREAD].inliers
        found = spread_answers(
            self.shared.parts, results[FUSED], graphs, inliers, self._train, spreading.FUSED, self.shared.metric
        )
        return replace(found, inliers=())  # those of the step before

    def _compare(self, pairs: np.ndarray) -> np.ndarray:
        """(p, kinds), inliers of pairs of photos; of photos in no gallery the features are extracted now."""
        execution, found = self.shared.execution, []
        for kind in self.local.kinds:
            table = self.local.sources[kind].table(np.unique(pairs))
            store = ArrayStore(execution.workspace.stores, "pairs", self.local.graph_pairs_key(kind).to_dict())
            settings = comparison_settings(kind, self.shared.config)
            glue = self.local.glue(kind)
            found.append(pair_inliers(pairs, table, store, settings, execution.jobs, execution.progress, glue))
        return np.stack(found, axis=1).astype(np.float64)

    @property
    def _train(self) -> tuple[np.ndarray, np.ndarray]:
        """Training photos and their landmarks."""
        split = self.shared.dataset.split
        return split.train_ids, split.train_landmarks
