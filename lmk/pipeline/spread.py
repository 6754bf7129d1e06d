"""The step that spreads: lists of dev and test are made to agree with those of the photos most like them.

Everything here takes and gives arrays: `describe_part` for each part of the dataset, `Described.graph` and
`verified_edges` once, then `spread_lists` for the blended lists and again for the fused ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lmk.data.splits import Queries
from lmk.ensemble.spread import (
    RECOGNIZED,
    UNKNOWN,
    Asked,
    Reason,
    SpreadDev,
    Spreading,
    reasons,
    spread_dev,
    spread_test,
)
from lmk.predictions import NO_LANDMARK, Predictions, concatenate
from lmk.retrieval.graph import Graph, nearest_photos, pairs_of, worth_verifying
from lmk.retrieval.neighbours import Options, rank_landmarks
from lmk.retrieval.ridge import PENALTY, fit_ridge
from lmk.retrieval.whitening import Whitening

NEIGHBOURS = 10
"""Edges of a query. On dev 8 and 12 gained within 0.002 of each other; every edge may cost a comparison."""
BUDGET = 20_000
"""Pairs verified in all graphs together: all of a small competition's, of a large one's those of undecided queries."""

ComparePairs = Callable[[np.ndarray], np.ndarray]
"""From pairs of photo ids, (p, 2) str, to their inliers by kind of local features, (p, kinds)."""


@dataclass(frozen=True, eq=False)
class Described:
    """The photos that one part's models know and are asked, with whitened descriptors.

    Attributes:
        queries: Dev queries that this part asks; none for the part that only answers test.
        test: (t,) str, test photos: a dev graph holds them as this part's models answer them.
        gallery, landmarks: (g,) str and (g,) int64, the part's training photos.
        distractors: (r,) str, its training photos of no landmark.
        asked: (q + t, d) float32 of length 1, dev queries and then test photos, whitened as this part's gallery is.
        known: (g + r, d), gallery photos and then distractors.
    """

    queries: Queries
    test: np.ndarray
    gallery: np.ndarray
    landmarks: np.ndarray
    distractors: np.ndarray
    asked: np.ndarray
    known: np.ndarray

    @property
    def photos(self) -> np.ndarray:
        """(size,) str, the photo of each node of this part's graph."""
        return np.concatenate([self.queries.photos, self.test, self.gallery, self.distractors])

    @property
    def fixed(self) -> np.ndarray:
        """(g + r,) int64, the landmark of each fixed node."""
        return np.concatenate([self.landmarks, np.full(len(self.distractors), NO_LANDMARK)])

    def graph(self, count: int = NEIGHBOURS) -> Graph:
        """The nearest photos of each query."""
        gallery, distractors = np.split(self.known, [len(self.gallery)])
        return nearest_photos(self.asked, gallery, distractors, count)


def describe_part(
    queries: Queries,
    test: np.ndarray,
    gallery: tuple[np.ndarray, np.ndarray],
    distractors: np.ndarray,
    describe: Callable[[np.ndarray], np.ndarray],
    options: Options | None = None,
) -> Described:
    """The photos of a part, whitened on its gallery and distractors.

    Args:
        queries, test, distractors: As in `Described`.
        gallery: Its training photos (g,) str and their landmarks (g,) int64.
        describe: From photos (n,) str to descriptors (n, d) of all networks side by side, by this part's networks.
        options: Shrinkage and power of the whitening; those of retrieval by default.
    """
    options = options or Options()
    photos, landmarks = gallery
    known = describe(np.concatenate([photos, distractors]))
    whiten = Whitening.fit(known, shrinkage=options.shrinkage, power=options.power)
    asked = describe(np.concatenate([queries.photos, test]))
    return Described(queries, test, photos, landmarks, distractors, whiten(asked), whiten(known))


def answer_part(
    part: Described, k: int, options: Options | None = None, penalty: float = PENALTY
) -> tuple[Predictions, Predictions, np.ndarray]:
    """The lists of one part without any network of its own: of its dev queries, then of the test photos.

    Returns:
        kNN, the ridge head over all networks, and (q + t,) float32, the mean cosine to the nearest distractors.
    """
    ids = np.concatenate([part.queries.ids, part.test])
    gallery, distractors = np.split(part.known, [len(part.gallery)])
    nearest, likeness = rank_landmarks(ids, gallery, part.landmarks, distractors, part.asked, options or Options(), k)
    return nearest, fit_ridge(part.known, part.fixed, penalty)(ids, part.asked, k), likeness


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
        dev: Of all dev queries, in the order of `parts` and their queries, cross-fitted.
        test: Of the test photos, by the settings that all of dev chose.
        context: For each part of dev, the test lists as this part's models answer them, spread by its settings: what
            the next step needs for a graph of dev that is as dense as test.
        learned: Settings, edges and the dev GAP of each setting tried.
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
    tried: Sequence[Spreading] = RECOGNIZED,
) -> Spread:
    """Spread the lists of dev, cross-fitted, and those of test.

    Args:
        dev: One entry a part of `ensemble.tune.parts_of_dev`; parts of a holdout have the same photos.
        dev_graphs: Each part's graph and the inliers of its edges.
        dev_lists: For each part, the lists of its graph's dev queries and of the test photos. Both are answers of the
            models that do not know the part's queries, and whatever was fitted on dev for them (a blend, a fusion) was
            fitted without the photos that the part asks (`fit_by_part`).
        dev_rows: For each part, (m,) int, the queries that it answers among those of its graph.
        test: Of the models that answer test; its queries are none.
        test_graph, test_lists: As above.
        landmarks: (n,) str and (n,) int64, all training photos and their landmarks: what edges between photos of dev
            are learned from, whether a part's models know a landmark or not.
        tried: Settings that dev chooses from: `ensemble.spread.RECOGNIZED` for blended lists, `FUSED` for fused ones.
    """
    parts = [
        _asked(one, graph, concatenate(list(lists)), rows, landmarks)
        for one, graph, lists, rows in zip(dev, dev_graphs, dev_lists, dev_rows, strict=True)
    ]
    learned = spread_dev(parts, tried)
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
    """What `ensemble.spread` reads of one part."""
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
