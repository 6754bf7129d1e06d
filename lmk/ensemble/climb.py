"""Searches for blend weights on the metric itself; of GAP a trial takes a millisecond for a hundred thousand queries.

A trial weight of one source moves the few labels that this source names. What the rest of the blend says best is
known before, so a trial is one line a named label, one sort of a number a query, and one look at where the hits lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmk.ensemble.candidates import Candidates
from lmk.ensemble.trials import MetricClimb
from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.predictions import NO_LANDMARK

ROUNDS = 30
"""Selections of a source in one greedy search."""
PASSES = 8
"""Most passes of coordinate search over the sources."""
SHARES = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Shares of the blend that a step of hill climbing tries to give to a source."""
FACTORS = (0.0, 0.6, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.25, 1.6)
"""Factors that coordinate search tries for a weight."""
FIRST = 0.05
"""Share of the other weights from which coordinate search lets a source without weight grow."""
SAMPLE = 25_000
"""Queries from which a search starts where there are many more."""

_INFINITY, _ZERO = np.float32(np.inf), np.float32(0)


class Climb:
    """GAP of a weighted sum of sources that grows label by label.

    Scores are rounded to 23 binary digits. Where these are equal, a wrong answer ranks before a right one, and no
    answer is right that another label equals: a search cannot win by ties. Memory: `m + 1 + 6 s` numbers a query.
    """

    def __init__(self, found: Candidates, truth: np.ndarray):
        """truth: (n,) or (n, t) int64, `NO_LANDMARK` for none and as padding."""
        truth = truth[:, None] if truth.ndim == 1 else truth
        shown = np.where(truth == NO_LANDMARK, NO_LANDMARK - 1, truth)
        right = (found.landmarks[:, :, None] == shown[:, None, :]).any(axis=2)
        self.num_landmarks = int((truth != NO_LANDMARK).any(axis=1).sum())
        solvable = right.any(axis=1)
        self._hits = int(solvable.sum())
        order = np.argsort(~solvable, kind="stable")  # they come first, so that they are a slice of every array
        right, landmarks = right[order], found.landmarks[order]
        # Two tables, (m + 1, n) and (m + 1, h): minus infinity stays so, whatever is added, and hides the other table's
        # labels. The last row is for entries that add nothing: an empty entry has the place of a label of its query,
        # and settling it there would overwrite what the source's own entry of that label has written.
        hidden = np.zeros((len(order), 1), dtype=bool)
        self._wrong = np.where(np.hstack([~right & (landmarks != NO_LANDMARK), hidden]), _ZERO, -_INFINITY).T.copy()
        self._right = np.where(np.hstack([right, hidden])[: self._hits], _ZERO, -_INFINITY).T.copy()
        # Contiguous, or products keep the order of the transposed places: taking and settling then took 10 to 20 times
        # as long.
        places = np.where(found.scores > 0, found.places, found.landmarks.shape[1])
        places = np.ascontiguousarray(places[:, order].transpose(0, 2, 1))
        self._wrong_at = places * len(order) + np.arange(len(order))
        self._right_at = places[:, :, : self._hits] * self._hits + np.arange(self._hits)
        self._scores = np.ascontiguousarray(found.scores[:, order].transpose(0, 2, 1), dtype=np.float32)
        self._best: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def num_sources(self) -> int:
        return len(self._scores)

    def reset(self, weights: np.ndarray) -> None:
        """Make the sum anew, (s,) weights by source, free of what rounding left behind."""
        for table in (self._wrong, self._right):
            table[table > -_INFINITY] = 0
        self._best = None
        for source in np.flatnonzero(weights):
            self.line(int(source)).settle(weights[source])

    def gap(self) -> float:
        """GAP of the sum as it is."""
        wrong, right = self._known()
        return self._gap(wrong.copy(), right)

    def line(self, source: int, weight: float = 0.0) -> Line:
        """GAP along the weight of one source, from 0; `weight` is what the sum has of it, which is taken off."""
        wrong, right = (
            table.reshape(-1).take(places[source])
            for table, places in ((self._wrong, self._wrong_at), (self._right, self._right_at))
        )
        line = Line(self, source, wrong, right)
        if weight:
            wrong -= np.float32(weight) * self._scores[source]
            right -= np.float32(weight) * self._scores[source, :, : self._hits]
            line.settle(0.0)
        return line

    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """The best wrong label's sum of each query (n,), and the best right one's of each that has one (h,)."""
        if self._best is None:
            self._best = self._wrong.max(axis=0, initial=0), self._right.max(axis=0, initial=0)
        return self._best

    def _gap(self, highest: np.ndarray, hit: np.ndarray) -> float:
        """GAP from the best wrong sums (n,), which are overwritten, and the best right ones (h,)."""
        solvable = highest[: self._hits]
        right = hit > solvable
        np.maximum(solvable, hit, out=solvable)
        keys = highest.view(np.uint32)  # of floats >= 0 the bits order as the numbers do; the last one marks hits
        keys |= 1
        keys[: self._hits] -= right
        keys.sort()
        ranks = len(keys) - np.flatnonzero((keys & 1) == 0)[::-1]
        return float((np.arange(1, len(ranks) + 1) / ranks).sum() / max(1, self.num_landmarks))


@dataclass(frozen=True, eq=False)
class Line:
    """The sum of a `Climb` with some weight of one source; the others stay as they were when it was drawn.

    wrong, right: (k, n) and (k, h), the sums without the source of the labels that it names.
    """

    climb: Climb
    source: int
    wrong: np.ndarray
    right: np.ndarray

    def gap(self, weight: float) -> float:
        """With a weight >= 0; the sum is not changed."""
        highest, hit = (best.copy() for best in self.climb._known())
        for best, added in ((highest, self._wrong_with(weight)), (hit, self._right_with(weight))):
            for column in added:
                np.maximum(best, column, out=best)
        return self.climb._gap(highest, hit)

    def settle(self, weight: float) -> None:
        """Give the sum this weight of the source."""
        climb = self.climb
        climb._wrong.reshape(-1)[climb._wrong_at[self.source]] = self._wrong_with(weight)
        climb._right.reshape(-1)[climb._right_at[self.source]] = self._right_with(weight)
        climb._best = None

    def _wrong_with(self, weight: float) -> np.ndarray:
        added = np.float32(weight) * self.climb._scores[self.source]
        return np.add(added, self.wrong, out=added)

    def _right_with(self, weight: float) -> np.ndarray:
        return self.right + np.float32(weight) * self.climb._scores[self.source, :, : self.right.shape[1]]


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes:
        weights: (s,) >= 0, their sum is 1.
        gap: The metric on the queries that it was shown.
        steps: Rounds, climbs or passes; the last one may have found nothing better.
    """

    weights: np.ndarray
    gap: float
    steps: int


AnyClimb = Climb | MetricClimb


def climb_by(metric: Metric, found: Candidates, truth: np.ndarray) -> AnyClimb:
    """A sum of sources that can be tried by a metric: GAP by its own fast way.

    truth: (n,) or (n, t) int64, `NO_LANDMARK` for none and as padding.
    """
    return Climb(found, truth) if metric is GAP else MetricClimb(found, truth, metric)


def greedy(found: Candidates, truth: np.ndarray, metric: Metric = GAP) -> Found:
    """Selection with replacement: each time the source that raises the metric most; ties to the first.

    The best of all rounds counts, not the last. Caruana et al., ICML 2004.
    """
    climb = climb_by(metric, found, truth)
    picks = np.zeros(climb.num_sources)
    best = Found(np.full(found.num_sources, 1 / found.num_sources), 0.0, 0)  # equal weights where nothing is ever right
    for _ in range(ROUNDS):
        gaps = [climb.line(source).gap(1.0) for source in range(len(picks))]
        chosen = int(np.argmax(gaps))
        picks[chosen] += 1
        climb.line(chosen).settle(1.0)
        if gaps[chosen] > best.gap:
            best = Found(picks / picks.sum(), gaps[chosen], ROUNDS)
    return best


def hill_climb(
    found: Candidates,
    truth: np.ndarray,
    shares: Sequence[float] | np.ndarray = SHARES,
    steps: int | None = None,
    metric: Metric = GAP,
) -> Found:
    """From the best source alone, step by step the source and the share that raise the metric most, until none does.

    Args:
        found, truth, metric: As for `climb_by`.
        shares: In (0, 1), of the blend, that a step tries to give to each source.
        steps: The most; None for no limit.
    """
    climb = climb_by(metric, found, truth)
    alone = [climb.line(source).gap(1.0) for source in range(climb.num_sources)]
    weights = np.zeros(climb.num_sources)
    first = int(np.argmax(alone))
    weights[first] = 1.0
    climb.line(first).settle(1.0)
    gap, done = alone[first], 0
    while steps is None or done < steps:
        added = np.array(shares) / (1 - np.array(shares)) * weights.sum()
        lines = [climb.line(one) for one in range(len(weights))]
        tried = np.array([[line.gap(weight) for weight in added] for line in lines])
        done += 1
        source, place = np.unravel_index(tried.argmax(), tried.shape)
        if tried[source, place] <= gap:
            break
        gap = float(tried[source, place])
        weights[source] += added[place]
        climb.line(int(source)).settle(added[place])
    return Found(weights / weights.sum(), gap, done)


def coordinate(found: Candidates, truth: np.ndarray, metric: Metric = GAP) -> Found:
    """One weight after the other moved to where the metric is best, until a pass over all weights gains nothing.

    After a pass that gains, only sources with weight are tried again, and none while no weight has moved since it was
    tried. The search starts from greedy selection, where there are many queries on a sample of them.
    """
    rows = np.linspace(0, len(truth) - 1, min(SAMPLE, len(truth))).astype(int)
    start = greedy(found.take(rows), truth[rows], metric)
    climb, weights, gap = climb_by(metric, found, truth), start.weights, -1.0
    everyone, done = True, 0
    idle: set[int] = set()
    while done < PASSES:
        before = gap
        sources = np.arange(len(weights)) if everyone else np.flatnonzero(weights)
        weights, gap = _pass(climb, weights, sources, idle)
        done += 1
        if everyone and gap <= before:
            break
        everyone = gap <= before
    return Found(weights / weights.sum(), gap, done)


def _pass(climb: AnyClimb, weights: np.ndarray, sources: np.ndarray, idle: set[int]) -> tuple[np.ndarray, float]:
    """The weights after each of `sources` was moved once, and the metric of these.

    idle: Sources that gained nothing by moving since a weight last moved; they are left out, and the set is kept up.
    """
    weights = weights.copy()
    climb.reset(weights)
    gap = climb.gap()
    for source in sources.tolist():
        others = weights.sum() - weights[source]
        if others <= 0 or source in idle:
            continue
        line = climb.line(source, weights[source])
        # Without weight, the first factor (0) would leave the sum as it is.
        tried = np.multiply(FACTORS, weights[source]) if weights[source] else np.multiply(FACTORS[1:], FIRST * others)
        gaps = [line.gap(weight) for weight in tried]
        if max(gaps) > gap:
            weights[source], gap = tried[int(np.argmax(gaps))], max(gaps)
            idle.clear()
        else:
            idle.add(source)
        line.settle(weights[source])
    return weights, gap
