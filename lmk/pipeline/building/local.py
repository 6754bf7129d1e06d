"""The steps of local features, and the stores of comparisons by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lmk.data.splits import choose_galleries, photo_of
from lmk.local.features import Extractor
from lmk.local.glue import Glue
from lmk.local.kinds import DELF, LOCAL_FEATURES, kinds_of
from lmk.pipeline.building.delf import DelfSteps
from lmk.pipeline.building.handle import Handle
from lmk.pipeline.building.proposals import comparison_settings
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.code_of_steps import COMPARISON_CODE, PAIRS_CODE
from lmk.pipeline.key import Key
from lmk.pipeline.local_features import LocalSource
from lmk.pipeline.steps import DELF_NETWORK, VERIFICATION, Step, local_of
from lmk.pipeline.verify import Comparison
from lmk.util.store import ArrayStore


@dataclass(eq=False)
class LocalSteps:
    """Builds the steps of local features.

    Attributes:
        shared: Settings, and the keys so far.
        sources: Features of photos by kind, for the kinds whose steps were built.
    """

    shared: Shared
    sources: dict[str, LocalSource] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of local features that verify."""
        return kinds_of(self.shared.config.local_features)

    @cached_property
    def galleries(self) -> dict[int, list[str]]:
        """At most `Config.gallery` training photos of each landmark, a seeded choice."""
        config, like, part = self.shared.config, self.shared.like, self.shared.dataset.reference
        kept = config.gallery if like is None else like.gallery.kept
        return choose_galleries(part.photos, part.landmarks, kept, config.seed)

    def local_features(self) -> list[Step]:
        """Local features of the queries, by kind; DELF's network before its features."""
        shared, steps = self.shared, []
        for kind in self.kinds:
            if kind == DELF:
                network, extractor, key = DelfSteps(shared).network()
                steps += [network, self._step(DELF, extractor, key, (DELF_NETWORK,))]
            else:
                config = shared.config
                found = LOCAL_FEATURES[kind].extractor(_own_weights(config.weights), config.most_features)
                key = Key.of(local_of(kind), found.key(), [shared.dataset.photos_key], LOCAL_FEATURES[kind].code)
                steps.append(self._step(kind, found, shared.accepted(key), ()))
        return shared.keep(steps)

    def comparison(self, kind: str, number: int = 0) -> Comparison:
        """How a kind of local features compares photos, with the store of its comparisons, in the pass `number`."""
        key = self.pairs_key(kind, number)
        store = ArrayStore(self.shared.execution.workspace.stores, key.name, key.to_dict())
        return Comparison(self.sources[kind], comparison_settings(kind, self.shared.config), store, self.glue(kind))

    def glue(self, kind: str) -> Glue | None:
        """Network that matches a kind's features, None where distances do."""
        if self.shared.like is not None:  # the published comparison matches by distances
            return None
        return LOCAL_FEATURES[kind].glue(_own_weights(self.shared.config.weights))

    def pairs_key(self, kind: str, number: int = 0) -> Key:
        """Everything that the comparison of a query with a landmark depends on, in the pass `number`."""
        config, dataset, like = self.shared.config, self.shared.dataset, self.shared.like
        gallery: object = [config.gallery, "nearest" if config.nearest else config.seed]
        if like is not None:
            chosen = like.gallery
            gallery = ["at random", chosen.kept, chosen.compared, chosen.seed, number]
        facts = {
            **self._comparison_facts(kind),
            "gallery": gallery,
            "reference": dataset.split_key.digest if dataset.is_holdout else sorted(dataset.unreadable),
        }
        parents = [self.shared.keys[local_of(kind)]]
        return Key.of("verification-pairs", facts, parents, (*COMPARISON_CODE, *LOCAL_FEATURES[kind].matching_code))

    def graph_pairs_key(self, kind: str) -> Key:
        """Everything that the comparison of two photos depends on."""
        code = (*COMPARISON_CODE, *PAIRS_CODE, *LOCAL_FEATURES[kind].matching_code)
        return Key.of("pairs", self._comparison_facts(kind), [self.shared.keys[local_of(kind)]], code)

    def _comparison_facts(self, kind: str) -> dict[str, object]:
        """Settings of a comparison, and what matches where that is a network."""
        glue = self.glue(kind)
        facts: dict[str, object] = {"comparison": comparison_settings(kind, self.shared.config).key()}
        return facts if glue is None else facts | {"matcher": glue.key()}

    def _step(self, kind: str, extractor: Extractor, key: Key, needs: Sequence[str]) -> Step:
        execution, dataset = self.shared.execution, self.shared.dataset
        store = ArrayStore(execution.workspace.stores, key.name.replace("/", "-"), key.to_dict())
        source = LocalSource(kind, extractor, store, dataset.read, execution.jobs, execution.progress)
        self.sources[kind] = source
        # Photos of galleries are read by the steps that compare them: of many landmarks few are proposed.
        ids = np.unique(np.concatenate([photo_of(dataset.dev.ids), dataset.test_ids]))

        def compute(results: Mapping[str, Any]) -> LocalSource:
            source.table(ids)
            return source

        slot = Handle(lambda: len(store.missing(ids)) / max(1, len(ids)), lambda: source)
        return Step(local_of(kind), VERIFICATION, tuple(needs), key, slot, compute)


def _own_weights(weights: str) -> str | None:
    """The file or folder in which learned local features look for their weights before installed packages."""
    return None if weights in ("none", "imagenet", "tiny") else weights
