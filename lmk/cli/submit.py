"""`lmk submit`: a checked file, or a kernel's version, to Kaggle, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import (
    DEFAULT_COMPETITION,
    DEFAULT_WORKSPACE,
    CompetitionOption,
    JsonOption,
    WorkspaceOption,
    app,
    print_json,
)
from lmk.cli.complete import kernel_names, submissions_or_runs
from lmk.cli.kaggle_options import (
    DEFAULT_RECORDS,
    DEFAULT_TIMEOUT,
    SCORE_SECONDS,
    RecordsOption,
    TimeoutOption,
    connect,
    kaggle_slug,
)
from lmk.cli.output import say
from lmk.cli.run_commands import is_typed

if TYPE_CHECKING:
    import numpy as np

    from lmk.kaggle.api import Client
    from lmk.kaggle.records import Record, Records


@app.command()
def submit(
    context: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="CSV|RUN", autocompletion=submissions_or_runs, help="A submission, or the run that made it."
        ),
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="What Kaggle shows beside the score.")] = "",
    competition: CompetitionOption = DEFAULT_COMPETITION,
    kernel: Annotated[
        str | None, typer.Option(autocompletion=kernel_names, help="Submit what this kernel wrote (code competitions).")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Version of the kernel; the last pushed by default.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the score is there.")] = False,
    wait_seconds: Annotated[float, typer.Option(min=1, help="Longest wait for the score.")] = SCORE_SECONDS,
    again: Annotated[bool, typer.Option("--again", help="Send a file that was sent before.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    records: RecordsOption = DEFAULT_RECORDS,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Check a submission and send it to Kaggle once, whatever breaks on the way; print how many are left today.

    A run goes to the competition that it was made for, a kernel's output to the one that the kernel attaches, unless
    --competition names another.
    """
    from lmk.kaggle.records import Records
    from lmk.kaggle.submit import wait_for_score
    from lmk.util.errors import UsageError

    if (what is None) == (kernel is None):
        raise UsageError("Name a CSV or a run to submit, or a kernel by --kernel; not both.")
    kept = Records(records)
    asked = is_typed(context, "competition")  # a remembered competition is a default only
    if kernel is not None:
        client, record = send_kernel(kernel, version, message, competition, kept, again, timeout, asked)
    else:
        client, record = send_file(str(what), message, competition, workspace, kept, again, timeout, asked)
    if wait:
        record = wait_for_score(client, kept, record, wait_seconds)
    facts = outcome(client, record)
    if as_json:
        print_json(facts)
    else:
        tell(facts)


def send_file(
    what: str,
    message: str,
    competition: str,
    workspace: Path,
    records: Records,
    again: bool,
    timeout: float,
    asked: bool = True,
) -> tuple[Client, Record]:
    """Check a CSV (or a run's) against the sample and submit it.

    asked: `competition` goes before the run's own.
    """
    from lmk.cli.console import note
    from lmk.evaluation import check_submission
    from lmk.kaggle.records import Record, digest_of_csv, git_state, now, versions
    from lmk.kaggle.runs import find_run, run_of
    from lmk.kaggle.submit import SETTLE_SECONDS, snapshot, submit_file
    from lmk.predictions import in_order, read_submission
    from lmk.util.errors import LmkError
    from lmk.util.workspace import Workspace

    place = Workspace.open(workspace)
    run = None if Path(what).is_file() else find_run(place.runs, what)
    path = run.submission if run else Path(what)
    with snapshot(path) as copy:  # what is checked is what is sent, whatever becomes of the file meanwhile
        run = run or run_of(place.runs, copy)
        competition = run.competition if run and not asked else competition
        slug = kaggle_slug(competition)
        ids = sample_ids(competition, place.competitions, run.root if run and not asked else None)
        try:
            ordered = check_submission(read_submission(copy), ids)
        except LmkError as error:
            raise LmkError(f"{path} is not sent: {str(error).replace(str(copy), str(path))}") from error
        if not ordered:
            note(f"The rows of {path} are sent in the sample's order.")
            copy.write_bytes(in_order(copy.read_bytes(), ids))
        record = Record(
            competition=slug,
            message=message or (run.name if run else path.stem),
            file=path.name,
            size=copy.stat().st_size,
            digest=digest_of_csv(copy),
            sent=now(),
            versions=versions(),
            git=git_state(),
        )
        if run:
            record.run, record.stage, record.dev = run.name, run.stage, run.dev
            record.models, record.parents = run.models, run.parents
        client = connect(timeout)
        return client, submit_file(client, records, record, copy, again, note, SETTLE_SECONDS)


def sample_ids(competition: str, competitions: Path, own_folder: Path | None = None) -> np.ndarray:
    """(n,) str, the ids that a submission to a fetched competition, or to one in a folder, must answer.

    own_folder: Where a run found the competition's files; asked last, since they may have moved.
    """
    from lmk.data.competitions import SAMPLES
    from lmk.data.tables import read_sample, read_test
    from lmk.util.errors import LmkError, did_you_mean

    places = [competitions / competition, Path(competition).expanduser(), own_folder]
    folder = next((place for place in places if place is not None and place.is_dir()), Path(competition))
    tables = [folder / name for name in (*SAMPLES, "test.csv") if (folder / name).is_file()]
    if not tables:
        hint = did_you_mean(competition, [path.name for path in competitions.glob("*")])
        raise LmkError(
            f"{folder} has no sample submission to check against.{hint} Run `lmk data fetch -c {competition}` first."
        )
    return read_test(tables[0])[0] if tables[0].name == "test.csv" else read_sample(tables[0])


def send_kernel(
    name: str,
    version: int | None,
    message: str,
    competition: str,
    records: Records,
    again: bool,
    timeout: float,
    asked: bool = True,
) -> tuple[Client, Record]:
    """Submit the output of a pushed kernel's version.

    asked: `competition` goes before the one that the kernel attaches.
    """
    import hashlib

    from lmk.cli.console import note
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.records import Record, git_state, now, versions
    from lmk.kaggle.submit import SETTLE_SECONDS, submit_kernel

    kernel = Kernel.open(name)
    pushed = kernel.pushed(version)
    full = f"{pushed.ref}/{pushed.version}"
    attached = kernel.metadata(pushed.ref.split("/")[0]).competitions
    record = Record(
        competition=kaggle_slug(attached[0] if attached and not asked else competition),
        message=message or f"{name} version {pushed.version}",
        file="submission.csv",
        size=0,
        digest=hashlib.sha256(f"{full}/submission.csv".encode()).hexdigest(),
        sent=now(),
        kernel=full,
        versions=versions(),
        git=git_state(),
    )
    client = connect(timeout)
    return client, submit_kernel(client, records, record, again=again, tell=note, settle_seconds=SETTLE_SECONDS)


def outcome(client: Client, record: Record) -> dict[str, object]:
    """The state of a submission, and how many are left today (None where Kaggle does not report it)."""
    from lmk.cli.console import note
    from lmk.util.errors import LmkError

    left = None
    try:
        left = client.limits(record.competition).allowed
    except LmkError as error:
        note(f"How many submissions are left is not known: {error}")
    return {
        "ref": record.ref,
        "competition": record.competition,
        "status": record.status,
        "public": record.public,
        "private": record.private,
        "left_today": left,
    }


def tell(facts: dict[str, object]) -> None:
    """Print an `outcome` for a person."""
    from lmk.cli.console import next_steps, note

    known = [f"{name} {facts[name]:.5f}" for name in ("public", "private") if facts[name] is not None]
    say(f"submission {facts['ref']} to {facts['competition']}: {facts['status']}")
    if known:
        say(f"  {'  '.join(known)}")
    if facts["left_today"] is not None:
        note(f"{facts['left_today']} submission{'s' if facts['left_today'] != 1 else ''} left today.")
    if facts["public"] is None:
        next_steps(f"lmk submissions --update -c {facts['competition']}")
    else:
        next_steps(
            f"lmk leaderboard -c {facts['competition']}", "lmk submissions", "lmk scores  (of runs: dev beside public)"
        )
