"""`lmk make-submission`: the whole way, from a competition's files to a checked submission."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.running import run_command

if TYPE_CHECKING:
    from lmk.stages import Run


@app.command("make-submission")
@run_command
def make_submission(
    run: Run,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Blend the recipes and retrieval, verify, and fuse.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The submission. Default: one in the workspace.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the stages, what is stored, and the cost.")] = False,
    json: JsonOption = False,
) -> None:
    """Train, predict, ensemble, verify, fuse, and write a checked submission.

    What an earlier run stored is not computed again; a run that was killed goes on where it was.
    """
    from lmk.cli.tables import print_result, print_stages
    from lmk.pipeline import make_submission as run_all
    from lmk.plan import plan_stages

    if dry_run:
        stages = plan_stages(run)
        if json:
            print_json({"stages": [stage.to_dict() for stage in stages]})
        else:
            print_stages(stages)
        return
    result = run_all(run, out)
    if json:
        print_json(result.to_dict())
    else:
        print_result(result)
