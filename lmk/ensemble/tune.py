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
        fit: Function from rows (m,) int to what was fitted on them.
        apply: Function from that and rows to predictions of these rows.
        seed: Random seed of the parts that the groups are dealt into.
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


def parts_of_dev(folds: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """(n,) int, the part of dev that each query belongs to, for what is cross-fitted with a graph of dev and test.

    With several folds each is a part: its queries and the test photos, both answered by its models, lie in one graph.
    The queries of a single fold, a holdout, are dealt into `PARTS` parts that share its graph.

    Args:
        folds: (n,) int, the fold that asks each dev query.
        groups: (n,) str, the photo behind each query.
        seed: Random seed of the parts that groups are dealt into.
    """
    if len(np.unique(folds)) > 1:
        return np.unique(folds, return_inverse=True)[1].ravel()
    members = np.unique(groups, return_inverse=True)[1].ravel()
    dealt = np.random.default_rng(seed).permutation(members.max(initial=-1) + 1)[members] % PARTS
    return np.unique(dealt, return_inverse=True)[1].ravel()


def fit_by_part(parts: np.ndarray, groups: np.ndarray, fit: Callable[[np.ndarray], Fitted]) -> list[Fitted]:
    """The fit that answers each part of dev: fitted on the queries whose group the part does not ask.

    A photo may be asked in two folds, of its landmark and of none; neither may learn from the other.

    Args:
        parts: (n,) int from 0, as `parts_of_dev` gives them.
        groups: (n,) str.
        fit: Function from rows (m,) int of dev to what was fitted on them.
    """
    return [
        fit(np.flatnonzero(~np.isin(groups, groups[parts == part]))) for part in range(int(parts.max(initial=-1)) + 1)
    ]


def cross_fit_parts(
    parts: np.ndarray,
    groups: np.ndarray,
    fit: Callable[[np.ndarray], Fitted],
    apply: Callable[[Fitted, np.ndarray], Predictions],
    apply_context: Callable[[Fitted, int], Predictions],
) -> tuple[Predictions, tuple[Predictions, ...]]:
    """Dev predictions, and for each part of dev those of the test photos by what answers its queries.

    Args:
        parts, groups, fit: As for `fit_by_part`.
        apply: Function from what was fitted and rows of dev to predictions of these rows.
        apply_context: Function from what was fitted for a part, and the part, to predictions of the test photos from
            the lists that this part's models gave for them.

    Returns:
        Predictions of all rows of dev in their order, and the test predictions of each part.
    """
    fitted = fit_by_part(parts, groups, fit)
    rows = [np.flatnonzero(parts == part) for part in range(len(fitted))]
    found = [apply(one, asked) for one, asked in zip(fitted, rows, strict=True)]
    order = np.argsort(np.concatenate(rows), kind="stable")
    return concatenate(found).take(order), tuple(apply_context(one, part) for part, one in enumerate(fitted))
