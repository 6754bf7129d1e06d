"""The step that fuses: one confidence of recognition and local evidence, by one of several rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lmk.data.splits import Queries
from lmk.ensemble.fuse import FUSIONS as RULES_ON_ARRAYS
from lmk.ensemble.fuse import LearnedFusion, Proposals, proposal_features
from lmk.ensemble.rules import LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD, Divisor
from lmk.ensemble.tune import cross_fit, cross_fit_parts
from lmk.local.evidence import Evidence
from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.pipeline.blend import all_context_lists, all_lists
from lmk.pipeline.dev_parts import DevParts
from lmk.pipeline.results import Answers, Fitted, Neighbours, Verified
from lmk.predictions import NO_LANDMARK, Predictions


@dataclass(frozen=True, eq=False)
class Proposed:
    """What a fusion rule reads.

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
        metric: What optimism is told by.
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


def fuse_learned(proposed: Proposed) -> Fitted:
    """A logistic regression on features of each proposal, fitted on dev and cross-fitted there."""
    blended, truth = proposed.blended, proposed.dev.truth
    sources, near, verified = proposed.sources, proposed.neighbours, proposed.verified
    if near is None:
        raise ValueError("The learned rule reads retrieval's likeness to distractors, and there is no retrieval.")
    dev_features = proposal_features(
        blended.dev, all_lists(sources, "dev"), proposed.photo_counts, near.likeness_dev, _proposals(verified.dev)
    )
    test_features = proposal_features(
        blended.test, all_lists(sources, "test"), proposed.photo_counts, near.likeness_test, _proposals(verified.test)
    )
    right = (blended.dev.landmarks == truth[:, None]) & (blended.dev.landmarks != NO_LANDMARK)

    def fit(rows: np.ndarray) -> LearnedFusion:
        return LearnedFusion.fit(dev_features[rows], right[rows])

    def apply(fusion: LearnedFusion, rows: np.ndarray) -> Predictions:
        return fusion(blended.dev.take(rows), dev_features[rows])

    parts = proposed.parts
    context: tuple[Predictions, ...] = ()
    if parts is None:
        dev = cross_fit(proposed.dev.photos, fit, apply, proposed.seed)
    else:
        folds = parts.fold_of

        def fit_part(rows: np.ndarray) -> LearnedFusion | None:
            # What a part may learn from can be a handful of queries, all right or all wrong: its lists then stay.
            return fit(rows) if right[rows].any() and not right[rows].all() else None

        def apply_part(fusion: LearnedFusion | None, rows: np.ndarray) -> Predictions:
            return blended.dev.take(rows) if fusion is None else apply(fusion, rows)

        def apply_context(fusion: LearnedFusion | None, part: int) -> Predictions:
            lists, fold = blended.context[part], folds[part]
            if fusion is None:
                return lists
            features = proposal_features(
                lists,
                all_context_lists(sources, fold),
                proposed.photo_counts,
                near.likeness_context[fold],
                _proposals(verified.context[part]),
            )
            return fusion(lists, features)

        dev, context = cross_fit_parts(parts.of_query, proposed.dev.photos, fit_part, apply_part, apply_context)
    fusion = fit(np.arange(len(truth)))
    metric = proposed.metric
    optimism = metric.score(fusion(blended.dev, dev_features), truth) - metric.score(dev, truth)
    return Fitted(dev, fusion(blended.test, test_features), float(optimism), context=context)


def fuse_by_published_sum(proposed: Proposed) -> Fitted:
    """`ensemble.fuse.published_sum`; the largest number of inliers is that of dev, or of the test photos for these."""
    return _by_rule(proposed, PUBLISHED_SUM)


def fuse_by_published_threshold(proposed: Proposed) -> Fitted:
    """`ensemble.fuse.published_threshold`."""
    return _by_rule(proposed, PUBLISHED_THRESHOLD)


def _by_rule(proposed: Proposed, name: str) -> Fitted:
    """Answers by a rule that learns nothing from the truth."""
    rule, truth = RULES_ON_ARRAYS[name], proposed.dev.truth
    blended, verified = proposed.blended, proposed.verified

    def given(lists: Predictions, evidence: Mapping[str, Evidence]) -> Proposals:
        first = _first(evidence)
        return Proposals(lists, first.inliers, first.counts)

    dev, test = given(blended.dev, verified.dev), given(blended.test, verified.test)
    fuse = rule(dev, truth, proposed.divisor)
    context = tuple(
        fuse(given(lists, evidence)) for lists, evidence in zip(blended.context, verified.context, strict=True)
    )
    return Fitted(rule(dev, truth, "dev")(dev), fuse(test), context=context)


FUSIONS: Mapping[str, Callable[[Proposed], Fitted]] = {
    LEARNED: fuse_learned,
    PUBLISHED_SUM: fuse_by_published_sum,
    PUBLISHED_THRESHOLD: fuse_by_published_threshold,
}
"""Each rule of `ensemble.rules`."""


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
