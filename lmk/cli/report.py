"""`lmk report`: a run, or two side by side, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, app, competition_option, print_json
from lmk.cli.complete import run_names
from lmk.cli.output import say

if TYPE_CHECKING:
    from lmk.data.competitions import Competition
    from lmk.report.record import FinishedRun

RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="RUN", autocompletion=run_names, help="A run's name. Default: the newest run."),
]
PhotosOption = Annotated[
    str | None,
    competition_option("Where the run's photos lie. Default: where the run found them."),
]


@app.command()
def report(
    run: RunArgument = None,
    against: Annotated[
        str | None, typer.Option(autocompletion=run_names, help="Another run, to which the first is compared.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page. Default: one in the run's folder.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    competition: PhotosOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Write a run's report: one HTML page that needs no network. With --against, two runs side by side."""
    from shlex import quote

    from lmk.cli.console import next_steps, note, progress
    from lmk.report.page import write_report
    from lmk.report.record import load_run
    from lmk.report.versus import write_comparison
    from lmk.runs import PAGE
    from lmk.util.out_path import check_out
    from lmk.util.workspace import Workspace

    place = Workspace.open(workspace)
    record = load_run(place, run)
    out = None if out is None else check_out(out)
    photos = photos_of(record, competition, place.competitions)
    if against is None:
        path = out or record.folder / PAGE
        size = write_report(record, photos, path, progress)
    else:
        other = load_run(place, against)
        path = out or record.folder / f"against-{other.name}.html"
        size = write_comparison(other, record, photos, path, progress)
    if json:
        print_json({"run": record.name, "against": against, "report": str(path), "bytes": size})
    else:
        say(path)
        note(f"{size / 1e6:.1f} MB; open it in any browser.")
        if not open_page and against is None and out is None:
            next_steps(f"lmk report {quote(record.name)} --open")
    if open_page:
        typer.launch(path.resolve().as_uri())


def photos_of(record: FinishedRun, competition: str | None, competitions: Path) -> Competition:
    """The competition that a run saw: where it was then, or where the option says that it is now."""
    from lmk.cli.console import progress
    from lmk.data.competitions import read_competition
    from lmk.pipeline.dataset import open_competition
    from lmk.util.errors import LmkError

    if competition is not None:
        return open_competition(competition, competitions, progress)
    root = Path(record.run.root)
    if not root.is_dir():
        raise LmkError(
            f"The photos of {record.name} were in {root}, which is gone. Name their folder by --competition."
        )
    return read_competition(record.run.competition, root, progress)
