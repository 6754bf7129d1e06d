"""What commands that run stages share: the options that describe a run, declared once and given to each of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lmk.cli.app import DEFAULT_COMPETITION, DEFAULT_WORKSPACE, CompetitionOption, SeedOption, WorkspaceOption
from lmk.cli.complete import recipe_names
from lmk.cli.console import note, progress

if TYPE_CHECKING:
    from lmk.pipeline.steps import Run

DEMO_RECIPES = ("tinymobilenetv2-gem", "tinymobilenet-gem")
CPU_RECIPES = ("mobilenetv2-gem", "mobilenet-gem")
GPU_RECIPES = ("vgg16-bottleneck", "xception-gem", "efficientnet-gem")

INNER = {"ensemble", "computes"}
"""Parameters of `open_run_from` that are no options."""


@contextmanager
def open_run_from(
    competition: CompetitionOption = DEFAULT_COMPETITION,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            "-r",
            autocompletion=recipe_names,
            help="Recipe; repeat it for several. Default: by the device.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            envvar="LMK_WEIGHTS",
            help="Of the backbones: `imagenet`, `none`, `tiny`, a file, or a folder. Default: imagenet; demo: tiny.",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=32, max=1024, help="Side of the networks' images in pixels. Default: the recipe's."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The most epochs a stage. Default: the recipe's.")] = None,
    views: Annotated[int | None, typer.Option(help="Views a photo: 1, 12 or 22. Default: the recipe's.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    folds: Annotated[int, typer.Option(min=3, max=50, help="Parts of the split, each held out in turn.")] = 5,
    dev_share: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Share of the dev queries that show no landmark.")
    ] = 0.6,
    each_network: Annotated[
        bool, typer.Option("--each-network", help="Blend retrieval by each network's descriptors alone, too.")
    ] = False,
    fusion: Annotated[
        str, typer.Option(help="How evidence is fused: learned, seed-0.85-0.15 or seed-35-inliers.")
    ] = "learned",
    precision: Annotated[
        Literal["auto", "float32", "bf16"],
        typer.Option(help="Of networks. bf16 pays for large ones on a CPU that has it; auto: by the device."),
    ] = "auto",
    runtime: Annotated[
        Literal["keras", "openvino"], typer.Option(help="Who predicts with trained networks on a CPU.")
    ] = "keras",
    local_features: Annotated[
        str | None,
        typer.Option(help="What verifies: rootsift, delf or both. Default: both; rootsift where DELF has no weights."),
    ] = None,
    delf: Annotated[
        str | None,
        typer.Option(help="Backbone that DELF trains on, or folder of a published DELF. Default: by the weights."),
    ] = None,
    delf_tune: Annotated[
        int,
        typer.Option(min=0, help="Epochs that DELF's backbone learns before its attention; 0 leaves it frozen."),
    ] = 0,
    gallery: Annotated[
        int, typer.Option(min=1, max=32, help="Photos of a landmark that a query is compared with.")
    ] = 32,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Compare with the photos most like the query, not with a seeded choice.")
    ] = False,
    enough: Annotated[
        int | None, typer.Option(min=1, help="Inliers of one photo that end a query's comparisons with its landmark.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes for photos and pairs.")] = 2,
    cluster: Annotated[
        str | None,
        typer.Option(
            envvar="LMK_CLUSTER",
            metavar="ADDRESS",
            help="Scheduler of a Dask cluster that does this in place of --jobs.",
        ),
    ] = None,
    answer_unreadable: Annotated[
        bool,
        typer.Option(
            "--answer-unreadable/--leave-unreadable-empty",
            help="Answer photos that cannot be read by the most frequent landmark, below all others.",
        ),
    ] = True,
    ensemble: bool = True,
    computes: bool = True,
) -> Iterator[Run]:
    """The run that the options describe, on a competition that was read; if it computes, alone in its workspace."""
    from lmk.data.competitions import open_competition
    from lmk.ensemble.rules import RULES
    from lmk.models.recipes import find_recipe
    from lmk.pipeline.local_features import chosen_local_features
    from lmk.pipeline.run import open_run
    from lmk.pipeline.steps import Settings
    from lmk.util.errors import LmkError, did_you_mean
    from lmk.util.workspace import Workspace

    if fusion not in RULES:
        raise LmkError(f"No fusion is named '{fusion}'; there are {', '.join(RULES)}.{did_you_mean(fusion, RULES)}")
    for name in recipe or ():
        find_recipe(name)
    recipes, weights = with_defaults(competition, recipe, weights)
    kinds = chosen_local_features(local_features, weights, delf)
    place = Workspace.open(workspace)
    settings = Settings(
        recipes=recipes,
        weights=weights,
        image_size=image_size,
        epochs=epochs,
        views=views,
        seed=seed,
        folds=folds,
        share_without_landmark=dev_share,
        ensemble=ensemble,
        each_network=each_network,
        fusion=fusion,
        precision=precision,
        runtime=runtime,
        local_features=kinds,
        delf=delf,
        delf_tune=delf_tune,
        gallery=gallery,
        nearest=nearest,
        enough=enough,
        jobs=jobs,
        answer_unreadable=answer_unreadable,
    )
    with place.alone() if computes else nullcontext(), _workers(cluster, jobs) as workers:
        settings = replace(settings, jobs=workers)
        opened = open_competition(competition, place.competitions, progress)
        yield open_run(settings, opened, place, progress, note)


def with_defaults(competition: str, recipe: list[str] | None, weights: str | None) -> tuple[tuple[str, ...], str]:
    """Recipes and weights, as they are asked for or by default; for the demo nothing is downloaded."""
    demo = competition == DEFAULT_COMPETITION and not recipe and not weights
    names = recipe or (DEMO_RECIPES if demo else default_recipes())
    return tuple(dict.fromkeys(names)), weights or ("tiny" if demo else "imagenet")


@contextmanager
def _workers(cluster: str | None, jobs: int) -> Iterator[int]:
    """How many workers the run has: processes of this machine, or those of a cluster while the block runs."""
    if cluster is None:
        yield jobs
        return
    from lmk.util.cluster import on_cluster

    with on_cluster(cluster) as threads:
        yield threads


def default_recipes() -> tuple[str, ...]:
    """What suits the device: large networks that are tuned on a GPU, frozen small ones on a CPU."""
    import shutil

    return GPU_RECIPES if shutil.which("nvidia-smi") else CPU_RECIPES


def run_command(function: Callable[..., None], computes: bool = True) -> Callable[..., None]:
    """Give a command the options of a run; its first argument becomes the run that they describe.

    A parameter `recipe` or `ensemble` of the command's own takes the place of the option and still goes into the run.
    A command that keeps nothing it computes, or runs dry, does not hold the workspace. No run is opened where a
    command's context says that a command below it does the work.
    """
    own = [
        part
        for name, part in inspect.signature(function, eval_str=True, locals={"Run": object}).parameters.items()
        if name != "run"
    ]
    names = {part.name for part in own}
    shared = inspect.signature(open_run_from, eval_str=True, locals={"Run": object}).parameters
    offered = [part for part in shared.values() if part.name not in names | INNER]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        context = given.get("context")
        if context is not None and context.invoked_subcommand:
            return
        options = {name: given[name] for name in shared if name in given}
        if isinstance(options["recipe"], str):
            options["recipe"] = [options["recipe"]]
        options["computes"] = computes and not given.get("dry_run", False)
        with open_run_from(**options) as run:
            function(run, **{name: given[name] for name in names})

    parameters = sorted([*own, *offered], key=lambda part: part.default is not inspect.Parameter.empty)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {part.name: part.annotation for part in parameters}
    del command.__wrapped__
    return command
