"""Putative matches: features of two photos that look alike, by one matrix product."""

import numpy as np


def putative_matches(
    query: np.ndarray,
    index: np.ndarray,
    ratio: float | None = 0.85,
    mutual: bool = True,
    max_distance: float | None = None,
) -> np.ndarray:
    """Pair each query descriptor with its nearest index descriptor, where that pair is trusted.

    Args:
        query: (m, d) float32, L2-normalised.
        index: (n, d) float32, L2-normalised.
        ratio: The nearest must be nearer than this share of the second nearest's distance (Lowe, IJCV 2004);
            `None` asks nothing. With one index descriptor there is no second: it passes.
        mutual: The query descriptor must be the nearest of its match, too.
        max_distance: The most Euclidean distance, in [0, 2]; `None` asks nothing.

    Returns:
        (k, 2) int, rows of query and of index, ascending by query; equal neighbours give the lowest row.
    """
    if len(query) == 0 or len(index) == 0:
        return np.empty((0, 2), int)
    similarity = query @ index.T
    rows = np.arange(len(query))
    nearest = similarity.argmax(axis=1)
    best = similarity[rows, nearest]
    kept = np.ones(len(query), bool)
    if mutual:
        kept &= best == similarity.max(axis=0)[nearest]
    if max_distance is not None:
        kept &= best >= 1 - max_distance**2 / 2
    if ratio is not None and len(index) > 1:
        similarity[rows, nearest] = -np.inf
        kept &= 1 - best < ratio**2 * (1 - similarity.max(axis=1))
    rows = rows[kept]
    return np.column_stack([rows, nearest[kept]])
