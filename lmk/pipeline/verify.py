"""The step that verifies: each query against gallery photos of the landmarks proposed for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lmk.data.splits import photo_of
from lmk.local.compare import Settings, compare
from lmk.local.draw import draw_matches
from lmk.local.evidence import Evidence, strongest
from lmk.local.features import LocalFeatures
from lmk.local.glue import Matcher
from lmk.local.published import RandomGallery
from lmk.local.verify import verify
from lmk.pipeline.local_features import LocalSource
from lmk.pipeline.results import Answers, Verified
from lmk.predictions import Predictions
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path
from lmk.util.progress import Progress
from lmk.util.store import ArrayStore


@dataclass(frozen=True)
class Comparison:
    """How one kind of local features compares photos.

    Attributes:
        local: Its features.
        settings: Matching and RANSAC.
        pairs: Store of comparisons, a row a query with a landmark.
        matcher: Finds matches in place of descriptors' distances.
    """

    local: LocalSource
    settings: Settings
    pairs: ArrayStore
    matcher: Matcher | None = None


def photos_to_compare(proposed: Answers, gallery: Mapping[int, list[str]]) -> np.ndarray:
    """(n,) str, the photos that verification reads: the queries', and those of the landmarks proposed for any."""
    lists = [proposed.dev, proposed.test, *proposed.context]
    landmarks = np.unique(np.concatenate([one.landmarks.ravel() for one in lists])).tolist()
    photos = [photo for landmark in landmarks for photo in gallery.get(landmark, ())]
    return np.unique(np.concatenate([np.array(photos, dtype=str), photo_of(proposed.dev.ids), proposed.test.ids]))


def verify_proposals(
    proposed: Answers,
    gallery: Mapping[int, list[str]],
    comparisons: Mapping[str, Comparison],
    nearest: int | None,
    jobs: int,
    progress: Progress,
    hidden: Sequence[Collection[str]] = (),
) -> Verified:
    """Compare every query with the gallery photos of the landmarks proposed for it.

    Args:
        proposed: Queries of dev and of test with their proposals.
        gallery: Photos by landmark; a query is never compared with itself.
        comparisons: By kind of local features.
        nearest: Photos of a landmark compared, those most like the query; None compares the gallery in its order.
        jobs: Processes.
        progress: Reports each shard of proposals.
        hidden: For each context of `proposed` the gallery photos that its models do not know.
    """
    ids = photos_to_compare(proposed, gallery)
    dev: dict[str, Evidence] = {}
    test: dict[str, Evidence] = {}
    context: list[dict[str, Evidence]] = [{} for _ in hidden]
    for kind, one in comparisons.items():
        table = one.local.table(ids)
        compared = partial(
            verify,
            gallery=gallery,
            query_features=table,
            gallery_features=table,
            store=one.pairs,
            settings=one.settings,
            nearest=nearest,
            jobs=jobs,
            progress=progress,
            matcher=one.matcher,
        )
        dev[kind], test[kind] = compared(proposed.dev), compared(proposed.test)
        for found, lists, unknown in zip(context, proposed.context, hidden, strict=True):
            found[kind] = compared(lists, hidden=unknown)
    return Verified(dev, test, tuple(context))


def verify_in_passes(
    proposed: Answers,
    gallery: Mapping[int, list[str]],
    comparisons: Sequence[Comparison],
    chosen: RandomGallery,
    jobs: int,
    progress: Progress,
) -> Verified:
    """Compare every query with random photos of the landmarks proposed for it, anew in each pass.

    Args:
        proposed, gallery, jobs, progress: As for `verify_proposals`.
        comparisons: One a pass, of one kind of local features; each pass has its own store of pairs.
        chosen: Which photos a query meets.
    """
    table = comparisons[0].local.table(photos_to_compare(proposed, gallery))

    def compared(found: Predictions) -> Evidence:
        passes = []
        for number, one in enumerate(comparisons):
            choose = partial(chosen.choose, number=number)
            passes.append(
                verify(
                    found, gallery, table, table, one.pairs, one.settings, choose=choose, jobs=jobs, progress=progress
                )
            )
        return strongest(passes)

    kind = comparisons[0].local.kind
    return Verified({kind: compared(proposed.dev)}, {kind: compared(proposed.test)})


def draw_comparison(
    read: Callable[[str], np.ndarray], comparison: Comparison, query: str, gallery: str, path: Path
) -> int:
    """Write the match picture of two photos, PNG or JPEG, and return the number of inliers.

    Raises:
        LmkError: The file's suffix names no picture format.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise LmkError(f"{path} is no picture's name: end it in .png or .jpg.")
    found, known = comparison.local.of([query, gallery])
    return write_matches(path, comparison, (read(query), found), (read(gallery), known))


def write_matches(
    path: Path,
    comparison: Comparison,
    query: tuple[np.ndarray, LocalFeatures],
    gallery: tuple[np.ndarray, LocalFeatures],
) -> int:
    """Write the match picture of two photos, RGB (h, w, 3) uint8 with their features; returns the number of inliers."""
    (left, found), (right, known), matcher = query, gallery, comparison.matcher
    compared = compare(found, known, comparison.settings, None if matcher is None else matcher([(found, known)])[0])
    picture = draw_matches(left, right, found, known, compared)
    with atomic_path(path) as draft:
        cv2.imwrite(str(draft), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return len(compared.inliers)
