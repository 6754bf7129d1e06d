"""Geometric verification: each query against the gallery photos of the landmarks proposed for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from lmk.local.compare import Settings, compare, covered
from lmk.local.evidence import NOT_COMPARED, Evidence, gather
from lmk.local.features import FeatureTable
from lmk.local.glue import Matcher
from lmk.predictions import NO_LANDMARK, Predictions, photo_of_query
from lmk.util.errors import LmkError
from lmk.util.processes import in_processes
from lmk.util.progress import Progress, advance_within, silent
from lmk.util.store import ArrayStore

GALLERY = 32
"""Gallery photos of a landmark that a query is compared with, at the most."""
SHARD = 512
"""Proposals a shard of the store: what a kill loses at the most."""

AT_ONCE = 256
"""Pairs that a matcher is given at once: some batches of a GPU."""
CHUNKS = 16
"""Parts of a shard that each process gets: one is done every second or so, which progress shows."""

Choose = Callable[[str, int, Sequence[str]], Sequence[str]]
"""Function from a query's photo, a landmark and the photos of its gallery to those that it is compared with."""

Task = tuple[int, list[int]]
"""A query's row in its table, and the rows of gallery photos in theirs, -1 for one that is left out."""


def photo_of(query: str) -> str:
    """The photo behind a query's id: `PHOTO` or `PHOTO/VIEW`."""
    return photo_of_query(query)


def verify(
    predictions: Predictions,
    gallery: Mapping[int, Sequence[str]],
    query_features: FeatureTable,
    gallery_features: FeatureTable,
    store: ArrayStore,
    settings: Settings | None = None,
    exclude: Mapping[str, Sequence[str]] | None = None,
    nearest: int | None = None,
    choose: Choose | None = None,
    hidden: Collection[str] = (),
    jobs: int = 1,
    progress: Progress = silent,
    matcher: Matcher | None = None,
) -> Evidence:
    """Compare each query with the gallery photos of each landmark proposed for it.

    Args:
        predictions: The queries and their k landmarks; empty places get no evidence.
        gallery: A landmark to its photos' ids, of which the first `GALLERY` count; one that is absent has none.
        query_features: Holds the photo behind every query (`photo_of`).
        gallery_features: Holds every gallery photo.
        store: Its key holds `settings.key()` and whatever names features, galleries and `exclude`; a row is a query
            with a landmark, so that predictions with other scores or another order reuse it.
        settings: `Settings()` if not given.
        exclude: A query's id to gallery photos that it is not compared with; none is ever compared with itself.
        nearest: Compare with so many photos of a landmark, those whose features are most like the query's on the
            whole, the nearest first; None: with the first `GALLERY` in the gallery's order.
        choose: Instead of `nearest`, the photos of a landmark that a query is compared with, in this order and at the
            most `GALLERY`; such as `RandomGallery.choose`. The store's key names it.
        hidden: Gallery photos whose comparisons do not count for any query, as if they were not in the gallery. What is
            stored does not depend on it, so that it costs nothing to hide others.
        jobs: Processes; they change the time, never the evidence.
        progress: Reports finished proposals.
        matcher: Finds matches in place of descriptors' distances. It has the device, so that this process compares
            alone, and every photo: `settings.enough` saves nothing. The store's key names it.

    Returns:
        Evidence in the predictions' order.

    Raises:
        KeyError: A photo has no features in its table.
    """
    settings, exclude = settings or Settings(), exclude or {}
    landmarks = predictions.landmarks.ravel()
    queries = predictions.ids.repeat(predictions.landmarks.shape[1])
    pairs = list(zip(queries.tolist(), landmarks.tolist(), strict=True))
    names = np.array([f"{query} {landmark}" for query, landmark in pairs], dtype=str)
    proposals = dict(zip(names.tolist(), pairs, strict=True))
    known = set(landmarks.tolist())
    if choose is not None:
        photos = {
            pair: list(choose(photo_of(pair[0]), pair[1], gallery.get(pair[1], ())))[:GALLERY] for pair in set(pairs)
        }
    elif nearest is None:
        photos = {pair: list(gallery.get(pair[1], ()))[:GALLERY] for pair in set(pairs)}
    else:
        ranked = Ranked(query_features, gallery_features, {name: gallery.get(name, ()) for name in known})
        photos = {pair: ranked(*pair, exclude.get(pair[0], ()), min(nearest, GALLERY)) for pair in set(pairs)}

    def task(name: str) -> Task:
        query, landmark = proposals[name]
        left_out = {photo_of(query), *exclude.get(query, ())}
        rows = [-1 if photo in left_out else gallery_features.row_of(photo) for photo in photos[query, landmark]]
        return query_features.row_of(photo_of(query)), rows

    def compute(shards: Sequence[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        if matcher is not None:
            for wanted in shards:
                tasks = [task(name) for name in wanted.tolist()]
                yield _compare_all(query_features, gallery_features, tasks, settings, matcher)
            return
        for parts in processes.map(_compare_all, arguments, [_chunks(wanted, jobs) for wanted in shards]):
            found = []
            for part in parts:
                found.append(part)
                advance_within(len(part["counts"]))
            yield {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def arguments(wanted: np.ndarray) -> tuple[object, ...]:
        tasks = [task(name) for name in wanted.tolist()]
        tables = _apart(tasks) if processes.apart else (query_features, gallery_features, tasks)
        return *tables, settings

    def _apart(tasks: list[Task]) -> tuple[FeatureTable, FeatureTable, list[Task]]:
        """Some proposals with the rows of the tables that they need, for a worker that shares no memory."""
        queries, query_rows = _numbered([[query] for query, _ in tasks])
        photos, photo_rows = _numbered([rows for _, rows in tasks])
        renumbered = [(query, rows) for (query,), rows in zip(query_rows, photo_rows, strict=True)]
        return query_features.take(queries), gallery_features.take(photos), renumbered

    asked = landmarks != NO_LANDMARK
    try:
        with in_processes(jobs) as processes:
            found = store.collect_stream(names[asked], compute, SHARD, "Verification", progress, "proposals")
    except BrokenExecutor as error:
        raise LmkError(
            "A process that compared photos was killed, perhaps for want of memory. What is stored stays: run it "
            "again, with fewer --jobs."
        ) from error
    rows = _rows(len(landmarks))
    for name, values in found.items():
        rows[name][asked] = values
    if hidden:
        _hide(rows, [photos[pair] for pair in pairs], frozenset(hidden))
    shape = (*predictions.landmarks.shape, GALLERY)
    return gather(
        predictions.ids,
        predictions.landmarks,
        [photos[pair] for pair in pairs],
        **{name: values.reshape(shape) for name, values in rows.items()},
        agreeing=settings.agreeing,
    )


def _chunks(wanted: np.ndarray, jobs: int) -> list[np.ndarray]:
    """The proposals of a shard in parts of which each process gets several: proposals differ in how long they take."""
    size = -(-len(wanted) // (CHUNKS * jobs))
    return [wanted[start : start + size] for start in range(0, len(wanted), size)]


def _hide(rows: dict[str, np.ndarray], photos: Sequence[Sequence[str]], hidden: Collection[str]) -> None:
    """Make the comparisons with some photos undone; photos are those of each row, in the order of its columns."""
    places = [(row, place) for row, names in enumerate(photos) for place, name in enumerate(names) if name in hidden]
    if places:
        row, place = np.array(places).T
        for name, empty in _rows(1).items():
            rows[name][row, place] = empty[0, 0]


def _numbered(lists: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """The rows that are named, each once, and the lists with their places among these; -1 stays."""
    places: dict[int, int] = {}
    numbered = [[row if row < 0 else places.setdefault(row, len(places)) for row in rows] for rows in lists]
    return list(places), numbered


class Ranked:
    """A landmark's photos by how like a query they are: the cosine of the mean directions of their features."""

    def __init__(self, queries: FeatureTable, photos: FeatureTable, gallery: Mapping[int, Sequence[str]]):
        self.queries, self.photos, self.gallery = queries, photos, gallery
        self.query_means, self.photo_means = queries.means(), photos.means()

    def __call__(self, query: str, landmark: int, exclude: Sequence[str], count: int) -> list[str]:
        """The `count` nearest photos but the query's own and those excluded, the nearest first."""
        left_out = {photo_of(query), *exclude}
        names = [name for name in self.gallery[landmark] if name not in left_out]
        rows = [self.photos.row_of(name) for name in names]
        near = self.photo_means[rows] @ self.query_means[self.queries.row_of(photo_of(query))]
        return [names[place] for place in np.argsort(-near, kind="stable")[:count].tolist()]


def _rows(count: int) -> dict[str, np.ndarray]:
    """Arrays for `count` proposals, a column a gallery photo, nothing compared yet."""
    return {
        "counts": np.full((count, GALLERY), NOT_COMPARED, np.int16),
        "ratios": np.zeros((count, GALLERY), np.float32),
        "coverages": np.zeros((count, GALLERY), np.float32),
    }


def _compare_all(
    queries: FeatureTable,
    photos: FeatureTable,
    tasks: Sequence[Task],
    settings: Settings,
    matcher: Matcher | None = None,
) -> dict[str, np.ndarray]:
    """Work of one worker: the comparisons of some proposals, a row each."""
    rows = _rows(len(tasks))
    matched: Iterator[np.ndarray] | None = None
    if matcher is not None:
        named = [(query, photo) for query, gallery in tasks for photo in gallery if photo >= 0]
        matched = (
            matches
            for start in range(0, len(named), AT_ONCE)
            for matches in matcher([(queries.row(a), photos.row(b)) for a, b in named[start : start + AT_ONCE]])
        )
    # One thread of BLAS a process: matrices are small, and threads of several processes would compete for the cores.
    with threadpool_limits(1, "blas"):
        for task, (query_row, photo_rows) in enumerate(tasks):
            query = queries.row(query_row)
            for place, photo_row in enumerate(photo_rows):
                if photo_row < 0:
                    continue
                matches = next(matched) if matched is not None else None
                comparison = compare(query, photos.row(photo_row), settings, matches)
                inliers = comparison.inliers
                rows["counts"][task, place] = len(inliers)
                rows["ratios"][task, place] = len(inliers) / max(1, len(comparison.matches))
                rows["coverages"][task, place] = covered(query, inliers)
                if matched is None and settings.enough is not None and len(inliers) >= settings.enough:
                    break
    return rows
