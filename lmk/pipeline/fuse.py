"""The step that fuses: one confidence of recognition and local evidence, by one of several rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmk.data.splits import Queries
from lmk.ensemble.fuse import Fuse, Proposals, proposal_features, source_features
from lmk.ensemble.fusion_rules import FUSIONS, Divisor, FusionRule
from lmk.ensemble.tune import cross_fit, cross_fit_parts
from lmk.local.evidence import Evidence
from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.pipeline.blend import all_context_lists, all_lists
from lmk.pipeline.dev_parts import DevParts
from lmk.pipeline.results import Answers, Fitted, Neighbours, Verified
from lmk.predictions import NO_LANDMARK, Predictions

ENOUGH_FOR_SOURCES = 1000
"""Dev queries from which on fusion sees the scores of networks and retrieval beside those of their blend: a regression
on fewer fits their noise, and on more it gains by them ("What fusion sees" in docs/journal/ideas.md)."""


@dataclass(frozen=True, eq=False)
class Proposed:
    """Inputs of a fusion rule.

    Attributes:
        sources: Answers of recipes and retrieval, by step name.
        neighbours: Those of retrieval; None where it takes no part, and then nothing is learned.
        blended: The proposals: the blend of the sources, spread or not.
        verified: Evidence for them.
        dev: The dev queries.
        photo_counts: Training photos by landmark.
        seed: Random seed of cross-fitting.
        divisor: As for the published sum: `dev` or `batch`.
        parts: Where answers are spread, what they are cross-fitted by; the test photos are then fused for each part.
        metric: What optimism is measured by.
    """

    sources: Mapping[str, Answers]
    neighbours: Neighbours | None
    blended: Answers
    verified: Verified
    dev: Queries
    photo_counts: Mapping[int, int]
    seed: int
    divisor: Divisor = "dev"
    parts: DevParts | None = None
    metric: Metric = GAP


def fuse(proposed: Proposed, rule: str) -> Fitted:
    """Answers by a rule of `lmk.ensemble.fusion_rules.FUSIONS`; those of a learned one are cross-fitted on dev."""
    found = FUSIONS[rule]
    return _fuse_learned(proposed, found) if found.learned else _fuse_fixed(proposed, found)


def _fuse_learned(proposed: Proposed, rule: FusionRule) -> Fitted:
    """Answers by a rule that is fitted on dev, and cross-fitted there."""
    blended, truth, parts = proposed.blended, proposed.dev.truth, proposed.parts
    near, verified = proposed.neighbours, proposed.verified
    if near is None:
        raise ValueError("A learned rule reads retrieval's likeness to distractors, and there is no retrieval.")

    sources = proposed.sources if len(truth) >= ENOUGH_FOR_SOURCES else {}

    def described(
        lists: Predictions, likeness: np.ndarray, evidence: Mapping[str, Evidence], seen: Sequence[Predictions]
    ) -> Proposals:
        features = proposal_features(lists, proposed.photo_counts, likeness, _proposals(evidence))
        if seen:
            features = np.concatenate([features, source_features(lists.landmarks, seen)], axis=2)
        return replace(_given(lists, evidence), features=features)

    dev = described(blended.dev, near.likeness_dev, verified.dev, all_lists(sources, "dev"))
    test = described(blended.test, near.likeness_test, verified.test, all_lists(sources, "test"))
    right = (blended.dev.landmarks == truth[:, None]) & (blended.dev.landmarks != NO_LANDMARK)

    def fit(rows: np.ndarray) -> Fuse:
        return rule.fit(dev.take(rows), truth[rows], proposed.divisor)

    context: tuple[Predictions, ...] = ()
    if parts is None:
        crossed = cross_fit(proposed.dev.photos, fit, lambda fused, rows: fused(dev.take(rows)), proposed.seed)
    else:
        folds = parts.fold_of

        def fit_part(rows: np.ndarray) -> Fuse | None:
            # What a part may learn from can be a handful of queries, all right or all wrong: its lists then stay.
            return fit(rows) if right[rows].any() and not right[rows].all() else None

        def apply_part(fused: Fuse | None, rows: np.ndarray) -> Predictions:
            return blended.dev.take(rows) if fused is None else fused(dev.take(rows))

        def apply_context(fused: Fuse | None, part: int) -> Predictions:
            lists, fold = blended.context[part], folds[part]
            if fused is None:
                return lists
            seen = all_context_lists(sources, fold)
            return fused(described(lists, near.likeness_context[fold], verified.context[part], seen))

        crossed, context = cross_fit_parts(parts.of_query, proposed.dev.photos, fit_part, apply_part, apply_context)
    fused = fit(np.arange(len(truth)))
    metric = proposed.metric
    optimism = metric.score(fused(dev), truth) - metric.score(crossed, truth)
    return Fitted(crossed, fused(test), float(optimism), context=context)


def _fuse_fixed(proposed: Proposed, rule: FusionRule) -> Fitted:
    """Answers by a rule that learns nothing from the truth."""
    blended, verified, truth = proposed.blended, proposed.verified, proposed.dev.truth
    dev, test = _given(blended.dev, verified.dev), _given(blended.test, verified.test)
    fused = rule.fit(dev, truth, proposed.divisor)
    context = tuple(
        fused(_given(lists, evidence)) for lists, evidence in zip(blended.context, verified.context, strict=True)
    )
    return Fitted(rule.fit(dev, truth, "dev")(dev), fused(test), context=context)


def _given(lists: Predictions, evidence: Mapping[str, Evidence]) -> Proposals:
    """Proposals with the evidence of the first kind of local features."""
    first = _first(evidence)
    return Proposals(lists, first.inliers, first.counts)


def photo_counts(landmarks: np.ndarray) -> dict[int, int]:
    """Photos by landmark of (n,) int landmarks."""
    known, counts = np.unique(landmarks, return_counts=True)
    return dict(zip(known.tolist(), counts.tolist(), strict=True))


def _proposals(evidence: Mapping[str, Evidence]) -> dict[str, np.ndarray]:
    """The evidence of all kinds, by kind and name."""
    return {f"{kind}:{name}": values for kind, one in evidence.items() for name, values in one.proposals().items()}


def _first(evidence: Mapping[str, Evidence]) -> Evidence:
    """The kind that the published rules read: they knew one."""
    return next(iter(evidence.values()))
