"""What commands that run stages share: their options, and how a run is opened from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.console import note, progress

if TYPE_CHECKING:
    from lmk.stages import Run

RecipesOption = Annotated[
    list[str] | None,
    typer.Option("--recipe", "-r", help="Recipe to run; repeat it for several. Default: what suits the device."),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        envvar="LMK_WEIGHTS",
        help="Of the backbones: `imagenet`, `none`, a file, or a folder of files. Default: imagenet; demo: none.",
    ),
]
ImageSizeOption = Annotated[
    int | None, typer.Option(min=32, max=1024, help="Side of the networks' images in pixels. Default: the recipe's.")
]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="The most epochs a stage. Default: the recipe's.")]
ViewsOption = Annotated[int | None, typer.Option(help="Views a photo: 1, 12 or 22. Default: the recipe's.")]
ShareOption = Annotated[
    float, typer.Option("--dev-share", min=0.05, max=0.95, help="Share of the dev queries that show no landmark.")
]
FoldsOption = Annotated[int, typer.Option(min=3, max=50, help="Parts of the split, each held out in turn.")]
FusionOption = Annotated[str, typer.Option(help="How evidence is fused: learned, seed-0.85-0.15 or seed-35-inliers.")]
JobsOption = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes for photos and pairs.")]
UnreadableOption = Annotated[
    bool,
    typer.Option(
        "--answer-unreadable/--leave-unreadable-empty",
        help="Answer photos that cannot be read by the most frequent landmark, below all others.",
    ),
]

CPU_RECIPES = ("mobilenetv2-gem", "mobilenet-gem")
GPU_RECIPES = ("vgg16-bottleneck", "xception-gem", "efficientnet-gem")


def open_run_from(
    competition: str,
    workspace: Path,
    recipes: list[str] | None,
    weights: str | None,
    image_size: int | None,
    epochs: int | None,
    views: int | None,
    seed: int,
    share: float,
    folds: int,
    fusion: str,
    jobs: int,
    ensemble: bool = True,
    answer_unreadable: bool = True,
) -> Run:
    """The run that the options describe, on a competition that was read."""
    from lmk.data.competitions import DEMO, open_competition
    from lmk.ensemble.rules import RULES
    from lmk.errors import LmkError
    from lmk.models.recipes import find_recipe
    from lmk.pipeline import open_run
    from lmk.stages import Settings
    from lmk.workspace import Workspace

    if fusion not in RULES:
        raise LmkError(f"No fusion is named '{fusion}'; there are {', '.join(RULES)}.")
    for name in recipes or ():
        find_recipe(name)
    place = Workspace.open(workspace)
    opened = open_competition(competition, place.competitions, progress)
    settings = Settings(
        recipes=tuple(dict.fromkeys(recipes or default_recipes())),
        weights=weights or ("none" if competition == DEMO else "imagenet"),
        image_size=image_size,
        epochs=epochs,
        views=views,
        seed=seed,
        folds=folds,
        share_without_landmark=share,
        ensemble=ensemble,
        fusion=fusion,
        jobs=jobs,
        answer_unreadable=answer_unreadable,
    )
    return open_run(settings, opened, place, progress, note)


def default_recipes() -> tuple[str, ...]:
    """What suits the device: large networks that are tuned on a GPU, frozen small ones on a CPU."""
    import shutil

    return GPU_RECIPES if shutil.which("nvidia-smi") else CPU_RECIPES
