"""`lmk evaluate` and `lmk check`: what a submission is worth, and whether the hosts would take it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import (
    COMMON,
    DEFAULT_METRIC,
    DEFAULT_WORKSPACE,
    JsonOption,
    MetricOption,
    WorkspaceOption,
    app,
    competition_option,
    print_json,
)
from lmk.cli.complete import submissions_or_runs
from lmk.cli.output import say, say_text
from lmk.cli.run_commands import is_typed

if TYPE_CHECKING:
    from lmk.runs import RunRecord
    from lmk.util.workspace import Workspace

SubmissionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CSV|RUN",
        autocompletion=submissions_or_runs,
        help="A submission (`id,landmarks`), or the run that made it. Default: the newest run.",
    ),
]
AnswersOption = Annotated[
    str | None,
    competition_option("The submission's competition. Default: the run's.", rich_help_panel=COMMON),
]


@dataclass(frozen=True)
class Named:
    """A submission that a person named.

    Attributes:
        path: Its file.
        run: The run that made it, None where that is not known.
        name, root: The competition's name and folder.
    """

    path: Path
    run: RunRecord | None
    name: str
    root: Path


def find_submission(what: str | None, competition: str | None, place: Workspace, asked: bool = True) -> Named:
    """The submission that `what`, a file or a run's name, stands for; of the newest run if None.

    Args:
        what: The file or the run.
        competition: Name or folder of a competition.
        place: The workspace.
        asked: Whether that competition was asked for, and goes before the run's; a remembered one does not.

    Raises:
        LmkError: There is none, or nothing says which competition it belongs to.
    """
    from lmk.data.competitions import find_competition
    from lmk.runs import all_records, find_record
    from lmk.util.errors import LmkError, UsageError

    is_file = what is not None and (Path(what).is_file() or what.endswith(".csv"))
    run: RunRecord | None = None
    if not is_file:
        run = find_record(place.runs, what)
        path = Path(run.submission)
    else:
        path = Path(str(what)).expanduser()
        if not path.is_file():
            raise LmkError(f"{path} does not exist. Name a submission or a run; `lmk runs` lists the runs.")
        made = (one for one in all_records(place.runs) if Path(one.submission).resolve() == path.resolve())
        run = next(made, None)
    if competition is not None and (asked or run is None):
        return Named(path, run, *find_competition(competition, place.competitions))
    if run is None:
        raise UsageError(f"No run in {place.runs} made {path}, so name its competition by --competition.")
    return Named(path, run, run.competition, Path(run.root))


@app.command()
def evaluate(
    context: typer.Context,
    submission: SubmissionArgument = None,
    solution: Annotated[
        Path | None, typer.Option(help="The hosts' solution: `id,landmarks,Usage`. Default: the competition's own.")
    ] = None,
    competition: AnswersOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    metric: MetricOption = DEFAULT_METRIC,
    json: JsonOption = False,
) -> None:
    """Print a submission's metric: overall with its interval, public, private, and on landmark photos alone."""
    from lmk.cli.console import next_steps, note
    from lmk.data.tables import read_solution
    from lmk.evaluation import evaluate as score
    from lmk.metrics.registry import find_metric
    from lmk.predictions import read_submission
    from lmk.util.workspace import Workspace

    scored_by = find_metric(metric)
    if solution is None or submission is None or not Path(submission).is_file():
        named = find_submission(submission, competition, Workspace(workspace), is_typed(context, "competition"))
        path, truth = named.path, solution or find_solution(named)
        note(f"{path} against {truth}")
    else:
        named, path, truth = None, Path(submission), solution
    found = score(read_submission(path), read_solution(truth), metric=scored_by)
    if json:
        print_json(found.to_dict())
        return
    say(f"{scored_by.title:<19}{found.gap:.5f}  (95 % interval {found.low:.5f} to {found.high:.5f})")
    for name, value in (("public", found.gap_public), ("private", found.gap_private)):
        say(f"  {name:<17}{'none shows a landmark' if value is None else format(value, '.5f')}")
    say(f"  landmark photos  {found.gap_landmark_only:.5f}")
    if scored_by.name != "top-1":
        say(f"Top-1              {found.top1:.5f}")
    say(f"{found.queries:,} queries, {found.landmark_queries:,} of them show a landmark")
    if named is not None and named.run is not None:
        next_steps(f"lmk report {named.run.run} --open")


def find_solution(named: Named) -> Path:
    """The solution in the competition's folder.

    Raises:
        LmkError: It has none.
    """
    from lmk.data.competitions import SOLUTIONS
    from lmk.util.errors import LmkError

    found = next((named.root / name for name in SOLUTIONS if (named.root / name).is_file()), None)
    if found is None:
        raise LmkError(
            f"{named.root} holds no {SOLUTIONS[0]}: {named.name} does not say what its test photos show. Name the "
            "hosts' solution by --solution, or see what dev says: `lmk report`."
        )
    return found


@app.command()
def check(
    context: typer.Context,
    submission: SubmissionArgument = None,
    competition: AnswersOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Check that a submission answers the competition's ids as the hosts want it."""
    from lmk.cli.console import next_steps, note, progress
    from lmk.data.competitions import SOLUTIONS
    from lmk.evaluation import check_submission
    from lmk.pipeline.dataset import open_competition
    from lmk.predictions import NO_LANDMARK, read_submission
    from lmk.util.workspace import Workspace

    place = Workspace.open(workspace)
    asked = is_typed(context, "competition")
    named = find_submission(submission, competition, place, asked)
    predictions = read_submission(named.path)
    wanted = competition if competition is not None and (asked or named.run is None) else str(named.root)
    opened = open_competition(wanted, place.competitions, progress)
    in_order = check_submission(predictions, opened.test_ids)
    if not in_order:
        note("Its rows stand in another order than the sample's; `lmk submit` sends them in the sample's order.")
    answered = int((predictions.best != NO_LANDMARK).sum())
    if json:
        rows = {"rows": len(predictions), "answered": answered, "in_order": in_order}
        print_json({"submission": str(named.path), **rows})
        return
    say_text(f"{named.path} can be submitted: {len(predictions):,} rows, {answered:,} of them answered.")
    run = named.run.run if named.run is not None else str(named.path)
    solved = any((named.root / name).is_file() for name in SOLUTIONS)
    next_steps(f"lmk evaluate {run}" if solved else f"lmk submit {run} --wait")
