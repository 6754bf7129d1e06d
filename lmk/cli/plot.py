"""`lmk plot`: the report's charts as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, WorkspaceOption, app
from lmk.cli.output import say
from lmk.cli.report import PhotosOption, RunArgument, photos_of

if TYPE_CHECKING:
    from lmk.report.record import FinishedRun

plot = typer.Typer(help="Draw a run's charts into files: PNG, PDF or SVG.", no_args_is_help=True)
app.add_typer(plot, name="plot")

OutOption = Annotated[Path, typer.Option("--out", "-o", help="The file, .png, .pdf or .svg.")]


@plot.command()
def gap(out: OutOption, run: RunArgument = None, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Draw GAP by stage with intervals, and precision against rank."""
    _draw("gap", run, out, workspace)


@plot.command()
def calibration(out: OutOption, run: RunArgument = None, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Draw the share of right answers against their confidence."""
    _draw("calibration", run, out, workspace)


@plot.command()
def scores(out: OutOption, run: RunArgument = None, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Draw histograms of confidence: right answers, wrong ones, queries without a landmark."""
    _draw("scores", run, out, workspace)


@plot.command()
def matches(
    out: OutOption,
    run: RunArgument = None,
    query: Annotated[str | None, typer.Option(help="A dev query's photo. Default: the one with most inliers.")] = None,
    competition: PhotosOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Draw a query beside the gallery photo that bears its answer out best, with a line for each inlier."""
    from lmk.data.names import label, read_names
    from lmk.local.compare import Settings
    from lmk.report.examples import best_pair
    from lmk.report.figures import matches_figure, save_figure
    from lmk.report.page import reader
    from lmk.report.pictures import Features, matched
    from lmk.report.record import load_run
    from lmk.util.errors import LmkError
    from lmk.util.workspace import Workspace

    place = Workspace.open(workspace)
    record = load_run(place, run)
    photo, other, landmark = best_pair(record, query)
    seen = photos_of(record, competition, place.competitions)
    read = reader(record, seen)
    photos = [read(photo), read(other)]
    features = Features.of(record)([photo, other], photos)
    if features is None:
        raise LmkError(f"The local features of {record.name} are gone. Run `lmk make-submission` again.")
    picture, comparison = matched(photos[0], photos[1], features, Settings(**record.run.comparison))
    named = label(landmark, read_names(seen.root))
    title = f"query {photo}, photo {other} of landmark {named}: {len(comparison.inliers)} inliers"
    save_figure(matches_figure(picture, title), out)
    _told(record, out)


def _draw(kind: str, run: str | None, out: Path, workspace: Path) -> None:
    from lmk.report.figures import FIGURES, save_figure
    from lmk.report.page import check_queries
    from lmk.report.record import load_run
    from lmk.util.workspace import Workspace

    record = load_run(Workspace.open(workspace), run)
    check_queries(record)
    save_figure(FIGURES[kind](record), out)
    _told(record, out)


def _told(record: FinishedRun, out: Path) -> None:
    from shlex import quote

    from lmk.cli.console import next_steps, note

    say(out)
    note(f"Drawn from {record.name}.")
    next_steps(f"lmk report {quote(record.name)} --open")
