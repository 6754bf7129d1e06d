"""One self-contained HTML page a run: no network, no tracker, under 5 MB whatever the competition's size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from lmk import __version__
from lmk.data.competitions import Competition
from lmk.data.images import UnreadablePhoto, read_photo
from lmk.data.names import label, read_names
from lmk.local.compare import Settings
from lmk.metrics.ranking import GAP
from lmk.predictions import NO_LANDMARK
from lmk.report import svg
from lmk.report.answers import tested_photos
from lmk.report.costs import loss, verdict
from lmk.report.examples import changed_answers, costliest_mistakes, query_rows, verified_pairs
from lmk.report.pictures import Album, Features, cached
from lmk.report.record import FinishedRun
from lmk.report.statistics import (
    Bin,
    Histogram,
    LandmarkRow,
    Ranking,
    calibration,
    calibration_error,
    histogram,
    landmark_rows,
    ranking,
    stage_rows,
)
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path
from lmk.util.progress import Progress, silent

MOST_BYTES = 5_000_000
PICTURE_BYTES = 3_600_000
"""Most bytes of the pictures as they stand in the page; the rest is words and charts."""
MOST_ROWS = (1500, 400, 100, 25)
"""Rows of a table: the first number with which the page fits, as names of landmarks and photos may be long."""

Table = dict[str, Any]
"""A table of the page: `columns` and `rows`, words and numbers."""


def write_report(record: FinishedRun, competition: Competition, path: Path, progress: Progress = silent) -> int:
    """Write the page of a run and return its size in bytes.

    Args:
        record: The run.
        competition: The one it ran on: photos, and how many each landmark has.
        path: The page.
        progress: Reports the examples drawn.

    Raises:
        LmkError: No dev query shows a landmark, or the competition is not the one that the run saw.
    """
    check_record(record, competition)
    album = album_of(record, competition, PICTURE_BYTES)
    counts, names = photo_counts(record, competition), read_names(competition.root)
    answers, truth = record.final, record.truth
    ranked, bins, landmarks = (
        ranking(answers, truth),
        calibration(answers, truth),
        landmark_rows(answers, truth, counts),
    )
    scores = histogram(answers, truth)
    stages = stage_rows(record.dev, truth, record.run.recipes, record.metric)
    mistakes = costliest_mistakes(record, competition, names, album, progress)
    pairs = verified_pairs(record, names, album, progress)
    changed = changed_answers(record, competition, names, album, progress)
    tested = tested_photos(record, names, album, progress)
    queries = query_rows(record, names, MOST_ROWS[0])

    def lists(most: int) -> dict[str, Any]:
        return {
            "tested": replace(tested, answers=tested.answers[:most]),
            "landmarks": landmark_table(landmarks[:most], names),
            "more_landmarks": max(0, len(landmarks) - most),
            "queries": queries[:most],
            "unreadable": sorted(record.run.unreadable.items())[:most],
        }

    final = next(row for row in stages if row.stage == record.final_stage)
    return render(
        "report.html",
        path,
        lists,
        title=f"Run {record.name}",
        record=record,
        facts=record.run,
        final=final,
        likeness=record.run.likeness,
        verdict=verdict(loss(answers, truth)) if record.metric is GAP else "",
        metric=record.metric.title,
        stages=stages,
        weights=record.run.weights,
        optimism=record.run.dev.optimism,
        shows=int((truth != NO_LANDMARK).sum()),
        charts={
            "precision": svg.precision_chart(ranked, final.gap, record.metric.title),
            "scores": svg.histogram_chart(scores),
            "calibration": svg.calibration_chart(bins),
            "landmarks": svg.landmark_chart(landmarks, names),
        },
        tables={
            "precision": precision_table(ranked),
            "scores": score_table(scores),
            "calibration": calibration_table(bins),
        },
        error=calibration_error(bins),
        mistakes=mistakes,
        kinds=sorted({mistake.outcome for mistake in mistakes}),
        pairs=pairs,
        changed=changed,
        changes=len({reason.query for reasons in record.changes.values() for reason in reasons}),
        times=time_rows(record),
        run=run_rows(record),
        refused=album.refused,
        lost=sorted(album.lost),
    )


def render(template: str, path: Path, lists: Callable[[int], Mapping[str, Any]], **values: Any) -> int:
    """Fill a template, write the page, and return its size in bytes.

    Args:
        template: Its name.
        path: The page.
        lists: Long tables of the page, with so many rows each at the most.
        values: What else the template shows.

    Raises:
        LmkError: The folder cannot be written to, or the page is too large with the shortest tables.
    """
    folder = jinja2.PackageLoader("lmk.report", "page")
    pages = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages.undefined = jinja2.StrictUndefined
    filled = pages.get_template(template)
    for most in MOST_ROWS:
        data = filled.render(lmk_version=__version__, **values, **lists(most)).encode()
        if len(data) < MOST_BYTES:
            break
    else:
        raise LmkError(
            f"The page would have {len(data):,} bytes, more than {MOST_BYTES:,}. Shorten the names of landmarks."
        )
    try:
        with atomic_path(path) as draft:
            draft.write_bytes(data)
    except OSError as error:
        raise LmkError(f"{path} cannot be written: {error.strerror}. Name another file by --out.") from error
    return len(data)


def check_queries(record: FinishedRun) -> None:
    """Refuse a run whose dev has nothing to measure.

    Raises:
        LmkError: No dev query shows a landmark.
    """
    if not (record.truth != NO_LANDMARK).any():
        raise LmkError(
            f"No dev query of {record.name} shows a landmark, so there is no {record.metric.title} to report."
        )


def check_record(record: FinishedRun, competition: Competition) -> None:
    """Refuse what cannot be reported.

    Raises:
        LmkError: No dev query shows a landmark, or the competition is not the one that the run saw.
    """
    check_queries(record)
    if competition.digest != record.run.digest:
        raise LmkError(
            f"{competition.root} has changed since {record.name} was made. Make the run again, or name the folder "
            "that it saw by --competition."
        )


def reader(record: FinishedRun, competition: Competition) -> Callable[[str], np.ndarray]:
    """A photo's id to RGB (h, w, 3) uint8, read as the run read it; UnreadablePhoto where the file is gone."""
    side = record.run.read_side

    def read(photo: str) -> np.ndarray:
        path = competition.photo(photo)
        if path is None:
            raise UnreadablePhoto(Path(photo), "no such file")
        return read_photo(path, side)

    return read


def album_of(record: FinishedRun, competition: Competition, budget: int) -> Album:
    """Pictures of a run's photos, of so many characters."""
    read = cached(reader(record, competition))
    return Album(read, Settings(**record.run.comparison), Features.of(record), budget)


def photo_counts(record: FinishedRun, competition: Competition) -> dict[int, int]:
    """A landmark to its number of training photos that can be read."""
    readable = ~np.isin(competition.train_ids, np.array(sorted(record.run.unreadable), dtype=str))
    landmarks, counts = np.unique(competition.train_landmarks[readable], return_counts=True)
    return dict(zip(landmarks.tolist(), counts.tolist(), strict=True))


def precision_table(found: Ranking) -> Table:
    """Precision at some ranks."""
    count = len(found.rows)
    places = (
        sorted({rank for rank in (1, 10, 50, 100, 200, 500, 1000, 5000, 10000) if rank < count} | {count})
        if count
        else []
    )
    return {
        "columns": ["rank", "precision", "right so far"],
        "rows": [
            [f"{place:,}", f"{found.precision[place - 1]:.3f}", f"{round(found.precision[place - 1] * place):,}"]
            for place in places
        ],
    }


def score_table(found: Histogram) -> Table:
    """Counts by outcome between scores; bins without answers are left out."""
    rows = []
    for place, (low, high) in enumerate(zip(found.edges[:-1], found.edges[1:], strict=True)):
        counts = [int(values[place]) for values in found.counts.values()]
        if any(counts):
            rows.append([f"{low:.2f} to {high:.2f}", *(f"{count:,}" for count in counts)])
    return {"columns": ["confidence", *found.counts], "rows": rows}


def calibration_table(bins: list[Bin]) -> Table:
    """The bins in numbers."""
    return {
        "columns": ["mean confidence", "answers", "right", "95 % interval"],
        "rows": [
            [f"{bin.score:.3f}", f"{bin.count:,}", f"{bin.right:.1%}", f"{bin.low:.1%} to {bin.high:.1%}"]
            for bin in bins
        ],
    }


def landmark_table(rows: list[LandmarkRow], names: dict[int, str]) -> Table:
    """Landmarks in numbers, and by name where they have one."""
    return {
        "columns": ["landmark", "training photos", "queries", "right", "share right", "wrongly named"],
        "rows": [
            [
                label(row.landmark, names),
                f"{row.photos:,}",
                f"{row.queries:,}",
                f"{row.right:,}",
                f"{row.share:.0%}" if row.queries else "",
                f"{row.false:,}",
            ]
            for row in rows
        ],
    }


def time_rows(record: FinishedRun) -> list[dict[str, Any]]:
    """Seconds of each stage when it was computed, and this time; the share of the longest for its bar."""
    spent, now = record.run.spent, record.run.seconds
    longest = max([*spent.values(), 1e-9])
    reused = set(record.run.reused)
    return [
        {
            "stage": stage,
            "spent": spent.get(stage),
            "now": now.get(stage),
            "stored": stage in reused,
            "share": spent.get(stage, 0) / longest,
        }
        for stage in _stages_in_order(record)
        if stage in spent or stage in now
    ]


def _stages_in_order(record: FinishedRun) -> list[str]:
    """Stages as they are computed: what is verified is fused after that."""
    stages = ["photos", *record.run.stages, "submission"]
    stages.insert(stages.index("fused") if "fused" in stages else -1, "verification")
    return list(dict.fromkeys(stages))


def run_rows(record: FinishedRun) -> list[tuple[str, str]]:
    """Settings and versions of the run, in words."""
    facts = record.run
    made = facts.made.replace("T", " ").removesuffix("+00:00")
    rows = {"run": record.name, "competition": facts.competition, "made": f"{made} UTC", "command": facts.command}
    settings = {
        name.replace("_", " "): _words(value)
        for name, value in facts.settings.items()
        if value not in (None, [], {}) and name != "recipe_fields"
    }
    versions = {f"version of {name}": value for name, value in facts.versions.items()}
    return list({**rows, **settings, "submission": Path(facts.submission).name, **versions}.items())


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
