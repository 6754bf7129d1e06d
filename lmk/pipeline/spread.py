"""The step that spreads: lists of dev and test are made to agree with those of the photos most like them.

`verify_graphs` once, then `spread_answers` for the blended lists and again for the fused ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lmk.ensemble.spread import UNKNOWN, Asked, SpreadDev, reasons, spread_dev, spread_test
from lmk.ensemble.spreading import Reason
from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.pipeline.described import BUDGET, NO_QUERIES, Described
from lmk.pipeline.dev_parts import DevParts
from lmk.pipeline.results import Fitted, SpreadAnswers
from lmk.predictions import NO_LANDMARK, Predictions, concatenate
from lmk.retrieval.graph import Graph, pairs_of, worth_verifying

ComparePairs = Callable[[np.ndarray], np.ndarray]
"""Function from pairs of photo ids, (p, 2) str, to their inliers by kind of local features, (p, kinds)."""


def verified_edges(
    parts: Sequence[Described],
    graphs: Sequence[Graph],
    confidences: Sequence[np.ndarray],
    compare: ComparePairs,
    budget: int = BUDGET,
) -> list[np.ndarray]:
    """Inliers of the edges of each graph: (q * k, kinds) float, NaN for what the budget does not reach.

    Args:
        parts, graphs: In line.
        confidences: For each graph, (q,) in [0, 1], the probability that each query's answer is right.
        compare: Called once, with each pair of photos once, in whichever graphs it is.
        budget: Pairs in all graphs together; each graph has an equal part, so that dev is verified as test is.
    """
    wanted, edges = [], []
    for part, graph, confidence in zip(parts, graphs, confidences, strict=True):
        pairs, edge = pairs_of(graph)
        chosen = worth_verifying(graph, confidence, budget // len(parts))
        wanted.append(np.sort(part.photos[pairs[chosen]], axis=1))
        edges.append((edge, chosen))
    every, place = np.unique(np.concatenate(wanted), axis=0, return_inverse=True)
    inliers = compare(every)
    found, start, places = [], 0, place.ravel()
    for edge, chosen in edges:
        of_pairs = np.full((len(chosen), inliers.shape[1]), np.nan)
        count = int(chosen.sum())
        of_pairs[chosen] = inliers[places[start : start + count]]
        start += count
        found.append(of_pairs[edge])
    return found


@dataclass(frozen=True, eq=False)
class Spread:
    """Lists after spreading.

    Attributes:
        dev: Answers of all dev queries, in the order of `parts` and their queries, cross-fitted.
        test: Answers of the test photos, by the setting that all of dev chose.
        context: For each part of dev, the test lists as this part's models answer them, spread by its settings: what
            the next step needs for a graph of dev that is as dense as test.
        learned: Settings, edges and the metric on dev of each setting tried.
        reasons: Test photos whose answer changed, with the neighbours that changed it.
    """

    dev: Predictions
    test: Predictions
    context: tuple[Predictions, ...]
    learned: SpreadDev
    reasons: tuple[Reason, ...]


def spread_lists(
    dev: Sequence[Described],
    dev_graphs: Sequence[tuple[Graph, np.ndarray]],
    dev_lists: Sequence[tuple[Predictions, Predictions]],
    dev_rows: Sequence[np.ndarray],
    test: Described,
    test_graph: tuple[Graph, np.ndarray],
    test_lists: Predictions,
    landmarks: tuple[np.ndarray, np.ndarray],
    metric: Metric = GAP,
) -> Spread:
    """Spread the lists of dev, cross-fitted, and those of test.

    Args:
        dev: One entry a part of `ensemble.tune.parts_of_dev`; parts of a holdout have the same photos.
        dev_graphs: Each part's graph and the inliers of its edges.
        dev_lists: For each part, the lists of its graph's dev queries and of the test photos. Both are answers of the
            models that do not know the part's queries, and whatever was fitted on dev for them (a blend, a fusion) was
            fitted without the photos that the part asks (`fit_by_part`).
        dev_rows: For each part, (m,) int, the queries that it answers among those of its graph.
        test: Answers of the models that answer test; its queries are none.
        test_graph, test_lists: As above.
        landmarks: (n,) str and (n,) int64, all training photos and their landmarks: what edges between photos of dev
            are learned from, whether a part's models know a landmark or not.
        metric: What it chooses by.
    """
    parts = [
        _asked(one, graph, concatenate(list(lists)), rows, landmarks)
        for one, graph, lists, rows in zip(dev, dev_graphs, dev_lists, dev_rows, strict=True)
    ]
    learned = spread_dev(parts, metric=metric)
    whole = _asked(test, test_graph, test_lists, np.empty(0, np.int64), landmarks)
    context = tuple(
        found.take(np.arange(len(one.queries), len(found))) for found, one in zip(learned.parts, dev, strict=True)
    )
    return Spread(learned.dev, spread_test(whole, learned), context, learned, tuple(reasons(whole, learned)))


def _asked(
    part: Described,
    graph: tuple[Graph, np.ndarray],
    lists: Predictions,
    rows: np.ndarray,
    landmarks: tuple[np.ndarray, np.ndarray],
) -> Asked:
    """Inputs of `ensemble.spread` for one part."""
    found, inliers = graph
    return Asked(
        lists=lists,
        photos=part.photos,
        places=_places(part, landmarks),
        known=part.fixed,
        nodes=found.nodes,
        cosines=found.cosines,
        inliers=inliers,
        rows=rows,
        truth=part.queries.truth[rows],
    )


def _places(part: Described, landmarks: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(size,) int64, what each node really shows: known of training photos, `UNKNOWN` of test photos."""
    train, shown = landmarks
    order = np.argsort(train)
    asked = part.queries.photos
    if len(train):
        place = order[np.minimum(np.searchsorted(train[order], asked), len(train) - 1)]
        of_queries = np.where(train[place] == asked, shown[place], NO_LANDMARK)
    else:
        of_queries = np.full(len(asked), NO_LANDMARK)
    return np.concatenate([of_queries, np.full(len(part.test), UNKNOWN), part.fixed])


def nodes_of_graphs(parts: DevParts, test: np.ndarray) -> list[Described]:
    """The photos of the graphs of each fold and of all photos, as in `Neighbours.graphs`; without descriptors."""
    nothing = np.empty((0, 0), np.float32)
    asked = [*((fold, fold.queries) for fold in parts.folds), (parts.tested, NO_QUERIES)]
    return [
        Described(queries, test, part.photos, part.landmarks, part.distractors, nothing, nothing)
        for part, queries in asked
    ]


def verify_graphs(
    parts: DevParts, test: np.ndarray, blended: Fitted, graphs: Sequence[Graph], compare: ComparePairs
) -> list[np.ndarray]:
    """`verified_edges` of the graphs of all folds and of all photos; the blend says which queries are undecided.

    Args:
        parts, graphs: Folds of dev, and as in `Neighbours.graphs`.
        test: (t,) str, the test photos.
        blended: The blend, with its context.
        compare: As for `verified_edges`.
    """
    lists = [_lists_of_fold(parts, blended, fold, parts.fold_of.index(fold)) for fold in range(len(parts.folds))]
    sure = [np.concatenate([dev.confidence, context.confidence]) for dev, context in lists]
    confidences = [np.clip(one, 0, 1) for one in (*sure, blended.test.confidence)]
    return verified_edges(nodes_of_graphs(parts, test), graphs, confidences, compare)


def spread_answers(
    parts: DevParts,
    answers: Fitted,
    graphs: Sequence[Graph],
    inliers: Sequence[np.ndarray],
    landmarks: tuple[np.ndarray, np.ndarray],
    metric: Metric,
) -> SpreadAnswers:
    """Blended or fused answers, spread along the graphs.

    Args:
        parts: What dev is cross-fitted by.
        answers: With the test photos of each part as context.
        graphs, inliers: Graphs and inliers of each fold and of all photos, from `Neighbours` and `verify_graphs`.
        landmarks, metric: As for `spread_lists`.
    """
    nodes = nodes_of_graphs(parts, answers.test.ids)
    edges = list(zip(graphs, inliers, strict=True))
    folds = parts.fold_of
    found = spread_lists(
        [nodes[fold] for fold in folds],
        [edges[fold] for fold in folds],
        [_lists_of_fold(parts, answers, fold, part) for part, fold in enumerate(folds)],
        [parts.rows(part) for part in range(len(folds))],
        nodes[-1],
        edges[-1],
        answers.test,
        landmarks,
        metric,
    )
    dev = found.dev.align(parts.dev.ids)
    learned = found.learned
    optimism = learned.gaps[learned.how] - metric.score(dev, parts.dev.truth)
    return SpreadAnswers(
        dev,
        found.test,
        float(optimism),
        learned.how,
        learned.gaps,
        tuple(inliers),
        found.reasons,
        context=found.context,
    )


def _lists_of_fold(parts: DevParts, answers: Fitted, fold: int, part: int) -> tuple[Predictions, Predictions]:
    """Dev lists of the queries of a fold, and the lists of the test photos by what answers one of its parts."""
    return parts.of_fold(answers.dev, fold), answers.context[part]
