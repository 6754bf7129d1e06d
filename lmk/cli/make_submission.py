"""`lmk make-submission`: the whole way, from a competition's files to a checked submission, and to Kaggle if asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.kaggle_options import (
    DEFAULT_RECORDS,
    DEFAULT_TIMEOUT,
    SCORE_SECONDS,
    RecordsOption,
    TimeoutOption,
    connect,
    kaggle_slug,
)
from lmk.cli.running import run_command

if TYPE_CHECKING:
    from lmk.pipeline.outcome import Result
    from lmk.pipeline.steps import Run


@app.command("make-submission")
@run_command
def make_submission(
    run: Run,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Blend the recipes and retrieval, verify, and fuse.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The submission. Default: one in the workspace.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the stages, what is stored, and the cost.")] = False,
    submit: Annotated[bool, typer.Option("--submit", help="Send it to Kaggle, as `lmk submit` does.")] = False,
    message: Annotated[str, typer.Option("--message", "-m", help="With --submit: shown beside the score.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="With --submit: wait until the score is there.")] = False,
    records: RecordsOption = DEFAULT_RECORDS,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    json: JsonOption = False,
) -> None:
    """Train, predict, ensemble, verify, fuse, and write a checked submission.

    What an earlier run stored is not computed again; a run that was killed goes on where it was.
    """
    from lmk.cli.tables import print_result, print_stages
    from lmk.pipeline.plan import plan_stages
    from lmk.pipeline.run import make_submission as run_all

    if (message or wait) and not submit:
        raise typer.BadParameter("--message and --wait belong to --submit.")
    if dry_run:
        stages = plan_stages(run)
        if json:
            print_json({"stages": [stage.to_dict() for stage in stages]})
        else:
            print_stages(stages)
        return
    if submit:
        knock(run, timeout)
    result = run_all(run, out)
    told = result.to_dict()
    if not json:
        print_result(result)
    try:
        if submit:
            told["submitted"] = send(run, result, message, wait, records, timeout, json)
    finally:
        if json:  # what was made is told, too, if it could not be sent
            print_json(told)


def knock(run: Run, timeout: float) -> None:
    """Sign in and ask for the limits before hours of work: missing credentials and rules are known at once."""
    connect(timeout).limits(kaggle_slug(run.competition.name))


def send(
    run: Run, result: Result, message: str, wait: bool, records: Path, timeout: float, quiet: bool
) -> dict[str, object]:
    """Send what a run made, once; gives what became of it."""
    from lmk.cli.submit import outcome, send_file, tell
    from lmk.kaggle.records import Records
    from lmk.kaggle.submit import wait_for_score

    kept, place = Records(records), str(run.competition.root)
    path, workspace = str(result.submission), run.workspace.root
    client, record = send_file(path, message, place, workspace, kept, again=False, timeout=timeout)
    if wait:
        record = wait_for_score(client, kept, record, SCORE_SECONDS)
    told = outcome(client, record)
    if not quiet:
        tell(told)
    return told
