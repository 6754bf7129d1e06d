"""Choosing among ways to answer on few dev queries: the one that is meant, unless another leads it beyond chance.

The plain maximum on a few hundred queries chooses by chance wherever ways differ by less than GAP varies; the
one-standard-error rule (Breiman et al., Classification and Regression Trees, 1984) keeps what holds elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.predictions import NO_LANDMARK, Predictions

DRAWS = 200
"""Resamples of the queries: the standard error of a lead is then known to a twentieth of itself."""


def lead_and_error(
    first: Predictions, second: Predictions, truth: np.ndarray, metric: Metric = GAP
) -> tuple[float, float]:
    """The metric of the second lists less that of the first, and its standard error: a bootstrap over queries, paired.

    Args:
        first, second: The same n queries in the same order.
        truth: (n,) int64, `NO_LANDMARK` for none.
        metric: The higher the better.

    Returns:
        Both 0 where no query shows a landmark.
    """
    shows = truth != NO_LANDMARK
    if not shows.any():
        return 0.0, 0.0
    before, after = (metric.resampled(lists, truth) for lists in (first, second))
    rng, leads = np.random.default_rng(0), []
    for _ in range(DRAWS):
        counts = np.bincount(rng.integers(0, len(truth), len(truth)), minlength=len(truth))
        if counts[shows].any():
            leads.append(after(counts) - before(counts))
    every = np.ones(len(truth), np.int64)
    return after(every) - before(every), float(np.std(leads))


def settle(ways: Sequence[Predictions], truth: np.ndarray, meant: int, metric: Metric = GAP) -> int:
    """The place of the way that is meant; of others that lead it by a standard error or more, the one that leads most.

    A lead and an error of 0 count: where the way that is meant changes nothing against an earlier one, that one is
    taken, so that ways are to stand the mildest first.

    Args:
        ways: Lists of the same n queries in the same order.
        truth: (n,) int64.
        meant: Its place.
        metric: What counts.
    """
    chosen, most = meant, 0.0
    for place, lists in enumerate(ways):
        if place == meant:
            continue
        lead, error = lead_and_error(ways[meant], lists, truth, metric)
        unchanged = place < meant == chosen and lead == error == 0
        if unchanged or (lead >= error and lead > most):
            chosen, most = place, lead
    return chosen
