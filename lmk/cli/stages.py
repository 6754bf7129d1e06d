"""`lmk train`, `predict`, `ensemble`, `verify`, `fuse`: the stages of `make-submission`, each by itself.

A stage runs those that it needs and that are not stored yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.complete import recipe_names
from lmk.cli.running import run_command

if TYPE_CHECKING:
    from lmk.pipeline.steps import Run, Source

RecipeArgument = Annotated[str, typer.Argument(autocompletion=recipe_names, help="A recipe; `lmk recipes` lists them.")]


@app.command()
@run_command
def train(
    run: Run,
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
    from lmk.pipeline.run import train as run_training
    from lmk.util.team import Team

    histories = run_training(run, run.recipe(recipe), Team(process, processes, coordinator))
    if json:
        named = {"all" if fold is None else str(fold): history for fold, history in histories.items()}
        print_json({"recipe": recipe, "history": named, "seconds": run.seconds})
        return
    from lmk.cli.tables import print_table

    rows = [
        (
            "all photos" if fold is None else f"fold {fold + 1}",
            str(len(history)),
            f"{history[-1]['loss']:.4f}",
            f"{history[-1]['train_gap']:.5f}",
            f"{history[-1]['dev_gap']:.5f}" if "dev_gap" in history[-1] else "",
        )
        for fold, history in histories.items()
    ]
    print_table(f"{recipe}: last epochs", ("network", "epochs", "loss", "GAP in training", "GAP on dev"), rows)


@app.command()
@run_command
def predict(run: Run, recipe: RecipeArgument, json: JsonOption = False) -> None:
    """Predict all dev queries and test photos by a recipe; trains it first where that is not done."""
    from lmk.pipeline.run import recognize

    _tell(run, recognize(run, run.recipe(recipe)), json)


@app.command()
@run_command
def ensemble(run: Run, json: JsonOption = False) -> None:
    """Blend recipes and retrieval by weights that dev gives."""
    _tell(run, blend_of(run)[1], json)


@app.command()
@run_command
def fuse(run: Run, json: JsonOption = False) -> None:
    """Fuse the ensemble's confidence with the evidence of verification."""
    from lmk.pipeline.run import fuse as run_fusion
    from lmk.pipeline.run import verify as run_verification

    parts, blended = blend_of(run)
    _tell(run, run_fusion(run, parts, blended, run_verification(run, blended)), json)


def blend_of(run: Run) -> tuple[list[Source], Source]:
    """The parts of the ensemble, and the ensemble."""
    from lmk.pipeline.run import ensemble as run_ensemble
    from lmk.pipeline.run import recognize, retrieve

    recipes = [run.recipe(name) for name in run.settings.recipes]
    parts = [*(recognize(run, recipe) for recipe in recipes), retrieve(run, recipes)]
    return parts, run_ensemble(run, parts)


def _tell(run: Run, source: Source, json: bool) -> None:
    """A stage's dev GAP with its interval, and where its predictions lie."""
    from lmk.evaluation import gap_and_interval

    gap, low, high = gap_and_interval(source.dev, run.dev.truth)
    files = [str(path) for path in run.files(source.name, source.key)[:2]]
    if json:
        told = {"stage": source.name, "gap": gap, "low": low, "high": high, "dev": files[0], "test": files[1]}
        print_json(told | {"queries": len(run.dev), "seconds": run.seconds, "reused": run.reused})
        return
    print(f"{source.name}: GAP {gap:.5f} on dev ({len(run.dev):,} queries, 95 % interval {low:.3f} to {high:.3f})")
    print(f"Predictions of dev and test: {files[0]}, {files[1]}")
