"""The record of a run: one schema, one reader and one writer of `run.json`."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lmk.util.errors import LmkError, UsageError, did_you_mean, quoted, reason_of
from lmk.util.files import write_json

log = logging.getLogger(__name__)

RECORD = "run.json"
"""The record's file in the folder of its run."""
PAGE = "report.html"
"""The run's page, beside its record."""
CHANGES = "changes.json"
"""Beside the record: answers that spreading changed, with the neighbours that changed them."""
NOT_IN_NAME = re.compile(r"[/\\\x00-\x1f\x7f]")
LONGEST_NAME = 150
"""Bytes of a run's name: file systems take 255, and a submission's draft is named after it."""
LIKENESS = "likeness of dev to test"
"""Name of adversarial validation among a record's facts."""


@dataclass(frozen=True)
class DevFigures:
    """Score of each stage on dev; None for a stage that was not run.

    Attributes:
        gap, low, high: The metric on dev by stage, and its 95 % interval.
        optimism: The metric of a stage fitted on all of dev, less the cross-fitted one, by stage.
        queries, landmark_queries: Dev queries, and those that show a known landmark.
        kind: `folds` or `holdout`.
    """

    gap: dict[str, float | None]
    low: dict[str, float | None]
    high: dict[str, float | None]
    optimism: dict[str, float]
    queries: int
    landmark_queries: int
    kind: str = "folds"


@dataclass(frozen=True)
class StepRecord:
    """One step of a run: its name, its stage, the digest of its key, its seconds, and whether it was stored."""

    name: str
    stage: str
    digest: str
    seconds: float
    stored: bool


@dataclass(frozen=True)
class RunRecord:
    """Everything that is recorded of a run.

    Attributes:
        run: Its name, and that of its folder.
        competition, root, digest, size: The competition's name, folder, digest of its photos, and counts.
        submission: The submission that it wrote.
        submitted: Stage whose answers are in it.
        settings: The configuration, as JSON values.
        made: Time (UTC, ISO 8601).
        command: The command line.
        dev: Figures on dev.
        weights: Weight of each source of the blend.
        stages: Stages with answers, in order.
        predictions: Beginning of the names of the files that hold a stage's predictions, by stage.
        steps: All steps in order.
        seconds: Time by stage, in seconds.
        spent: Time that each stage took when it was computed.
        reused: Stages whose result was stored.
        unreadable: Reason by id of each photo that cannot be read.
        versions: Versions of packages by name.
        backends: Keras and backend by network step.
        read_side: Longest side at which photos are read, in pixels.
        comparison: Settings of the comparison that pictures show.
        local_features: Folder of the stored local features, by kind, in the order of the evidence.
        facts: Further facts for people, such as the likeness of dev to test.
    """

    run: str
    competition: str
    root: str
    digest: str
    size: dict[str, Any]
    submission: str
    submitted: str
    settings: dict[str, Any]
    made: str
    command: str
    dev: DevFigures
    weights: dict[str, float]
    stages: list[str]
    predictions: dict[str, str]
    steps: list[StepRecord]
    seconds: dict[str, float]
    spent: dict[str, float]
    reused: list[str]
    unreadable: dict[str, str]
    versions: dict[str, str]
    backends: dict[str, str]
    read_side: int
    comparison: dict[str, Any]
    local_features: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def likeness(self) -> dict[str, Any] | None:
        """Whether dev resembles the test photos: `roc_area`, `dev_weighted` by stage, `queries_effective` and
        `warning`; None where it was not measured by stage."""
        found = self.facts.get(LIKENESS)
        return found if isinstance(found, dict) and isinstance(found.get("dev_weighted"), dict) else None

    @property
    def recipes(self) -> list[str]:
        """Names of the recipes."""
        return [str(name) for name in self.settings["recipes"]]

    @property
    def metric(self) -> str:
        """Name of the metric that the figures on dev are of."""
        return str(self.settings.get("metric", "gap"))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        # JSON objects are sorted when they are written, and the order of the kinds has a meaning.
        return asdict(self) | {"local_features": list(self.local_features.items())}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> RunRecord:
        """The record that `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is none.
        """
        known = {part.name for part in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        steps = [StepRecord(**step) for step in values["steps"]]
        dev = DevFigures(**values["dev"])
        local = {str(kind): str(folder) for kind, folder in values["local_features"]}
        record = cls(**given | {"dev": dev, "steps": steps, "local_features": local})
        _check(record)
        return record


def write_record(record: RunRecord, folder: Path) -> None:
    """Write a run's record into its folder, whole or not at all."""
    write_json(folder / RECORD, record.to_dict())


def read_record(path: Path) -> RunRecord:
    """The record in a file, or in a folder of a run.

    Raises:
        LmkError: The file is absent, damaged, or of another version of lmk.
    """
    if path.is_dir():
        path = path / RECORD
    try:
        record = RunRecord.of_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LmkError(
            f"{path} is no record of a run ({reason_of(error)}). Run `lmk make-submission` again: what is stored is "
            "reused."
        ) from error
    return _where_they_lie(record, path.parent.parent.parent)


def _where_they_lie(record: RunRecord, workspace: Path) -> RunRecord:
    """The record with competition and submission as they lie now.

    A record keeps paths as the run wrote them, relative ones among them. Where nothing lies there, seen from here
    or since the workspace was moved, files of the workspace that the record lies in take their place.
    """
    root, submission = Path(record.root), Path(record.submission)
    if not _is_there(root) and _is_there(found := workspace / "competitions" / root.name):
        record = replace(record, root=str(found))
    if not _is_there(submission) and _is_there(found := workspace / "submissions" / submission.name):
        record = replace(record, submission=str(found))
    return record


def _is_there(path: Path) -> bool:
    """Whether a path of a record can be found; a damaged record may hold a name that no system takes."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def all_records(runs: Path) -> list[RunRecord]:
    """Records of all runs in a folder, the newest first; damaged ones are left out and logged."""
    found = []
    for path in runs.glob(f"*/{RECORD}"):
        try:
            found.append((path.stat().st_mtime, read_record(path)))
        except (LmkError, OSError) as error:
            log.warning("%s", error)
    return [record for _, record in sorted(found, key=lambda one: (-one[0], one[1].run))]


def check_run_name(name: str) -> None:
    """Refuse a name that is no plain name of a folder: its run would lie elsewhere, or not be found again.

    Raises:
        UsageError: It is empty, hidden or too long, or holds a slash, a backslash or a control character.
    """
    if not name.strip() or name.startswith(".") or len(os.fsencode(name)) > LONGEST_NAME or NOT_IN_NAME.search(name):
        raise UsageError(
            f"--name {quoted(name)} is no name of a run, which is that of its folder: no slash, no dot in front, at "
            f"most {LONGEST_NAME} bytes."
        )


def find_record(runs: Path, name: str | None = None) -> RunRecord:
    """The record of the run of that name, of the newest run if None.

    Raises:
        LmkError: There is none; the text names the nearest.
    """
    if name is not None and (runs / name / RECORD).is_file():
        return read_record(runs / name / RECORD)
    known = [path.parent.name for path in sorted(runs.glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime)]
    if not known:
        raise LmkError(f"{runs.parent} holds no run. `lmk make-submission` makes one; --workspace names another.")
    if name is None:
        return read_record(runs / known[-1] / RECORD)
    hint = did_you_mean(name, known) or f" The last ones: {', '.join(known[-5:])}."
    raise LmkError(f"{runs} holds no run '{name}'.{hint}")


def _check(record: RunRecord) -> None:
    """Refuse values that later code could not use."""
    _ = record.recipes
    for figures in (record.dev.gap, record.dev.low, record.dev.high):
        for value in figures.values():
            if value is not None:
                float(value)
    if not all(isinstance(text, str) for text in (record.run, record.competition, record.submission, record.submitted)):
        raise TypeError("a name is no text")
    for stage in record.stages:
        _ = record.predictions[stage]
