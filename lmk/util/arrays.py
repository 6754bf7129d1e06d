"""Small helpers on arrays that stores and predictions share."""

import numpy as np


def positions(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(m,) int, the row of each wanted id among `ids`, -1 where it is absent."""
    ids, wanted = np.asarray(ids, dtype=str), np.asarray(wanted, dtype=str)
    if len(ids) == 0:
        return np.full(len(wanted), -1)
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    rows = order[place]
    return np.where(ids[rows] == wanted, rows, -1)


def narrow(texts: np.ndarray) -> np.ndarray:
    """(n,) str in the type that the longest of them needs; rows that were taken from others keep the room of those."""
    return np.array(texts.tolist(), dtype=str)
