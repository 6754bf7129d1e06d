"""`lmk verify`: evidence for what the ensemble proposes, and the picture of one comparison."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.output import say
from lmk.cli.run_commands import run_command

if TYPE_CHECKING:
    from lmk.cli.options import Opened

verify = typer.Typer(help="Geometric verification by local features.", invoke_without_command=True)
app.add_typer(verify, name="verify")


@verify.callback()
@run_command
def verify_all(opened: Opened, context: typer.Context, json: JsonOption = False) -> None:
    """Verify the landmarks that the ensemble proposes, and print how well the evidence separates right from wrong."""
    from sklearn.metrics import roc_auc_score

    from lmk.pipeline.build import build
    from lmk.pipeline.building.proposals import proposals_of, proposing_step
    from lmk.pipeline.plan import announce
    from lmk.pipeline.steps import VERIFICATION, execute
    from lmk.util.errors import LmkError

    steps = build(opened.config, opened.dataset, opened.execution)
    targets = [proposing_step(opened.config), VERIFICATION]
    expected = announce(opened.config, opened.dataset, opened.execution, steps, targets)
    outcome = execute(steps, targets, opened.execution, expected)
    blended, evidence = proposals_of(opened.config, outcome.results), outcome.results[VERIFICATION].dev
    right = blended.dev.best == opened.dataset.dev.truth
    if right.all() or not right.any():
        raise LmkError(f"{int(right.sum())} of {len(right)} first proposals are right on dev: nothing to separate.")
    area = {
        kind: {name: float(roc_auc_score(right, values[:, 0])) for name, values in one.proposals().items()}
        for kind, one in evidence.items()
    }
    compared = {kind: int(one.compared.sum()) for kind, one in evidence.items()}
    if json:
        values = {"roc_area": area, "comparisons": compared, "queries": len(right), "seconds": outcome.seconds}
        print_json(values)
        return
    from lmk.cli.console import next_steps
    from lmk.cli.tables import print_table

    kinds = list(area)
    print_table(
        f"Evidence for the first proposal on dev: {len(right):,} queries, {sum(compared.values()):,} comparisons",
        ("evidence", *(f"ROC area by {kind}, right against wrong" for kind in kinds)),
        [(name, *(f"{area[kind][name]:.4f}" for kind in kinds)) for name in area[kinds[0]]],
    )
    next_steps(
        f"{opened.then('make-submission')}  (what is stored is not computed again)",
        opened.then("verify show QUERY GALLERY") + "  (two photos by their ids)",
    )


@verify.command()
@partial(run_command, computes=False)
def show(
    opened: Opened,
    query: Annotated[str, typer.Argument(help="Id of a photo of the competition.")],
    other: Annotated[str, typer.Argument(metavar="GALLERY", help="Id of another one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, PNG or JPEG.")] = Path("matches.png"),
) -> None:
    """Draw two photos side by side and the inliers between them."""
    from lmk.cli.console import next_steps
    from lmk.pipeline.build import comparison_of
    from lmk.pipeline.verify import draw_comparison
    from lmk.util.errors import LmkError

    competition = opened.dataset.competition
    for name in (query, other):
        if competition.photo(name) is None:
            raise LmkError(f"{competition.name} has no photo '{name}'. Ids stand in its CSV files.")
    comparison = comparison_of(opened.config, opened.dataset, opened.execution)
    inliers = draw_comparison(opened.dataset.read, comparison, query, other, out)
    say(f"{inliers} inliers: {out}")
    next_steps(*after_picture(opened))


def after_picture(opened: Opened) -> list[str]:
    """What to look at after two photos: the report of the competition's newest run, or how to make a run."""
    from shlex import quote

    from lmk.runs import all_records

    name = opened.dataset.competition.name
    runs = [record for record in all_records(opened.execution.workspace.runs) if record.competition == name]
    if not runs:
        return [opened.then("make-submission")]
    return [f"lmk report {quote(max(runs, key=lambda record: record.made).run)} --open  (such pairs of its mistakes)"]
