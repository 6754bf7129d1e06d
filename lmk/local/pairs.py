"""Pairs of photos verified by themselves: whether two photos show one place, whatever is proposed for either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from lmk.local.compare import Settings, compare
from lmk.local.features import FeatureTable
from lmk.local.glue import Matcher
from lmk.util.processes import in_processes
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

    def rows_of(wanted: np.ndarray) -> np.ndarray:
        return np.array([[features.row_of(photo) for photo in photos[name]] for name in wanted.tolist()])

    def arguments(wanted: np.ndarray) -> tuple[object, ...]:
        return *_apart(features, rows_of(wanted)), settings

    def compute(shards: Sequence[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        chunked = [[wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)] for wanted in shards]
        if matcher is None:
            counted = processes.map(_compare_pairs, arguments, chunked)
        else:
            counted = (
                (_compare_pairs(features, rows_of(chunk), settings, matcher) for chunk in chunks) for chunks in chunked
            )
        for parts in counted:
            found = []
            for part in parts:
                found.append(part)
                advance_within(len(part))
            yield {"inliers": np.concatenate(found)}

    with in_processes(jobs) as processes:
        return store.collect_stream(names, compute, SHARD, "Pairs of photos", progress, "pairs")["inliers"]


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
