"""`lmk runs`: what was run, newest first, and what became of it on Kaggle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, app, competition_option, print_json
from lmk.cli.kaggle_options import DEFAULT_RECORDS, RecordsOption
from lmk.cli.run_commands import is_typed

if TYPE_CHECKING:
    from rich.table import Table

    from lmk.kaggle.records import Record
    from lmk.runs import RunRecord


@app.command()
def runs(
    context: typer.Context,
    competition: Annotated[
        str | None,
        competition_option("Only runs on this competition, by its name or folder."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The most runs to list.")] = 20,
    csv: Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write all runs into this file.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    records: RecordsOption = DEFAULT_RECORDS,
    as_json: JsonOption = False,
) -> None:
    """List the runs of the workspace, newest first: name, competition, recipes, dev GAP, submission and score."""
    from pathlib import Path
    from shlex import quote

    from lmk.cli.console import next_steps, note
    from lmk.cli.kaggle_views import stdout
    from lmk.kaggle.records import Records
    from lmk.runs import all_records

    name = Path(competition).expanduser().resolve().name if competition and Path(competition).is_dir() else competition
    known = list(all_records(workspace / "runs"))
    found = [record for record in known if name in (None, record.competition)][:limit]
    sent: dict[str, Record] = {}
    for submission in Records(records).all():  # oldest first: the newest submission of a run stays
        if submission.run:
            sent[submission.run] = submission
    if csv is not None:
        from lmk.kaggle.frames import runs_frame, write_csv

        frame = runs_frame(workspace / "runs")
        write_csv(frame, Path(csv))
        note(f"{len(frame)} runs are in {csv}.")
    if as_json:
        print_json([_facts(record, sent.get(record.run)) for record in found])
        return
    if not found:
        of = f" on {name}" if name else ""
        note(f"{workspace / 'runs'} holds no run{of}. `lmk make-submission` makes one.")
        note_others(context, known, name)
        return
    console = stdout()
    wide = _table(found, sent)
    is_narrow = console.measure(wide, options=console.options.update(max_width=1000)).maximum > console.width
    console.print(_table(found, sent, is_narrow) if is_narrow else wide)
    note_others(context, known, name)
    next_steps(f"lmk report {quote(found[0].run)} --open")


def note_others(context: typer.Context, known: Sequence[RunRecord], name: str | None) -> None:
    """Say which runs are not listed because of a competition that is remembered: nobody asked to leave them out."""
    from lmk.cli.console import note

    others = [record.competition for record in known if name not in (None, record.competition)]
    if others and not is_typed(context, "competition"):
        runs = f"{len(others)} run{'s' if len(others) != 1 else ''}"
        names = ", ".join(sorted(set(others)))
        note(f"Not listed: {runs} on other competitions ({names}); `lmk runs -c NAME` lists them.")


def _facts(record: RunRecord, submission: Record | None) -> dict[str, object]:
    """A run's row as JSON values; `submission` is None where the run was not submitted."""
    dev = record.dev
    stage = record.submitted
    return {
        "run": record.run,
        "competition": record.competition,
        "recipes": record.recipes,
        "made": record.made,
        "stage": stage,
        "dev": {
            record.metric: dev.gap.get(stage),
            "low": dev.low.get(stage),
            "high": dev.high.get(stage),
            "kind": dev.kind,
        },
        "submission": None
        if submission is None
        else {
            "ref": submission.ref,
            "status": submission.status,
            "sent": submission.sent,
            "public": submission.public,
            "private": submission.private,
        },
    }


def _table(found: list[RunRecord], sent: dict[str, Record], is_narrow: bool = False) -> Table:
    """The runs, a row each; on a narrow terminal with competition, recipes and time below the name."""
    from rich.table import Table

    from lmk.metrics.registry import find_metric

    table = Table(box=None, pad_edge=False, header_style="bold")
    names = ("run", "competition", "recipes", "made (UTC)")
    for name in (", ".join(names),) if is_narrow else names:
        # A name broken in two is not found again; on a narrow terminal all others are folded, never cut.
        table.add_column(name, no_wrap=name == "run", overflow="fold")
    others = {record.metric for record in found} - {"gap"}
    table.add_column("dev" if others else "dev GAP", justify="right", no_wrap=True)
    any_sent = any(record.run in sent for record in found)
    if any_sent:
        for name in ("public", "private"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("submitted", overflow="fold")
    for record in found:
        gap = record.dev.gap.get(record.submitted)
        submission = sent.get(record.run)
        about = [
            record.run,
            record.competition,
            ", ".join(record.recipes)
            if [record.submitted] == record.recipes
            else f"{record.submitted}: {', '.join(record.recipes)}",
            record.made[:16].replace("T", " "),
        ]
        row = [
            *(["\n".join(about)] if is_narrow else about),
            _number(gap) + (f" {find_metric(record.metric).title}" if others else ""),
        ]
        if any_sent:
            row += [
                _number(submission.public if submission else None),
                _number(submission.private if submission else None),
                f"{submission.sent[:10]} {submission.status}" if submission else "no",
            ]
        table.add_row(*row)
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"
