"""Label spreading: the answers of photos that show the same place are made to agree.

Class scores are passed along a graph that joins each query to the photos most like it. Neighbours that are queries pass
on the scores that they have; gallery photos and distractors are fixed nodes, whose labels are known. Zhou et al., NIPS
2004; for retrieval Iscen et al., CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from lmk.ensemble.edges import EdgeModel, edge_matrix
from lmk.ensemble.leads import settle
from lmk.ensemble.spreading import MEANT, TRIED, Reason, Spreading
from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.predictions import NO_LANDMARK, Predictions, concatenate, from_pairs, largest

FIXED_QUANTILE = 0.9
"""Quantile of the scores of a landmark's answers that its gallery photos are given."""
BLOCK_ROWS = 10_000
"""Queries whose landmarks are cut to the best at once."""
KEPT = 50
"""Landmarks kept a query between rounds: neighbours of neighbours would fill the rows of a large graph."""


UNKNOWN = -2
"""Place of a photo of which it is not known, such as a test photo's."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The lists of queries as a sparse matrix.

    Attributes:
        values: (n, c) float64 CSR, score less `lowest`; a landmark that a list does not name has 0, the lowest.
        lowest: The smallest score of any list.
        classes: (c,) int64, the landmark of each column, ascending.
    """

    values: sparse.csr_array
    lowest: float
    classes: np.ndarray

    def predictions(self, ids: np.ndarray, k: int) -> Predictions:
        """The k best landmarks of each query; those with the lowest score are left out."""
        found = sparse.coo_array(self.values)
        rows, columns = found.coords
        named = found.data > 0
        return from_pairs(ids, rows[named], self.classes[columns[named]], found.data[named] + self.lowest, k)


def class_scores(lists: Predictions, classes: np.ndarray, lowest: float | None = None) -> ClassScores:
    """Lists of queries as class scores.

    Args:
        lists: Their landmarks are among `classes`.
        classes: (c,) int64, ascending.
        lowest: Score of what a list does not name; None: the smallest of all scores.
    """
    named = lists.landmarks != NO_LANDMARK
    if lowest is None:
        lowest = float(lists.scores[named].min(initial=np.inf)) if named.any() else 0.0
    rows = np.nonzero(named)[0]
    columns = np.searchsorted(classes, lists.landmarks[named])
    # The smallest positive number keeps the last of a list named: an explicit 0 would be "not named".
    values = np.maximum(lists.scores[named] - lowest, np.finfo(np.float64).tiny)
    matrix = sparse.csr_array((values, (rows, columns)), shape=(len(lists), len(classes)))
    return ClassScores(matrix, lowest, classes)


def fixed_scores(scores: ClassScores, landmarks: np.ndarray, quantile: float = FIXED_QUANTILE) -> sparse.csr_array:
    """Class scores (f, c) of photos whose landmark is known.

    A photo of a landmark has a quantile of the scores of the queries that answer this landmark, and the lowest score
    for every other one; where no query answers it, the quantile of all answers. A photo of no landmark has the lowest
    score everywhere.

    Args:
        scores: Scores of the queries.
        landmarks: (f,) int64, `NO_LANDMARK` for a distractor.
        quantile: In [0, 1].
    """
    best, column = _best(scores.values)
    answered = best > 0
    overall = float(np.quantile(best[answered], quantile)) if answered.any() else 0.0
    level = np.full(len(scores.classes), overall)
    order = np.lexsort((best[answered], column[answered]))
    answers = best[answered][order]
    known, starts, counts = np.unique(column[answered][order], return_index=True, return_counts=True)
    # The quantile as numpy defines it, linear between the two answers around it, of all landmarks at once.
    place = quantile * (counts - 1)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, counts - 1)
    level[known] = answers[starts + below] + (place - below) * (answers[starts + above] - answers[starts + below])
    rows = np.flatnonzero(landmarks != NO_LANDMARK)
    columns = np.searchsorted(scores.classes, landmarks[rows])
    return sparse.csr_array((level[columns], (rows, columns)), shape=(len(landmarks), len(scores.classes)))


def spread(
    scores: sparse.csr_array,
    fixed: sparse.csr_array,
    weights: sparse.csr_array,
    how: Spreading,
    kept: int = KEPT,
) -> sparse.csr_array:
    """Class scores after some rounds of S <- (1 - a) S0 + a W [S; F], where a is the share times each row's mass.

    Args:
        scores: (n, c), S0, of the queries.
        fixed: (f, c), F, of the photos that keep their scores.
        weights: (n, n + f), >= 0, of the edges from each query to queries and then to fixed nodes. A row's mass is its
            sum, at most 1: the edges of a row that sums to 1 or more are shared out, those of a smaller sum leave the
            rest of the share to the query's own scores, and a query without edges keeps them.
        how: Share and rounds.
        kept: Landmarks kept a query after each round.

    Returns:
        (n, c), S.
    """
    mass = np.minimum(_sums(weights), 1.0)
    normal = sparse.diags_array(how.share / np.maximum(_sums(weights), 1.0)) @ weights
    own = sparse.diags_array(1 - how.share * mass) @ scores
    among = sparse.csr_array(normal[:, : scores.shape[0]])
    given = own + sparse.csr_array(normal[:, scores.shape[0] :]) @ fixed
    found = scores
    for _ in range(how.rounds):
        found = _largest(sparse.csr_array(given + among @ found), kept)
    return found


@dataclass(frozen=True, eq=False)
class Asked:
    """Answers of one set of models, and the graph that its queries lie in.

    A graph of dev holds the queries of one fold *and the test photos as the same fold's models answer them*: so it is
    as dense as that of test, and no photo in it was answered by a model that had seen one of the fold's queries. In
    the graph of test there are no dev queries.

    Attributes:
        lists: Lists of the n queries of the graph: (dev queries and) test photos.
        photos: (size,) str, the photo of each node: queries, then gallery photos, then distractors.
        places: (size,) int64, the landmark that each node really shows, also where the fold's models do not know it;
            `NO_LANDMARK` for distractors, `UNKNOWN` for test photos.
        known: (size - n,) int64, the landmark of each fixed node, `NO_LANDMARK` for distractors.
        nodes, cosines: (n, k), the neighbours of each query, as `retrieval.graph.Graph` has them.
        inliers: (n * k, kinds) float, of each edge, query by query; NaN in rows of edges that were not verified.
        rows: (m,) int64, the queries in `lists` that this part of dev answers.
        truth: (m,) int64, of these rows.
    """

    lists: Predictions
    photos: np.ndarray
    places: np.ndarray
    known: np.ndarray
    nodes: np.ndarray
    cosines: np.ndarray
    inliers: np.ndarray
    rows: np.ndarray
    truth: np.ndarray

    def pairs(self, without: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cosines, inliers and whether it is one place, of the edges of this part's queries to photos of known places.

        without: (w,) str, photos whose edges are left out.
        """
        width = self.nodes.shape[1]
        edges = (self.rows[:, None] * width + np.arange(width)).ravel()
        ends = np.repeat(self.rows, width), self.nodes.ravel()[edges]
        here, there = self.places[ends[0]], self.places[ends[1]]
        usable = (here != UNKNOWN) & (there != UNKNOWN)
        usable &= ~np.isin(self.photos[ends[0]], without) & ~np.isin(self.photos[ends[1]], without)
        same = (here == there) & (here != NO_LANDMARK)
        return self.cosines.ravel()[edges][usable], self.inliers[edges][usable], same[usable]

    def weights(self, model: EdgeModel) -> sparse.csr_array:
        """(n, size), of the edges by a model."""
        probabilities = model(self.cosines.ravel(), self.inliers).reshape(self.nodes.shape)
        return edge_matrix(self.nodes, probabilities, len(self.photos))

    def answer(self, model: EdgeModel, how: Spreading) -> Predictions:
        """The lists after spreading, as long as they were."""
        if not how.share:
            return self.lists
        named = np.concatenate([self.lists.landmarks.ravel(), self.known])
        scores = class_scores(self.lists, np.unique(named[named != NO_LANDMARK]))
        found = spread(scores.values, fixed_scores(scores, self.known), self.weights(model), how)
        return ClassScores(found, scores.lowest, scores.classes).predictions(
            self.lists.ids, self.lists.landmarks.shape[1]
        )


@dataclass(frozen=True, eq=False)
class SpreadDev:
    """Spreading as it is fitted on dev.

    Attributes:
        dev: The spread lists of all dev queries, part by part, each by the setting that other parts chose.
        parts: For each part the spread lists of all queries of its graph, test photos as well, by the same settings.
        how: The settings that all of dev chooses, for test.
        model: Model of the edges, fitted on all of dev.
        gaps: The metric on dev of each setting tried; of `OFF` that of the lists as they were.
    """

    dev: Predictions
    parts: tuple[Predictions, ...]
    how: Spreading
    model: EdgeModel
    gaps: dict[Spreading, float]


def spread_dev(
    parts: Sequence[Asked], tried: Sequence[Spreading] = TRIED, meant: Spreading = MEANT, metric: Metric = GAP
) -> SpreadDev:
    """Spread the lists of dev, cross-fitted: edges and setting of a part are learned without any photo that it asks.

    One setting is meant, and another is taken where it leads by a standard error (`leads.settle`). The plain maximum
    flipped between settings from part to part: their scores have other scales, and ranked together they lost GAP.

    Args:
        parts: Disjoint parts of dev: a fold each; or several parts of the one fold of a large competition, which share
            its graph.
        tried: Settings to choose from, the mildest first.
        meant: One of them.
        metric: What another one is to lead in.
    """
    asked = [part.photos[part.rows] for part in parts]
    models = [_fit_edges(parts, photos) for photos in asked]
    answers = [[part.answer(model, how) for part, model in zip(parts, models, strict=True)] for how in tried]
    nobody = np.empty(0, dtype=str)

    def choose(without: np.ndarray) -> int:
        pooled = [_pooled(lists, parts, without) for lists in answers]
        return settle([lists for lists, _ in pooled], pooled[0][1], list(tried).index(meant), metric)

    chosen = [choose(photos) for photos in asked]
    taken = tuple(answers[setting][place] for place, setting in enumerate(chosen))
    return SpreadDev(
        dev=concatenate([found.take(part.rows) for found, part in zip(taken, parts, strict=True)]),
        parts=taken,
        how=tried[choose(nobody)],
        model=_fit_edges(parts, nobody),
        gaps={how: metric.score(*_pooled(lists, parts, nobody)) for how, lists in zip(tried, answers, strict=True)},
    )


def spread_test(asked: Asked, learned: SpreadDev) -> Predictions:
    """The test lists spread as dev chose; `asked` holds test photos alone, answered by the models of all photos."""
    return asked.answer(learned.model, learned.how)


def reasons(asked: Asked, learned: SpreadDev, most: int = 3) -> list[Reason]:
    """For each query whose answer spreading changes, the neighbours that changed it; arguments as for `spread_test`."""
    after = spread_test(asked, learned)
    changed = np.flatnonzero(after.best != asked.lists.best)
    if not len(changed):
        return []
    named = np.concatenate([asked.lists.landmarks.ravel(), after.landmarks.ravel(), asked.known])
    scores = class_scores(after, np.unique(named[named != NO_LANDMARK]))
    nodes = sparse.csr_array(sparse.vstack([scores.values, fixed_scores(scores, asked.known)]))
    weights = asked.weights(learned.model)
    scale = learned.how.share / np.maximum(_sums(weights), 1.0)
    found = []
    for row in changed.tolist():
        before, new = int(asked.lists.best[row]), int(after.best[row])
        span = slice(weights.indptr[row], weights.indptr[row + 1])
        columns = weights.indices[span]
        lead = _column(nodes, columns, scores.classes, new) - _column(nodes, columns, scores.classes, before)
        lead = lead * weights.data[span] * scale[row]
        order = [place for place in np.argsort(-lead, kind="stable")[:most].tolist() if lead[place] > 0]
        found.append(
            Reason(
                str(after.ids[row]),
                before,
                new,
                tuple(asked.photos[columns[order]].tolist()),
                tuple(lead[order].tolist()),
            )
        )
    return found


def _column(nodes: sparse.csr_array, rows: np.ndarray, classes: np.ndarray, landmark: int) -> np.ndarray:
    """Scores of some nodes for a landmark; 0 for no landmark."""
    if landmark == NO_LANDMARK:
        return np.zeros(len(rows))
    return nodes[rows][:, [int(np.searchsorted(classes, landmark))]].toarray().ravel()


def _fit_edges(parts: Sequence[Asked], without: np.ndarray) -> EdgeModel:
    cosines, inliers, same = zip(*(part.pairs(without) for part in parts), strict=True)
    return EdgeModel.fit(np.concatenate(cosines), np.concatenate(inliers), np.concatenate(same))


def _pooled(
    lists: Sequence[Predictions], parts: Sequence[Asked], without: np.ndarray
) -> tuple[Predictions, np.ndarray]:
    """Lists and truth of the parts' dev queries that show none of the photos `without`."""
    counted = [~np.isin(part.photos[part.rows], without) for part in parts]
    found = concatenate([one.take(part.rows[rows]) for one, part, rows in zip(lists, parts, counted, strict=True)])
    return found, np.concatenate([part.truth[rows] for part, rows in zip(parts, counted, strict=True)])


def _sums(matrix: sparse.csr_array) -> np.ndarray:
    return np.asarray(matrix.sum(axis=1)).ravel()


def _best(matrix: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Each row's largest value and its column; 0 and 0 for an empty row."""
    found = matrix.max(axis=1)
    return np.asarray(found.todense()).ravel(), np.asarray(matrix.argmax(axis=1)).ravel()


def _largest(matrix: sparse.csr_array, kept: int) -> sparse.csr_array:
    """The `kept` largest values of each row; equal ones by column."""
    counts = np.diff(matrix.indptr)
    if counts.max(initial=0) <= kept:
        return matrix
    matrix.sort_indices()
    parts = []
    for start in range(0, matrix.shape[0], BLOCK_ROWS):
        block = sparse.csr_array(matrix[start : start + BLOCK_ROWS])
        width = int(np.diff(block.indptr).max(initial=0))
        if width > kept:
            # Rows side by side in a table, so that one partition finds the largest of all of them.
            rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
            places = np.arange(len(rows)) - block.indptr[rows]
            table = np.full((block.shape[0], width), -np.inf)
            table[rows, places] = block.data
            chosen = largest(table, kept)
            row, column = np.nonzero(np.take_along_axis(table, chosen, 1) > -np.inf)
            entries = block.indptr[row] + chosen[row, column]
            block = sparse.csr_array((block.data[entries], (row, block.indices[entries])), shape=block.shape)
        parts.append(block)
    return sparse.csr_array(sparse.vstack(parts))
