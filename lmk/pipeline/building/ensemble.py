"""The steps that combine sources: the blend, and the fusion of recognition with verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmk.ensemble.fusion_rules import FUSIONS
from lmk.pipeline.blend import blend
from lmk.pipeline.building.proposals import head_steps, proposals_of, proposing_step
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.code_of_steps import BLEND_CODE, FUSION_CODE
from lmk.pipeline.config import TOP_K
from lmk.pipeline.fuse import Proposed, fuse, photo_counts
from lmk.pipeline.key import Key
from lmk.pipeline.results import Answers, Blended, Fitted
from lmk.pipeline.steps import ENSEMBLE, FUSED, RETRIEVAL, VERIFICATION, Step


@dataclass(frozen=True, eq=False)
class EnsembleSteps:
    """Builds the blend and the fusion.

    Attributes:
        shared: Settings, and the keys so far.
    """

    shared: Shared

    def blend(self) -> Step:
        """The blend of recipes and retrieval."""
        shared, config = self.shared, self.shared.config
        # Spreading may raise any landmark of a list among the candidates.
        kept = TOP_K if config.spreads else config.candidates
        facts = {"k": kept, "seed": config.seed, "alone": shared.like is not None, **shared.metric_facts}
        if config.spreads:
            facts["cross-fitted"] = "by part"
        sources, code = self._sources(), (*BLEND_CODE, *shared.metric_code)
        key = shared.accepted(Key.of(ENSEMBLE, facts, [shared.keys[name] for name in sources], code))

        def compute(results: Mapping[str, Any]) -> Blended:
            return self._blend(results, kept)

        return shared.keep([Step(ENSEMBLE, ENSEMBLE, sources, key, shared.cache.answers(key, Blended), compute)])[0]

    def fusion(self) -> Step:
        """One confidence of recognition and evidence."""
        shared, config = self.shared, self.shared.config
        needs = (*self._sources(), proposing_step(config), VERIFICATION)
        code = (*FUSION_CODE, *FUSIONS[config.fusion].code, *shared.metric_code)
        facts = {"rule": config.fusion, "seed": config.seed, "divisor": config.divisor, **shared.metric_facts}
        key = shared.accepted(Key.of(FUSED, facts, [shared.keys[name] for name in needs], code))
        return shared.keep([Step(FUSED, FUSED, needs, key, shared.cache.answers(key, Fitted), self._fuse)])[0]

    def _blend(self, results: Mapping[str, Any], kept: int) -> Blended:
        shared, config = self.shared, self.shared.config
        if shared.like is not None:  # its one network, and nothing else
            source = config.recipes[0].name
            only = results[source]
            return Blended(only.dev.top(1), only.test.top(1), weights={source: 1.0})
        parts = shared.parts if config.spreads else None
        return blend(self._answers(results), shared.dataset.dev, kept, config.seed, shared.metric, parts)

    def _fuse(self, results: Mapping[str, Any]) -> Fitted:
        shared, config, dataset = self.shared, self.shared.config, self.shared.dataset
        proposed = Proposed(
            sources=self._answers(results),
            neighbours=results.get(RETRIEVAL),
            blended=proposals_of(config, results),
            verified=results[VERIFICATION],
            dev=dataset.dev,
            photo_counts=photo_counts(dataset.competition.train_landmarks),
            seed=config.seed,
            metric=shared.metric,
            divisor=config.divisor,
            parts=shared.parts if config.spreads else None,
        )
        return fuse(proposed, config.fusion)

    def _sources(self) -> tuple[str, ...]:
        """Steps whose answers are blended."""
        heads = head_steps(self.shared.config)
        return heads if self.shared.like is not None else (*heads, RETRIEVAL)

    def _answers(self, results: Mapping[str, Any]) -> dict[str, Answers]:
        """Answers that are blended, by recipe and `retrieval`."""
        names = [*(recipe.name for recipe in self.shared.config.recipes), RETRIEVAL]
        # A published system has no retrieval: one step fewer than names.
        return {name: results[step] for name, step in zip(names, self._sources(), strict=False)}
