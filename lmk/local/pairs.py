"""Pairs of photos verified by themselves: whether two photos show one place, whatever is proposed for either."""

from __future__ import annotations

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from lmk.local.compare import Settings, compare
from lmk.local.features import FeatureTable
from lmk.local.glue import Matcher
from lmk.util.cluster import workers_apart
from lmk.util.progress import Progress, advance_within, silent
from lmk.util.store import ArrayStore

SHARD = 2048
"""Pairs a shard of the store: what a kill loses at the most."""
CHUNK = 128
"""Pairs that a process gets at once, with the features that they need."""


def pair_inliers(
    pairs: np.ndarray,
    features: FeatureTable,
    store: ArrayStore,
    settings: Settings,
    jobs: int = 1,
    progress: Progress = silent,
    matcher: Matcher | None = None,
) -> np.ndarray:
    """Inliers of pairs of photos; those that the store has are not compared again.

    Args:
        pairs: (p, 2) str, ids of photos. Which of the two stands first changes nothing: the smaller id is compared
            with the larger one.
        features: Holds every photo.
        store: Its key holds `settings.key()` and whatever names the features.
        settings: Settings of the comparison.
        jobs: Processes; they change the time, never the inliers.
        progress: Reports finished pairs.
        matcher: Finds matches in place of descriptors' distances, in this process alone; the store's key names it.

    Returns:
        (p,) int16.

    Raises:
        KeyError: A photo has no features.
    """
    if not len(pairs):
        return np.empty(0, np.int16)
    ordered = np.sort(np.asarray(pairs, dtype=str), axis=1)
    names = np.strings.add(np.strings.add(ordered[:, 0], " "), ordered[:, 1])
    photos = dict(zip(names.tolist(), ordered.tolist(), strict=True))

    def compute(wanted: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.array([[features.row_of(photo) for photo in photos[name]] for name in wanted.tolist()])
        chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        if matcher is not None:
            parts = (_compare_pairs(features, chunk, settings, matcher) for chunk in chunks)
        else:
            parts = pool(delayed(_compare_pairs)(*_apart(features, chunk), settings) for chunk in chunks)
        found = []
        for part in parts:
            found.append(part)
            advance_within(len(part))
        return {"inliers": np.concatenate(found)}

    with Parallel(n_jobs=jobs, return_as="list" if workers_apart() else "generator") as pool:
        return store.collect(names, compute, SHARD, "Pairs of photos", progress, "pairs")["inliers"]


def _apart(features: FeatureTable, rows: np.ndarray) -> tuple[FeatureTable, np.ndarray]:
    """The photos of some pairs alone, for a worker that may share no memory, and the pairs' rows among these."""
    needed, places = np.unique(rows, return_inverse=True)
    return features.take(needed.tolist()), places.reshape(rows.shape)


def _compare_pairs(
    features: FeatureTable, rows: np.ndarray, settings: Settings, matcher: Matcher | None = None
) -> np.ndarray:
    photos = [(features.row(a), features.row(b)) for a, b in rows.tolist()]
    matched = [None] * len(photos) if matcher is None else matcher(photos)
    with threadpool_limits(1, "blas"):
        counts = [len(compare(*pair, settings, matches).inliers) for pair, matches in zip(photos, matched, strict=True)]
    return np.array(counts, np.int16)
