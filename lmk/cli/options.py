"""The options that describe a run, declared once: they become a `Config`, a `Dataset` and an `Execution`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmk.cli.app import (
    COMMON,
    DEFAULT_COMPETITION,
    DEFAULT_METRIC,
    DEFAULT_WORKSPACE,
    MACHINE,
    TRAINING,
    VERIFYING,
    CompetitionOption,
    MetricOption,
    SeedOption,
    WorkspaceOption,
)
from lmk.cli.complete import (
    delf_names,
    fusion_names,
    like_names,
    local_feature_names,
    recipe_names,
    retrieval_names,
    weights_names,
)
from lmk.cli.console import note, progress
from lmk.cli.run_config import config_from
from lmk.ensemble.fusion_rules import FUSIONS
from lmk.local.kinds import choices
from lmk.util.text import described
from lmk.util.workers import default_workers

if TYPE_CHECKING:
    from lmk.pipeline.config import Config, Execution
    from lmk.pipeline.dataset import Dataset
    from lmk.util.workspace import Workspace


@dataclass(frozen=True)
class Opened:
    """Inputs of a command.

    Attributes:
        config: What decides its results.
        dataset: The competition as it sees it.
        execution: How it computes.
        words: The options of the run that were typed, so that the next command can be printed whole.
    """

    config: Config
    dataset: Dataset
    execution: Execution
    words: str = ""

    def then(self, command: str, *further: str) -> str:
        """A command line of `command` with the options that were typed and `further` ones."""
        return " ".join(filter(None, ("lmk", command, self.words, *further)))


@contextmanager
def open_run(
    competition: CompetitionOption = DEFAULT_COMPETITION,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            "-r",
            autocompletion=recipe_names,
            rich_help_panel=COMMON,
            help="Recipe or recipe file (TOML); repeat it for several. Default: what suits the device.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            envvar="LMK_WEIGHTS",
            autocompletion=weights_names,
            rich_help_panel=COMMON,
            help="Backbone weights: `imagenet`, `none`, `tiny`, a file, or a folder. Default: imagenet; tiny for "
            "recipes of tiny backbones.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    metric: MetricOption = DEFAULT_METRIC,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=1024,
            rich_help_panel=TRAINING,
            help="Side of the networks' images, in pixels. Default: by recipe.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=TRAINING, help="Most epochs of a training stage. Default: by recipe."),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(rich_help_panel=TRAINING, help="Views of a photo: 1, 12 or 22. Default: by recipe."),
    ] = None,
    dev: Annotated[
        Literal["auto", "folds", "holdout"],
        typer.Option(
            rich_help_panel=TRAINING,
            help="Validation split: every fold in turn, or one held-out part. auto: holdout above 20,000 photos.",
        ),
    ] = "auto",
    folds: Annotated[
        int, typer.Option(min=3, max=50, rich_help_panel=TRAINING, help="Folds, each held out in turn.")
    ] = 5,
    dev_queries: Annotated[
        int, typer.Option(min=100, rich_help_panel=TRAINING, help="Queries of a holdout, about.")
    ] = 10_000,
    refit: Annotated[
        bool,
        typer.Option("--refit", rich_help_panel=TRAINING, help="With a holdout: train again on all photos."),
    ] = False,
    dev_share: Annotated[
        float,
        typer.Option(
            min=0.05, max=0.95, rich_help_panel=TRAINING, help="Share of the dev queries that show no landmark."
        ),
    ] = 0.6,
    each_network: Annotated[
        bool,
        typer.Option(
            "--each-network", rich_help_panel=TRAINING, help="Blend retrieval by each network's descriptors alone, too."
        ),
    ] = False,
    ridge: Annotated[
        bool,
        typer.Option(
            "--ridge/--no-ridge",
            rich_help_panel=TRAINING,
            help="Blend a ridge head over all networks' descriptors, too, or not.",
        ),
    ] = True,
    retrieval: Annotated[
        str,
        typer.Option(
            autocompletion=retrieval_names,
            rich_help_panel=TRAINING,
            help="How landmarks are ranked by nearest photos: knn, or as published a-b-c or cosine-times-logit.",
        ),
    ] = "knn",
    like: Annotated[
        str | None,
        typer.Option(
            autocompletion=like_names,
            rich_help_panel=COMMON,
            help="Follow a published system to the letter: vgg16-delf35 or xception-delf32 (`lmk recipes`). One "
            "network, DELF, its decision, nothing else; -r names another network.",
        ),
    ] = None,
    passes: Annotated[
        int,
        typer.Option(
            min=1, rich_help_panel=VERIFYING, help="With --like xception-delf32: passes with other random photos."
        ),
    ] = 1,
    divisor: Annotated[
        Literal["dev", "batch"],
        typer.Option(
            rich_help_panel=VERIFYING,
            help="Divisor of seed-0.85-0.15: the most inliers on dev, or among the photos answered, as published.",
        ),
    ] = "dev",
    comparison: Annotated[
        Literal["default", "published"],
        typer.Option(
            rich_help_panel=VERIFYING, help="How two photos are compared: lmk's way, or as published with DELF."
        ),
    ] = "default",
    fusion: Annotated[
        str,
        typer.Option(
            autocompletion=fusion_names,
            rich_help_panel=VERIFYING,
            help=f"Fusion rule: {described(FUSIONS)}.",
        ),
    ] = "learned",
    spread: Annotated[
        bool,
        typer.Option(
            "--spread/--no-spread",
            rich_help_panel=VERIFYING,
            help="Let photos that show the same place answer alike, or answer each photo alone.",
        ),
    ] = True,
    local_features: Annotated[
        str | None,
        typer.Option(
            autocompletion=local_feature_names,
            rich_help_panel=VERIFYING,
            help=f"Local features: {', '.join(choices())}, or several with commas between. Default: both, "
            "which are rootsift and delf; where DELF has no weights rootsift, and xfeat if that has some.",
        ),
    ] = None,
    delf: Annotated[
        str | None,
        typer.Option(
            autocompletion=delf_names,
            rich_help_panel=VERIFYING,
            help="Backbone that DELF trains on, or folder of a published DELF. Default: by the weights.",
        ),
    ] = None,
    delf_tune: Annotated[
        int,
        typer.Option(
            min=0,
            rich_help_panel=VERIFYING,
            help="Epochs in which DELF's backbone learns before its attention; 0 leaves it frozen.",
        ),
    ] = 0,
    delf_attention: Annotated[
        Literal["normalized", "published"],
        typer.Option(
            rich_help_panel=VERIFYING,
            help="What DELF's attention learns from: vectors of a fixed length, or their mean as it is, as published.",
        ),
    ] = "normalized",
    gallery: Annotated[
        int,
        typer.Option(
            min=1, max=32, rich_help_panel=VERIFYING, help="Photos of a landmark that a query is compared with."
        ),
    ] = 32,
    nearest: Annotated[
        bool,
        typer.Option(
            "--nearest",
            rich_help_panel=VERIFYING,
            help="Compare with the photos most like the query, not with a seeded choice.",
        ),
    ] = False,
    most_features: Annotated[
        int | None,
        typer.Option(
            min=20, rich_help_panel=VERIFYING, help="Most local features of a photo. Default: by kind, 800 or 1,000."
        ),
    ] = None,
    pairs: Annotated[
        int,
        typer.Option(
            min=1000,
            rich_help_panel=VERIFYING,
            help="Most pairs of photos compared for queries; above it fewer photos, then fewer landmarks a query.",
        ),
    ] = 1_000_000,
    enough: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=VERIFYING,
            help="Inliers of one photo that end a query's comparisons with its landmark.",
        ),
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bf16"],
        typer.Option(rich_help_panel=MACHINE, help="Number format of networks; auto: what suits the device."),
    ] = "auto",
    runtime: Annotated[
        Literal["keras", "openvino"], typer.Option(rich_help_panel=MACHINE, help="Inference engine on a CPU.")
    ] = "keras",
    disk: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=MACHINE,
            help="Most disk for stored features, such as 18GB. Default: what is free less a tenth; 18GB in a kernel.",
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            rich_help_panel=MACHINE,
            show_default=False,
            help="Threads and processes for photos and pairs. Default: one a core, 16 at the most.",
        ),
    ] = default_workers(),
    cluster: Annotated[
        str | None,
        typer.Option(
            envvar="LMK_CLUSTER",
            metavar="ADDRESS",
            rich_help_panel=MACHINE,
            help="Scheduler of a Dask cluster that does this in place of --jobs.",
        ),
    ] = None,
    stop_after: Annotated[
        str | None,
        typer.Option(
            envvar="LMK_STOP_AFTER",
            metavar="TIME",
            rich_help_panel=MACHINE,
            help="End in good order after this time (11h30m, 45m, 90s), with exit code 75; the same command goes on.",
        ),
    ] = None,
    checkpoint_minutes: Annotated[
        float,
        typer.Option(min=0.01, rich_help_panel=MACHINE, help="Minutes between checkpoints within a training epoch."),
    ] = 10.0,
    keep_stale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP",
            rich_help_panel=MACHINE,
            help="Take the stored result of a step although its code has changed; repeat it for several.",
        ),
    ] = None,
    unreadable: Annotated[
        Literal["last", "zero", "empty"] | None,
        typer.Option(
            rich_help_panel=COMMON,
            help="Answer of photos that cannot be read: the most frequent landmark below all others, that with "
            "confidence 0, or none. Default: last; what the system did with --like; empty with seed-35-inliers.",
        ),
    ] = None,
    ensemble: bool = True,
    computes: bool = True,
) -> Iterator[Opened]:
    """The run that the options describe, on a competition that was read; alone in its workspace if it computes."""
    given = dict(locals())
    from lmk.data.sizes import size_of
    from lmk.pipeline.budget import changes, within_budget
    from lmk.pipeline.config import Execution
    from lmk.pipeline.dataset import open_competition, open_dataset
    from lmk.util.stopping import Stop, parse_duration
    from lmk.util.workspace import Workspace

    asked = config_from(given)
    place = Workspace.open(workspace)
    stop = Stop(parse_duration(stop_after) if stop_after else None)
    with place.alone() if computes else nullcontext(), _workers(cluster, jobs) as workers, stop.listening():
        execution = Execution(place, workers, progress, note, stop, checkpoint_minutes)
        _say_that_it_is_the_demo(competition, place)
        opened = open_competition(competition, place.competitions, progress)
        config = within_budget(asked, size_of(opened), disk_budget(disk, place.stores))
        for line in changes(asked, config):
            note(line)
        yield Opened(config, open_dataset(config, opened, execution), execution)


def _say_that_it_is_the_demo(competition: str, place: Workspace) -> None:
    """Print which other competitions are here before the demo is drawn: a person may have forgotten `-c`."""
    from lmk.data.competitions import competitions_here

    here = competitions_here(place.competitions)
    if competition == DEFAULT_COMPETITION and here and DEFAULT_COMPETITION not in here:
        note(f"This is the demo. {place.competitions} holds {', '.join(here)}, to be named by -c.")


def disk_budget(disk: str | None, stores: Path) -> float:
    """Bytes for stored features: what `--disk` says, or what there is.

    Raises:
        LmkError: It is no size.
    """
    from lmk.util.disk import disk_for, parse_size

    return disk_for(stores) if disk is None else parse_size(disk)


@contextmanager
def _workers(cluster: str | None, jobs: int) -> Iterator[int]:
    """How many workers the run has: processes of this machine, or those of a cluster while the block runs."""
    if cluster is None:
        yield jobs
        return
    from lmk.util.cluster import on_cluster

    with on_cluster(cluster) as threads:
        yield threads
