"""The step that compares queries with photos of the landmarks proposed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.proposals import proposals_of, proposing_step
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.code_of_steps import EVIDENCE_CODE
from lmk.pipeline.config import CONTEXT_CANDIDATES
from lmk.pipeline.key import Key
from lmk.pipeline.results import Verified
from lmk.pipeline.steps import ENSEMBLE, VERIFICATION, Step, local_of
from lmk.pipeline.verify import verify_in_passes, verify_proposals


@dataclass(frozen=True, eq=False)
class VerificationSteps:
    """Builds the step of verification.

    Attributes:
        shared: Settings, and the keys so far.
        local: Whose features are compared.
    """

    shared: Shared
    local: LocalSteps

    def verification(self) -> Step:
        """Evidence for what the ensemble proposes."""
        shared, config, kinds = self.shared, self.shared.config, self.local.kinds
        facts: dict[str, object] = {"kinds": list(kinds), "passes": config.passes}
        if config.spreads:
            facts["candidates"] = [config.candidates, CONTEXT_CANDIDATES]
        parents = [shared.keys[proposing_step(config)], *map(self.local.pairs_key, kinds)]
        key = shared.accepted(Key.of(VERIFICATION, facts, parents, EVIDENCE_CODE))
        needs = (proposing_step(config), *map(local_of, kinds))
        compute = self._verify if shared.like is None else self._verify_like
        return shared.keep([Step(VERIFICATION, VERIFICATION, needs, key, shared.cache.evidence(key, kinds), compute)])[
            0
        ]

    def _verify(self, results: Mapping[str, Any]) -> Verified:
        config, execution = self.shared.config, self.shared.execution
        comparisons = {kind: self.local.comparison(kind) for kind in self.local.kinds}
        return verify_proposals(
            proposals_of(config, results),
            self.local.galleries,
            comparisons,
            config.gallery if config.nearest else None,
            execution.jobs,
            execution.progress,
            self._hidden_photos() if config.spreads else (),
        )

    def _verify_like(self, results: Mapping[str, Any]) -> Verified:
        """Evidence as a published system gathers it."""
        execution, like = self.shared.execution, self.shared.like
        assert like is not None
        kind = self.local.kinds[0]
        passes = [self.local.comparison(kind, number) for number in range(like.gallery.passes)]
        galleries = self.local.galleries
        return verify_in_passes(results[ENSEMBLE], galleries, passes, like.gallery, execution.jobs, execution.progress)

    def _hidden_photos(self) -> list[frozenset[str]]:
        """Gallery photos, for each part of dev, that its networks do not know."""
        parts, every = self.shared.parts, set(self.shared.dataset.reference.photos.tolist())
        unknown = [frozenset(every - set(fold.photos.tolist())) for fold in parts.folds]
        return [unknown[fold] for fold in parts.fold_of]
