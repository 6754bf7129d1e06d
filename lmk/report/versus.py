"""Two runs side by side: what changed, query by query, and whether it may be chance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmk.data.competitions import Competition
from lmk.data.names import label, read_names
from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.predictions import NO_LANDMARK, Predictions, photo_of_query
from lmk.report.costs import QUIET, RIGHT, mistake_costs, outcomes
from lmk.report.examples import kind_of
from lmk.report.page import PICTURE_BYTES, album_of, check_record, render, run_rows
from lmk.report.pictures import Picture
from lmk.report.record import FinishedRun
from lmk.report.statistics import Difference, difference
from lmk.util.arrays import positions
from lmk.util.errors import LmkError
from lmk.util.progress import Progress, silent

CORRECTED, BROKEN, OTHER, MOVED = "corrected", "broken", "another answer", "moved in rank"
"""Kinds of change: wrong before and right now; the reverse; neither, but another answer; the same answer."""
SHOWN = 16
"""Changes with pictures."""


@dataclass(frozen=True)
class Change:
    """A query that the two runs answer, or rank, otherwise; `cost` is the second's cost less the first's."""

    query: str
    kind: str
    change: str
    truth: str
    first: str
    second: str
    cost: float


@dataclass(frozen=True)
class Shown:
    """A change with its pictures: the query, and photos of the two answers."""

    change: Change
    photo: Picture | None
    first: list[Picture]
    second: list[Picture]


def write_comparison(
    first: FinishedRun, second: FinishedRun, competition: Competition, path: Path, progress: Progress = silent
) -> int:
    """Write the page that sets `second` against `first`, and return its size in bytes.

    Raises:
        LmkError: They ran on different competitions, ask no query in common, or none that shows a landmark.
    """
    check_record(first, competition)
    if first.run.digest != second.run.digest:
        raise LmkError(f"{first.name} and {second.name} ran on different photos, so they do not compare.")
    if first.run.metric != second.run.metric:
        raise LmkError(
            f"{first.name} was scored by {first.metric.title} and {second.name} by {second.metric.title}: they do not "
            "compare."
        )
    ids, truth = common_queries(first, second)
    a, b = first.final.align(ids), second.final.align(ids)
    changes, rows = changed_queries(ids, truth, a, b, read_names(competition.root), first.metric)
    return render(
        "versus.html",
        path,
        lambda most: {"changes": changes[:most]},
        title=f"{second.name} against {first.name}",
        first=first,
        second=second,
        final=difference(a, b, truth, first.metric),
        metric=first.metric.title,
        stages=stage_differences(first, second, ids, truth),
        count=len(changes),
        kinds=sorted({change.change for change in changes}),
        shown=_shown(changes, rows, first, competition, a, b, progress),
        settings=differing(first, second),
    )


def common_queries(first: FinishedRun, second: FinishedRun) -> tuple[np.ndarray, np.ndarray]:
    """Ids (n,) str and truth (n,) int64 of the dev queries that both runs ask.

    Raises:
        LmkError: There are none, or none that shows a landmark.
    """
    place = positions(second.ids, first.ids)
    both = (place >= 0) & (second.truth[place] == first.truth)
    ids, truth = first.ids[both], first.truth[both]
    if not (truth != NO_LANDMARK).any():
        raise LmkError(
            f"{first.name} and {second.name} have no dev query with a known landmark in common. "
            "Runs with one --seed, --folds and --dev-share compare best."
        )
    return ids, truth


def stage_differences(
    first: FinishedRun, second: FinishedRun, ids: np.ndarray, truth: np.ndarray
) -> list[tuple[str, Difference]]:
    """The stages that both runs have, set against each other."""
    shared = [stage for stage in first.dev if stage in second.dev]
    return [
        (stage, difference(first.dev[stage].align(ids), second.dev[stage].align(ids), truth, first.metric))
        for stage in shared
    ]


def changed_queries(
    ids: np.ndarray,
    truth: np.ndarray,
    first: Predictions,
    second: Predictions,
    names: dict[int, str],
    metric: Metric = GAP,
) -> tuple[list[Change], list[int]]:
    """Queries whose answer or cost differs, the largest difference in cost first; and their rows.

    names: Names of landmarks. metric: What mistakes cost.
    """
    before, after = outcomes(first, truth), outcomes(second, truth)
    cost = mistake_costs(second, truth, metric) - mistake_costs(first, truth, metric)
    good = [np.isin(outcome, (RIGHT, QUIET)) for outcome in (before, after)]
    other = first.best != second.best
    changed = np.where(other, OTHER, MOVED)
    changed = np.where(~good[0] & good[1], CORRECTED, np.where(good[0] & ~good[1], BROKEN, changed))
    rows = np.flatnonzero(other | (np.abs(cost) > 1e-12))
    rows = rows[np.argsort(-np.abs(cost[rows]), kind="stable")]
    changes = [
        Change(
            photo_of_query(str(ids[row])),
            kind_of(str(ids[row]), int(truth[row])),
            str(changed[row]),
            label(int(truth[row]), names),
            label(int(first.best[row]), names),
            label(int(second.best[row]), names),
            float(cost[row]),
        )
        for row in rows.tolist()
    ]
    return changes, rows.tolist()


def differing(first: FinishedRun, second: FinishedRun) -> list[tuple[str, str, str]]:
    """Settings and versions in which the two runs differ."""
    a, b = dict(run_rows(first)), dict(run_rows(second))
    return [(name, a.get(name, ""), b.get(name, "")) for name in {**a, **b} if a.get(name) != b.get(name)]


def _shown(
    changes: list[Change],
    rows: list[int],
    record: FinishedRun,
    competition: Competition,
    first: Predictions,
    second: Predictions,
    progress: Progress,
) -> list[Shown]:
    album = album_of(record, competition, PICTURE_BYTES)

    def photos(landmark: int, query: str) -> list[Picture]:
        known = competition.train_ids[competition.train_landmarks == landmark].tolist()
        names = [name for name in known if name != query][:2]
        made = (album.thumbnail(name, f"Photo {name} of landmark {landmark}.", 130) for name in names)
        return [picture for picture in made if picture is not None]

    chosen = [(change, row) for change, row in zip(changes, rows, strict=True) if change.change != MOVED][:SHOWN]
    shown = []
    with progress("Drawing changes", len(chosen), "queries") as advance:
        for change, row in chosen:
            query = album.thumbnail(change.query, f"Query {change.query}, which shows {change.kind}.", 260)
            answers = (photos(int(answer.best[row]), change.query) for answer in (first, second))
            shown.append(Shown(change, query, *answers))
            advance(1)
    return shown
