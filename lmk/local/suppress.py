"""Non-maximum suppression of square fields of several sizes: the strongest stay, what they overlap goes."""

import numpy as np


def suppress(places: np.ndarray, sides: np.ndarray, most_overlap: float, count: int) -> np.ndarray:
    """The strongest fields, each overlapping no stronger one that stays by more than `most_overlap`.

    Args:
        places: (n, 2) centres, the strongest field first.
        sides: (n,) their sides, in the same unit.
        most_overlap: Overlap of two fields that both stay: the area they share over the area they cover, in [0, 1].
            With 1 all stay.
        count: The most fields that stay.

    Returns:
        (m,) int, the rows that stay, the strongest first.
    """
    if most_overlap >= 1:
        return np.arange(min(count, len(places)))
    left = np.arange(len(places))
    kept: list[int] = []
    while len(left) and len(kept) < count:
        first, left = left[0], left[1:]
        kept.append(int(first))
        left = left[_overlap(places[left], sides[left], places[first], sides[first]) <= most_overlap]
    return np.array(kept, dtype=int)


def _overlap(places: np.ndarray, sides: np.ndarray, place: np.ndarray, side: float) -> np.ndarray:
    """(n,) float, the area that each field shares with one field over the area that both cover."""
    apart = np.abs(places - place)
    # Along each axis two squares share half the sum of their sides less the distance of their centres, and no more than
    # the smaller side, where one lies within the other.
    shared = np.minimum(np.minimum(sides, side)[:, None], (sides + side)[:, None] / 2 - apart)
    area = np.maximum(shared, 0).prod(axis=1)
    return area / (sides * sides + side * side - area)
