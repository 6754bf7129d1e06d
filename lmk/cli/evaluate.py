"""`lmk evaluate` and `lmk check`: what a submission is worth, and whether the hosts would take it."""

from pathlib import Path
from typing import Annotated

import typer

from lmk.cli.app import (
    DEFAULT_COMPETITION,
    DEFAULT_METRIC,
    DEFAULT_WORKSPACE,
    CompetitionOption,
    JsonOption,
    MetricOption,
    WorkspaceOption,
    app,
    print_json,
)
from lmk.cli.output import say

SubmissionArgument = Annotated[Path, typer.Argument(help="A submission: `id,landmarks`.")]


@app.command()
def evaluate(
    submission: SubmissionArgument,
    solution: Annotated[Path, typer.Option(help="The hosts' solution: `id,landmarks,Usage`.")],
    metric: MetricOption = DEFAULT_METRIC,
    json: JsonOption = False,
) -> None:
    """Print a submission's metric: overall with its interval, public, private, and on landmark photos alone."""
    from lmk.data.tables import read_solution
    from lmk.evaluation import evaluate as score
    from lmk.metrics.registry import find_metric
    from lmk.predictions import read_submission

    scored_by = find_metric(metric)
    found = score(read_submission(submission), read_solution(solution), metric=scored_by)
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


@app.command()
def check(
    submission: SubmissionArgument,
    competition: CompetitionOption = DEFAULT_COMPETITION,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Check that a submission answers the competition's ids as the hosts want it."""
    from lmk.cli.console import note, progress
    from lmk.evaluation import check_submission
    from lmk.pipeline.dataset import open_competition
    from lmk.predictions import NO_LANDMARK, read_submission
    from lmk.util.workspace import Workspace

    predictions = read_submission(submission)
    opened = open_competition(competition, Workspace.open(workspace).competitions, progress)
    in_order = check_submission(predictions, opened.test_ids)
    if not in_order:
        note("Its rows stand in another order than the sample's; `lmk submit` sends them in the sample's order.")
    answered = int((predictions.best != NO_LANDMARK).sum())
    if json:
        print_json(
            {"submission": str(submission), "rows": len(predictions), "answered": answered, "in_order": in_order}
        )
    else:
        say(f"{submission} is in order: {len(predictions):,} rows, {answered:,} of them answered.")
