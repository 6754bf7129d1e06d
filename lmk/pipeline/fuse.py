"""The stage that fuses: one confidence of what was recognised and what was verified, by one of several rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lmk.ensemble.rules import LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD
from lmk.ensemble.tune import cross_fit
from lmk.evaluation import gap_of
from lmk.local.evidence import Evidence
from lmk.pipeline.steps import RETRIEVAL, Made, Run, Source, all_lists
from lmk.pipeline.verify import Verified
from lmk.predictions import NO_LANDMARK


def learned(run: Run, parts: list[Source], blended: Source, verified: Verified) -> Made:
    """The rule that dev teaches, cross-fitted there."""
    from lmk.ensemble.fuse import LearnedFusion, proposal_features  # loads scikit-learn

    truth, seed = run.dev.truth, run.settings.seed
    landmarks, counts = np.unique(run.competition.train_landmarks, return_counts=True)
    photo_counts = dict(zip(landmarks.tolist(), counts.tolist(), strict=True))
    similar = next(part.extras for part in parts if part.name == RETRIEVAL)
    dev_features = proposal_features(
        blended.dev, all_lists(parts, "dev"), photo_counts, similar["dev"], _proposals(verified.dev)
    )
    test_features = proposal_features(
        blended.test, all_lists(parts, "test"), photo_counts, similar["test"], _proposals(verified.test)
    )
    right = (blended.dev.landmarks == truth[:, None]) & (blended.dev.landmarks != NO_LANDMARK)

    def fit(rows: np.ndarray) -> LearnedFusion:
        return LearnedFusion.fit(dev_features[rows], right[rows])

    dev = cross_fit(run.dev.photos, fit, lambda fusion, rows: fusion(blended.dev.take(rows), dev_features[rows]), seed)
    fusion = fit(np.arange(len(truth)))
    optimism = gap_of(fusion(blended.dev, dev_features), truth) - gap_of(dev, truth)
    return dev, fusion(blended.test, test_features), {"optimism": np.array(optimism)}


def _proposals(evidence: Mapping[str, Evidence]) -> dict[str, np.ndarray]:
    """The evidence of all kinds, by kind and name."""
    return {f"{kind}:{name}": values for kind, one in evidence.items() for name, values in one.proposals().items()}


def _first(evidence: Mapping[str, Evidence]) -> Evidence:
    """What the published rules look at: they knew one kind."""
    return next(iter(evidence.values()))


def published_sum_of(run: Run, parts: list[Source], blended: Source, verified: Verified) -> Made:
    """`ensemble.fuse.published_sum` of dev and of test; what the most inliers are, dev says."""
    from lmk.ensemble.fuse import published_sum

    largest = float(_first(verified.dev).inliers[:, 0].max(initial=1))
    dev, test = (
        published_sum(predictions, _first(evidence).inliers, largest)
        for predictions, evidence in ((blended.dev, verified.dev), (blended.test, verified.test))
    )
    return dev, test, {}


def published_threshold_of(run: Run, parts: list[Source], blended: Source, verified: Verified) -> Made:
    """`ensemble.fuse.published_threshold` of dev and of test."""
    from lmk.ensemble.fuse import published_threshold

    dev, test = (
        published_threshold(predictions, _first(evidence).counts)
        for predictions, evidence in ((blended.dev, verified.dev), (blended.test, verified.test))
    )
    return dev, test, {}


FUSIONS: Mapping[str, Callable[[Run, list[Source], Source, Verified], Made]] = {
    LEARNED: learned,
    PUBLISHED_SUM: published_sum_of,
    PUBLISHED_THRESHOLD: published_threshold_of,
}
"""Each rule of `ensemble.rules`: from a run's sources, their blend and its evidence to the fused predictions."""
