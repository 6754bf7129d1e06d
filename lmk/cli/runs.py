"""`lmk runs`: the runs of a workspace with their dev GAP."""

from pathlib import Path
from typing import Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, app, print_json


@app.command()
def runs(
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table into this file, too.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the runs of a workspace: competition, recipes, dev GAP with its interval."""
    from lmk.cli.console import note
    from lmk.cli.tables import print_table
    from lmk.kaggle.frames import runs_frame, write_csv
    from lmk.util.workspace import Workspace

    frame = runs_frame(Workspace.open(workspace).runs)
    if csv is not None:
        write_csv(frame, csv)
        note(f"{len(frame)} runs are in {csv}.")
    rows = frame.to_dict("records")
    if as_json:
        print_json([{name: None if value != value else value for name, value in row.items()} for row in rows])  # NaN
        return
    if not rows:
        note(f"{workspace} holds no run. `lmk make-submission` makes one.")
        return
    shown = [
        (
            row["run"],
            row["competition"],
            row["models"],
            _score(row["gap"]),
            f"{_score(row['low'])} to {_score(row['high'])}",
        )
        for row in rows
    ]
    print_table(f"Runs in {workspace}", ("run", "competition", "recipes", "dev GAP", "95 % interval"), shown)


def _score(value: float) -> str:
    return "–" if value != value else f"{value:.5f}"  # NaN where there is none
