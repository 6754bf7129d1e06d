"""`lmk make-submission`: the whole way, from a competition's files to a checked submission, and to Kaggle if asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import COMMON, KAGGLE, JsonOption, app, print_json
from lmk.cli.kaggle_options import (
    DEFAULT_RECORDS,
    DEFAULT_TIMEOUT,
    SCORE_SECONDS,
    RecordsOption,
    TimeoutOption,
    connect,
    kaggle_slug,
)
from lmk.cli.run_commands import run_command

if TYPE_CHECKING:
    from lmk.cli.options import Opened
    from lmk.pipeline.config import Config
    from lmk.pipeline.run import Result


@app.command("make-submission")
@run_command
def make_submission(
    opened: Opened,
    context: typer.Context,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble/--no-ensemble",
            rich_help_panel=COMMON,
            help="Blend the recipes and retrieval, verify, and fuse; or take the recipe that is best on dev.",
        ),
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", rich_help_panel=COMMON, help="The submission. Default: one in the workspace."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(rich_help_panel=COMMON, help="Name of the run. Default: made of its results.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", rich_help_panel=COMMON, help="Print the steps, what is stored, and the cost."),
    ] = False,
    submit_best: Annotated[
        bool,
        typer.Option(
            "--submit-best",
            rich_help_panel=COMMON,
            help="Submit the stage best on dev, however small its lead.",
        ),
    ] = False,
    submit: Annotated[
        bool, typer.Option("--submit", rich_help_panel=KAGGLE, help="Send it to Kaggle, as `lmk submit` does.")
    ] = False,
    message: Annotated[
        str, typer.Option("--message", "-m", rich_help_panel=KAGGLE, help="With --submit: shown beside the score.")
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", rich_help_panel=KAGGLE, help="With --submit: wait until the score is there.")
    ] = False,
    records: RecordsOption = DEFAULT_RECORDS,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    json: JsonOption = False,
) -> None:
    """Train, predict, ensemble, verify, fuse, and write a checked submission.

    What an earlier run stored is not computed again; a run that was killed goes on where it was.
    """
    from lmk.cli.console import next_steps, note
    from lmk.cli.tables import print_result, print_stages
    from lmk.pipeline.build import build
    from lmk.pipeline.plan import plan_steps
    from lmk.pipeline.run import make_submission as run_all
    from lmk.runs import check_run_name
    from lmk.util.out_path import check_out
    from lmk.util.text import span

    config, dataset, execution = opened.config, opened.dataset, opened.execution
    if (message or wait) and not submit:
        raise typer.BadParameter("--message and --wait belong to --submit.")
    if name is not None:
        check_run_name(name)
    if out is not None:
        out = check_out(out)
    if dry_run:
        steps = plan_steps(config, dataset, execution, build(config, dataset, execution))
        if json:
            print_json({"steps": [step.to_dict() for step in steps]})
        else:
            print_stages(steps)
            waiting = [step for step in steps if not step.stored]
            note(
                f"{len(waiting)} of {len(steps)} steps to compute, about {span(sum(step.seconds for step in waiting))}."
            )
            if waiting:
                for line in weights_to_come(config):
                    note(line)
            next_steps("the same command without --dry-run")
        return
    if submit:
        check_access(opened, timeout)
    result = run_all(config, dataset, execution, out, name, submit_best)
    values = result.to_dict()
    if not json:
        print_result(result)
        if not submit:
            next_steps(*after_run(opened, result))
    try:
        if submit:
            values["sent"] = send(opened, result, message, wait, records, timeout, json)
    finally:
        if json:  # what was made is printed, too, if it could not be sent
            print_json(values)


def weights_to_come(config: Config) -> Iterator[str]:
    """Lines about weights that the run would fetch, or miss."""
    from lmk.cli.doctor import backbone_weights

    for finding in backbone_weights([recipe.backbone for recipe in config.recipes], config.weights):
        if finding.state != "ok":
            yield f"{finding.what}: {finding.found}. {finding.remedy}"


def after_run(opened: Opened, result: Result) -> list[str]:
    """Commands that follow a run: look at its report, score it or send it, and ask it about photos."""
    from shlex import quote

    from lmk.data.competitions import SLUGS

    run, competition = quote(result.name), opened.dataset.competition
    lines = [f"lmk report {run} --open"]
    if competition.solution_path is not None:
        lines.append(f"lmk evaluate {run}")
    if competition.name in SLUGS or competition.solution_path is None:
        lines += [f"lmk check {run}", f"lmk submit {run} --wait"]
    if opened.config.like is None:
        lines.append(f"lmk predict PHOTO.jpg --run {run}")
    return lines


def check_access(opened: Opened, timeout: float) -> None:
    """Sign in and ask for the limits before hours of work: missing credentials and rules are known at once."""
    connect(timeout).limits(kaggle_slug(opened.dataset.competition.name))


def send(
    opened: Opened, result: Result, message: str, wait: bool, records: Path, timeout: float, quiet: bool
) -> dict[str, object]:
    """Send what a run made, once; gives what became of it."""
    from lmk.cli.submit import outcome, send_file, tell
    from lmk.kaggle.records import Records
    from lmk.kaggle.submit import wait_for_score

    kept, place = Records(records), str(opened.dataset.competition.root)
    path, workspace = str(result.submission), opened.execution.workspace.root
    client, record = send_file(path, message, place, workspace, kept, again=False, timeout=timeout)
    if wait:
        record = wait_for_score(client, kept, record, SCORE_SECONDS)
    values = outcome(client, record)
    if not quiet:
        tell(values)
    return values
