"""Retrieval as published in place of kNN: the same step with other lists, by every part's networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmk.ensemble.combine import combination
from lmk.pipeline.config import TOP_K
from lmk.pipeline.dataset import Dataset, Part
from lmk.pipeline.results import Answers, Neighbours
from lmk.pipeline.retrieve import Describe
from lmk.predictions import Predictions, concatenate
from lmk.retrieval.published import RETRIEVALS, Described
from lmk.util.progress import Progress


@dataclass(frozen=True, eq=False)
class _Asked:
    """Queries of one part: ids (n,) str, the photos that they show (n,) str, and the heads' lists of them."""

    ids: np.ndarray
    photos: np.ndarray
    heads: Predictions


def by_published(
    name: str,
    near: Neighbours,
    dataset: Dataset,
    describe: Sequence[Describe],
    heads: Sequence[Answers],
    progress: Progress,
) -> Neighbours:
    """Retrieval's answers with the lists of a published form in place of kNN's; the rest stays.

    Args:
        name: One of `lmk.retrieval.published.RETRIEVALS`.
        near: Retrieval by kNN. Where it has lists of the test photos by every fold, so have the results.
        dataset: Parts and their queries.
        describe: Descriptors by each network, neither whitened nor side by side.
        heads: Answers of each network; a landmark's logit is the mean of its scores, which are cosines where the head
            gives cosines.
        progress: Reports each part.
    """
    logits = [_mean([one.dev for one in heads]), _mean([one.test for one in heads])]
    folds = [part for part in dataset.parts if len(part.queries)]
    test = dataset.test_ids

    def rank(part: Part, asked: _Asked) -> Predictions:
        models = [
            Described(*(one(part, photos) for photos in (part.photos, part.distractors, asked.photos)))
            for one in describe
        ]
        return RETRIEVALS[name](asked.ids, models, part.landmarks, asked.heads, TOP_K)

    dev, context, tested = [], [], near.test
    with progress("retrieval as published", len(dataset.parts), "networks") as advance:
        for part in dataset.parts:
            if len(part.queries):
                dev.append(rank(part, _Asked(part.queries.ids, part.queries.photos, logits[0])))
            if len(part.queries) and near.context and len(test):
                of_fold = [one.context[folds.index(part)] for one in heads]
                context.append(rank(part, _Asked(test, test, _mean(of_fold))))
            if part.answers_test and len(test):
                tested = rank(part, _Asked(test, test, logits[1]))
            advance(1)
    return replace(near, dev=concatenate(dev), test=tested, context=tuple(context) or near.context)


def _mean(lists: Sequence[Predictions]) -> Predictions:
    """Each landmark's mean score over all networks; a network that does not name it has 0 for it."""
    return combination("mean", lists)(lists, TOP_K)
