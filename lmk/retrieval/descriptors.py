"""Descriptors: one vector a photo, of length 1, from the features of its views and of several networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

BLOCK_ROWS = 20_000
"""Descriptors worked on at once."""
BLOCK_PHOTOS = 2_000
"""Photos whose views are worked on at once."""

Room = Callable[[Sequence[int], type], np.ndarray]
"""Allocates an array from its shape and type: in memory, or in a mapped file if it is large."""


def blocks(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices that cover `count` rows, `size` rows each."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def normalize(descriptors: np.ndarray) -> np.ndarray:
    """Rows of (n, d) scaled to length 1, float32; a row of zeros stays."""
    lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return (descriptors / np.maximum(lengths, 1e-12)).astype(np.float32)


def photo_descriptors(features: np.ndarray) -> np.ndarray:
    """Features of views (n, views, d) to descriptors (n, d) of length 1: the mean of the views' directions."""
    lengths = np.linalg.norm(features.astype(np.float32), axis=2, keepdims=True)
    return normalize((features / np.maximum(lengths, 1e-12)).mean(axis=1))


def side_by_side(
    descriptors: Sequence[np.ndarray], weights: Sequence[float] | None = None, room: Room = np.empty
) -> np.ndarray:
    """Descriptors (n, d) of several networks, each times its weight, as one (n, sum of d) float32."""
    shares = [1.0] * len(descriptors) if weights is None else weights
    count, widths = len(descriptors[0]), [part.shape[1] for part in descriptors]
    joined = room((count, sum(widths)), np.float32)
    for rows in blocks(count, BLOCK_ROWS):
        start = 0
        for share, part, width in zip(shares, descriptors, widths, strict=True):
            joined[rows, start : start + width] = share * np.asarray(part[rows], np.float32)
            start += width
    return joined


def in_blocks(describe: Callable[[np.ndarray], np.ndarray], features: np.ndarray, room: Room = np.empty) -> np.ndarray:
    """Output (n, d) float32 of `describe` for the rows of a long array, a block at a time."""
    first = describe(features[:1])
    found = room((len(features), first.shape[1]), np.float32)
    for rows in blocks(len(features), BLOCK_PHOTOS):
        found[rows] = describe(features[rows])
    return found
