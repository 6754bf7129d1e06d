"""Cross-fitting: whatever is tuned on dev answers only queries that it was not tuned on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from lmk.predictions import Predictions, concatenate

PARTS = 5

Fitted = TypeVar("Fitted")


def cross_fit(
    groups: np.ndarray,
    fit: Callable[[np.ndarray], Fitted],
    apply: Callable[[Fitted, np.ndarray], Predictions],
    seed: int,
) -> Predictions:
    """Predictions of all dev queries, each by a model fitted without its group.

    Args:
        groups: (n,) str, such as the photo behind each query: queries of one group are held out together.
        fit: From rows (m,) int to what was fitted on them.
        apply: From that and rows to predictions of these rows.
        seed: Of the parts that the groups are dealt into.
    """
    _, members = np.unique(groups, return_inverse=True)
    parts = np.random.default_rng(seed).permutation(members.max(initial=-1) + 1)[members] % PARTS
    rows, found = [], []
    for part in range(PARTS):
        held_out = np.flatnonzero(parts == part)
        if len(held_out):
            found.append(apply(fit(np.flatnonzero(parts != part)), held_out))
            rows.append(held_out)
    order = np.argsort(np.concatenate(rows), kind="stable")
    return concatenate(found).take(order)
