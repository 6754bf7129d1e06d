"""Putative matches: features of two photos that look alike, by one matrix product."""

import numpy as np

FEW = 4
"""Columns are few if there are so many times as many: gathering one costs as much as looking at some."""


def putative_matches(
    query: np.ndarray,
    index: np.ndarray,
    ratio: float | None = 0.93,
    mutual: bool = True,
    max_distance: float | None = None,
) -> np.ndarray:
    """Pair each query descriptor with its nearest index descriptor, where that pair is trusted.

    Args:
        query: (m, d) float32, L2-normalised.
        index: (n, d) float32, L2-normalised.
        ratio: The nearest must be nearer than this share of the second nearest's distance (Lowe, IJCV 2004);
            `None` asks nothing. With one index descriptor there is no second: it passes.
        mutual: The query descriptor must be the nearest of its match, too; so no index descriptor stands twice.
        max_distance: The most Euclidean distance, in [0, 2]; `None` asks nothing.

    Returns:
        (k, 2) int, rows of query and of index, the surest first: by the ratio of the distances where it is
        asked, else by distance; k = 0 if either is empty. Among equal neighbours the lowest row counts.
    """
    if len(query) == 0 or len(index) == 0:
        return np.empty((0, 2), int)
    similarity = query @ index.T
    nearest = similarity.argmax(axis=1)
    rows = np.arange(len(query))
    best = similarity[rows, nearest]
    if max_distance is not None:
        rows = rows[best >= 1 - max_distance**2 / 2]
    if mutual:
        rows = rows[best[rows] == _most_of_columns(similarity, nearest[rows])]
        rows = rows[np.sort(np.unique(nearest[rows], return_index=True)[1])]
    doubt = 1 - best[rows]  # half the squared distance
    if ratio is not None and len(index) > 1:
        others = similarity[rows]
        others[np.arange(len(rows)), nearest[rows]] = -np.inf
        second = 1 - others.max(axis=1)
        clear = doubt < ratio**2 * second
        rows, doubt = rows[clear], doubt[clear] / np.maximum(second[clear], 1e-9)
    rows = rows[np.argsort(doubt, kind="stable")]
    return np.column_stack([rows, nearest[rows]])


def _most_of_columns(similarity: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(k,) the largest value in each of some columns; of few of them, without a look at the others."""
    if FEW * len(columns) < similarity.shape[1]:
        return similarity[:, columns].max(axis=0)
    return similarity.max(axis=0)[columns]
