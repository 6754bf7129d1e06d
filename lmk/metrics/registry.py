"""The metrics by name."""

from __future__ import annotations

from collections.abc import Callable

from lmk.metrics.gains import TOP1, MeanAveragePrecision
from lmk.metrics.metric import Metric
from lmk.metrics.ranking import GAP
from lmk.util.errors import UsageError, did_you_mean

METRICS: dict[str, Metric] = {metric.name: metric for metric in (GAP, TOP1)}
"""Metrics by name; GAP is the default."""
FAMILIES: dict[str, Callable[[int], Metric]] = {"map": MeanAveragePrecision}
"""Metrics that look at the k best landmarks of a query, by name before `@`."""
DEEPEST = 20
"""Largest k: each source of a run keeps so many landmarks a query."""


def find_metric(name: str) -> Metric:
    """The metric of that name, such as `gap` or `map@5`.

    Raises:
        UsageError: There is none; the text names those there are.
    """
    family, _, depth = name.partition("@")
    if family in FAMILIES and depth.isdecimal() and depth.isascii() and 1 <= int(depth) <= DEEPEST:
        return FAMILIES[family](int(depth))
    if name not in METRICS:
        known = [*METRICS, *(f"{one}@k (k from 1 to {DEEPEST})" for one in FAMILIES)]
        hint = did_you_mean(name, [*METRICS, *(f"{one}@5" for one in FAMILIES)])
        raise UsageError(f"No metric is named '{name}'; there are {', '.join(known)}.{hint}")
    return METRICS[name]
