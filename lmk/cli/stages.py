"""`lmk train`, `ensemble`, `fuse`: the stages of `make-submission`, each by itself.

A stage runs those that it needs and that are not stored yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.complete import recipe_names
from lmk.cli.output import say, say_text
from lmk.cli.run_commands import run_command

if TYPE_CHECKING:
    from lmk.cli.options import Opened
    from lmk.pipeline.results import Answers
    from lmk.pipeline.steps import Outcome, Step

RecipeArgument = Annotated[
    str, typer.Argument(autocompletion=recipe_names, help="Recipe, or recipe file (TOML); `lmk recipes` lists them.")
]


@app.command()
@run_command
def train(
    opened: Opened,
    recipe: RecipeArgument,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            envvar="KERAS_DISTRIBUTION_NUM_PROCESSES",
            help="Processes that train each network together, on this machine or others; start this command for each.",
        ),
    ] = 1,
    process: Annotated[
        int, typer.Option(min=0, envvar="KERAS_DISTRIBUTION_PROCESS_ID", help="Which of them this is, from 0.")
    ] = 0,
    coordinator: Annotated[
        str | None,
        typer.Option(
            envvar="KERAS_DISTRIBUTION_JOB_ADDRESSES", metavar="HOST:PORT", help="Where the first of them is found."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a recipe's networks: one for each fold, and one on all photos."""
    from lmk.metrics.registry import find_metric
    from lmk.pipeline.build import build
    from lmk.pipeline.plan import announce
    from lmk.pipeline.steps import execute, networks_of
    from lmk.util.team import Team

    recipe = opened.config.recipes[0].name
    team = Team(process, processes, coordinator)
    steps = build(opened.config, opened.dataset, opened.execution, team)
    expected = announce(opened.config, opened.dataset, opened.execution, steps, [networks_of(recipe)])
    outcome = execute(steps, [networks_of(recipe)], opened.execution, expected)
    histories = outcome.results[networks_of(recipe)].histories(opened.dataset.parts)
    if json:
        folds = {part.name: "all" if part.fold is None else str(part.fold) for part in opened.dataset.parts}
        named = {folds[part]: history for part, history in histories.items()}
        print_json({"recipe": recipe, "history": named, "seconds": outcome.seconds})
        return
    from lmk.cli.console import next_steps
    from lmk.cli.tables import print_table

    rows = [
        (
            part,
            str(len(history)),
            f"{history[-1]['loss']:.4f}",
            f"{history[-1]['train_score']:.5f}",
            f"{history[-1]['dev_score']:.5f}" if "dev_score" in history[-1] else "",
        )
        for part, history in histories.items()
    ]
    title = find_metric(opened.config.metric).title
    columns = ("network", "epochs", "loss", f"{title} in training", f"{title} on dev")
    print_table(f"{recipe}: last epochs", columns, rows)
    next_steps(f"{opened.then('make-submission')}  (its networks are not trained again)")


@app.command()
@run_command
def ensemble(opened: Opened, json: JsonOption = False) -> None:
    """Blend recipes and retrieval by weights fitted on dev."""
    from lmk.pipeline.steps import ENSEMBLE

    run_to(opened, ENSEMBLE, json)


@app.command()
@run_command
def fuse(opened: Opened, json: JsonOption = False) -> None:
    """Fuse the ensemble's confidence with the evidence of verification, and spread what is fused."""
    from lmk.pipeline.build import final_step

    run_to(opened, final_step(opened.config), json)


def run_to(opened: Opened, name: str, json: bool) -> None:
    """Run the steps up to one with answers, and print its figures."""
    from lmk.pipeline.build import build
    from lmk.pipeline.plan import announce
    from lmk.pipeline.steps import execute

    steps = build(opened.config, opened.dataset, opened.execution)
    expected = announce(opened.config, opened.dataset, opened.execution, steps, [name])
    outcome = execute(steps, [name], opened.execution, expected)
    step = next(step for step in steps if step.name == name)
    _print_figures(opened, step, outcome.results[name], steps, outcome, json)


def _print_figures(
    opened: Opened, step: Step, answers: Answers, steps: list[Step], outcome: Outcome, json: bool
) -> None:
    """A step's metric on dev with its interval, and where its predictions lie."""
    from lmk.cli.console import next_steps
    from lmk.metrics.registry import find_metric
    from lmk.pipeline.recording import PHOTOS, stored_stages

    dataset = opened.dataset
    metric, truth = find_metric(opened.config.metric), dataset.dev.truth
    value, (low, high) = metric.score(answers.dev, truth), metric.interval(answers.dev, truth)
    folder = opened.execution.workspace.predictions
    files = [str(folder / f"{step.name}-{step.key.digest}.{part}.parquet") for part in ("dev", "test")]
    if json:
        done = [one for one in steps if one.name in outcome.seconds]
        reused = [PHOTOS] * dataset.known_before + stored_stages(done, outcome)
        values = {"stage": step.name, metric.name: value, "low": low, "high": high, "dev": files[0], "test": files[1]}
        print_json(values | {"queries": len(dataset.dev), "seconds": outcome.seconds, "reused": reused})
        return
    interval = f"95 % interval {low:.3f} to {high:.3f}"
    say_text(f"{step.name}: {metric.title} {value:.5f} on dev ({len(dataset.dev):,} queries, {interval})")
    say(f"Predictions of dev and test: {files[0]}, {files[1]}")
    next_steps(f"{opened.then('make-submission')}  (what is stored is not computed again)")
