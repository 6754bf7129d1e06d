"""Submissions, runs and the leaderboard as pandas tables, for people to take further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd

from lmk.kaggle.leaderboard import Team
from lmk.kaggle.records import Record
from lmk.kaggle.runs import RunFacts, facts_of
from lmk.runs import all_records
from lmk.util.files import atomic_path

SUBMISSION_COLUMNS = (
    "sent", "competition", "file", "message", "run", "stage", "models", "gap", "low", "high", "public", "private",
    "status", "error", "ref", "kernel", "digest",
)  # fmt: skip
RUN_COLUMNS = ("run", "competition", "stage", "models", "gap", "low", "high", "submission")


def submissions_frame(records: Sequence[Record]) -> pd.DataFrame:
    """A row a submission, oldest first: `SUBMISSION_COLUMNS`. `sent` is a time in UTC; `gap`, `low` and `high` are the
    dev GAP and its 95 % interval; scores that are not known are missing."""
    rows = [asdict(record) | _figures(record.dev, record.models) for record in records]
    frame = pd.DataFrame(rows, columns=list(SUBMISSION_COLUMNS))
    frame["sent"] = pd.to_datetime(frame["sent"], utc=True)
    return _with_numbers(frame, "gap", "low", "high", "public", "private")


def runs_frame(runs: Path) -> pd.DataFrame:
    """A row a run of a workspace, the newest first: `RUN_COLUMNS`; damaged records are left out.

    runs: The folder of runs, `Workspace.runs`.
    """
    rows = [_run(facts_of(record, runs)) for record in all_records(runs)]
    return _with_numbers(pd.DataFrame(rows, columns=list(RUN_COLUMNS)), "gap", "low", "high")


def _run(facts: RunFacts) -> dict[str, object]:
    named = {"run": facts.name, "competition": facts.competition, "stage": facts.stage}
    return named | _figures(facts.dev, facts.models) | {"submission": str(facts.submission)}


def leaderboard_frame(board: Sequence[Team]) -> pd.DataFrame:
    """A row a team, best first, with the fields of `Team`."""
    frame = pd.DataFrame([asdict(team) for team in board], columns=[field.name for field in fields(Team)])
    frame["moved"] = frame["moved"].astype("Int64")  # missing for a team that is new
    return frame


def _figures(dev: dict[str, float], models: Sequence[str]) -> dict[str, object]:
    return {name: dev.get(name) for name in ("gap", "low", "high")} | {"models": " ".join(models)}


def _with_numbers(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with columns of numbers, also where every value is missing."""
    return frame.astype(dict.fromkeys(columns, "float64"))


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all."""
    with atomic_path(path) as draft:
        frame.to_csv(draft, index=False)
