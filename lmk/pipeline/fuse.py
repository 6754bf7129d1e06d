"""The step that fuses: one confidence of recognition and local evidence, by one of several rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lmk.data.splits import Queries
from lmk.ensemble.fuse import LearnedFusion, proposal_features, published_sum, published_threshold
from lmk.ensemble.rules import LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD
from lmk.ensemble.tune import cross_fit
from lmk.evaluation import gap_of
from lmk.local.evidence import Evidence
from lmk.pipeline.blend import all_lists
from lmk.pipeline.results import Answers, Fitted, Neighbours, Verified
from lmk.predictions import NO_LANDMARK


@dataclass(frozen=True, eq=False)
class Proposed:
    """What a fusion rule reads.

    Attributes:
        sources: Answers of recipes and retrieval, by step name.
        neighbours: Those of retrieval.
        blended: The proposals: the blend of the sources.
        verified: Evidence for them.
        dev: The dev queries.
        photo_counts: Training photos by landmark.
        seed: Random seed of cross-fitting.
    """

    sources: Mapping[str, Answers]
    neighbours: Neighbours
    blended: Answers
    verified: Verified
    dev: Queries
    photo_counts: Mapping[int, int]
    seed: int


def fuse_learned(proposed: Proposed) -> Fitted:
    """A logistic regression on features of each proposal, fitted on dev and cross-fitted there."""
    blended, truth = proposed.blended, proposed.dev.truth
    sources, near, verified = proposed.sources, proposed.neighbours, proposed.verified
    dev_features = proposal_features(
        blended.dev, all_lists(sources, "dev"), proposed.photo_counts, near.likeness_dev, _proposals(verified.dev)
    )
    test_features = proposal_features(
        blended.test, all_lists(sources, "test"), proposed.photo_counts, near.likeness_test, _proposals(verified.test)
    )
    right = (blended.dev.landmarks == truth[:, None]) & (blended.dev.landmarks != NO_LANDMARK)

    def fit(rows: np.ndarray) -> LearnedFusion:
        return LearnedFusion.fit(dev_features[rows], right[rows])

    dev = cross_fit(
        proposed.dev.photos,
        fit,
        lambda fusion, rows: fusion(blended.dev.take(rows), dev_features[rows]),
        proposed.seed,
    )
    fusion = fit(np.arange(len(truth)))
    optimism = gap_of(fusion(blended.dev, dev_features), truth) - gap_of(dev, truth)
    return Fitted(dev, fusion(blended.test, test_features), float(optimism))


def fuse_by_published_sum(proposed: Proposed) -> Fitted:
    """`ensemble.fuse.published_sum`; the largest number of inliers is that of dev."""
    dev, test = _first(proposed.verified.dev), _first(proposed.verified.test)
    largest = float(dev.inliers[:, 0].max(initial=1))
    return Fitted(
        published_sum(proposed.blended.dev, dev.inliers, largest),
        published_sum(proposed.blended.test, test.inliers, largest),
    )


def fuse_by_published_threshold(proposed: Proposed) -> Fitted:
    """`ensemble.fuse.published_threshold`."""
    return Fitted(
        published_threshold(proposed.blended.dev, _first(proposed.verified.dev).counts),
        published_threshold(proposed.blended.test, _first(proposed.verified.test).counts),
    )


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
