"""`lmk plan`: what a whole run would cost, by stage, before any photo is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from lmk.cli.complete import recipe_names
from lmk.cli.options import packaged_delf, with_defaults
from lmk.cli.output import say

if TYPE_CHECKING:
    from lmk.data.sizes import Size
    from lmk.pipeline.forecast import Cost
    from lmk.pipeline.rates import Gpu, Rates
    from lmk.util.workspace import Workspace

GIGA = 1e9


@app.command()
def plan(
    competition: CompetitionOption = DEFAULT_COMPETITION,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe", "-r", autocompletion=recipe_names, help="Recipe or recipe file; repeat it. Default: by device."
        ),
    ] = None,
    metric: MetricOption = DEFAULT_METRIC,
    gpu: Annotated[
        str, typer.Option(help="What networks could run on: t4, p100, v100, l4, a10, a100, h100 ...")
    ] = "t4",
    local_features: Annotated[
        str | None, typer.Option(help="What verifies: rootsift, delf or both. Default: as of `make-submission`.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The most epochs a stage. Default: the recipe's.")] = None,
    views: Annotated[int | None, typer.Option(help="Views a photo: 1, 12 or 22. Default: the recipe's.")] = None,
    dev: Annotated[
        Literal["auto", "folds", "holdout"], typer.Option(help="Validation split, as of `make-submission`.")
    ] = "auto",
    folds: Annotated[int, typer.Option(min=3, max=50, help="Folds, each held out in turn.")] = 5,
    dev_queries: Annotated[int, typer.Option(min=100, help="Queries of a holdout, about.")] = 10_000,
    refit: Annotated[bool, typer.Option("--refit", help="With a holdout: train again on all photos.")] = False,
    gallery: Annotated[
        int, typer.Option(min=1, max=32, help="Photos of a landmark that a query is compared with.")
    ] = 32,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes for photos and pairs.")] = 2,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Predict a whole run's time, GPU hours, disk and memory, stage by stage.

    An edition's slug needs no file of it: its published counts are known. Where the workspace holds runs, stages are
    scaled by what they took there; all other rates are named below the table with where they are from.
    """
    from lmk.metrics.registry import find_metric
    from lmk.models.recipes import find_recipe
    from lmk.pipeline.config import CANDIDATES, config_of
    from lmk.pipeline.forecast import forecast, measured_factors
    from lmk.pipeline.local_features import chosen_local_features
    from lmk.pipeline.rates import GPUS, MEASURED
    from lmk.util.errors import LmkError, did_you_mean
    from lmk.util.workspace import Workspace

    if gpu not in GPUS:
        raise LmkError(f"No GPU is known as '{gpu}'; there are {', '.join(GPUS)}.{did_you_mean(gpu, GPUS)}")
    scored_by = find_metric(metric)
    names, weights = with_defaults(competition, recipe, None)
    delf = packaged_delf(names, weights)
    kinds = chosen_local_features(local_features, weights, delf)
    for name in names:
        find_recipe(name)
    place = Workspace(workspace)
    size, fetched = find_size(competition, place)
    config = config_of(
        names,
        None,
        views,
        epochs,
        weights=weights,
        metric=scored_by.name,
        candidates=max(CANDIDATES, scored_by.depth),
        dev=dev,
        folds=folds,
        dev_queries=dev_queries,
        refit=refit,
        gallery=gallery,
        local_features=kinds,
        delf=delf,
    )
    rates, chosen = MEASURED, GPUS[gpu]
    factors = measured_factors(place, rates, chosen, jobs)
    costs = forecast(size, config, rates, chosen, jobs, fetched, factors)
    ends = where_it_ends(costs, chosen, memory_here(), disk_here(workspace))
    if json:
        told = {"competition": told_size(size), "steps": [cost.to_dict() for cost in costs], "total": total(costs)}
        known = {name: rate.to_dict() for name, rate in rates.items()}
        print_json({**told, "ends": ends, "gpu": chosen.name, "rates": known})
        return
    show(size, costs, ends, rates, chosen)


def find_size(competition: str, workspace: Workspace) -> tuple[Size, bool]:
    """A competition's size, and whether its photos are there: from its files, or an edition's published counts."""
    from lmk.data.competitions import SLUGS, find_competition
    from lmk.data.sizes import size_of_edition, size_of_tables
    from lmk.util.errors import LmkError

    try:
        name, root = find_competition(competition, workspace.competitions)
    except LmkError:
        if competition in SLUGS:
            return size_of_edition(competition), False
        raise
    return size_of_tables(name, root), True


def told_size(size: Size) -> dict[str, object]:
    """For JSON: counts alone."""
    counts = {"train": size.train, "landmarks": size.landmarks, "distractors": size.distractors, "test": size.test}
    return {"name": size.name, **counts, "kilobytes_a_photo": round(size.kilobytes, 1), "source": size.source}


def total(costs: Sequence[Cost]) -> dict[str, float]:
    """Seconds without a GPU; with one, and of these on it; bytes that stay, and beside them; bytes at once."""
    beside = sum(cost.gpu_seconds or cost.seconds for cost in costs)
    return {
        "seconds": round(sum(cost.seconds for cost in costs), 1),
        "seconds_with_gpu": round(beside, 1),
        "gpu_seconds": round(sum(cost.gpu_seconds for cost in costs), 1),
        "disk": sum(cost.disk for cost in costs),
        "scratch": max(cost.scratch for cost in costs),
        "memory": max(cost.memory for cost in costs),
    }


def where_it_ends(costs: Sequence[Cost], gpu: Gpu, memory: float, disk: float) -> list[str]:
    """Lines for people: where this machine's memory and disk end, and Kaggle's limits."""
    from lmk.pipeline.rates import SESSION_HOURS, WEEK_HOURS, runs_needed

    sums = total(costs)
    largest = max(costs, key=lambda cost: cost.memory)
    over = [cost.step for cost in costs if cost.memory > memory]
    needed = sums["disk"] + sums["scratch"]
    longest = max(costs, key=lambda cost: cost.seconds)
    hours = sums["gpu_seconds"] / 3600
    runs, weeks = runs_needed(hours, SESSION_HOURS), runs_needed(hours, WEEK_HOURS)
    beside = max((cost.memory for cost in costs if cost.gpu_seconds), default=0.0)
    return [
        f"Memory: {amount(largest.memory)} for {largest.step}, {amount(memory)} are here"
        + (f"; too little for {', '.join(over)}." if over else "."),
        f"Disk: {amount(sums['disk'])} that stay and {amount(sums['scratch'])} while a stage runs, "
        f"{amount(disk)} are free" + ("; too little." if needed > disk else "."),
        f"Time: {span(sums['seconds'])} on two cores, most of it {longest.step} ({span(longest.seconds)}).",
        f"On Kaggle: {hours:,.1f} hours of a GPU ({gpu.name}); kernels of {SESSION_HOURS:.0f} hours at the most: "
        f"{runs:,}; weeks of {WEEK_HOURS:.0f} hours: {weeks:,}; {amount(beside)} of memory beside it.",
    ]


def show(size: Size, costs: Sequence[Cost], ends: Sequence[str], rates: Rates, gpu: Gpu) -> None:
    """The tables of stages and of rates, and the lines between them."""
    from lmk.cli.tables import print_table
    from lmk.pipeline.rates import GPU_SHARE

    rows = [
        (cost.step, span(cost.seconds), span(cost.gpu_seconds) if cost.gpu_seconds else "", *amounts(cost))
        for cost in costs
    ]
    sums = total(costs)
    all_disk, all_memory = amount(sums["disk"]), amount(sums["memory"])
    rows.append(("total", span(sums["seconds"]), span(sums["gpu_seconds"]), all_disk, all_memory, ""))
    title = f"{size.name}: {size.train:,} training photos of {size.landmarks:,} landmarks, {size.distractors:,} "
    title += f"distractors, {size.test:,} test photos ({size.source})"
    print_table(title, ("step", "two cores", f"with {gpu.name}", "disk", "memory", "scaled by"), rows)
    say()
    for line in ends:
        say(line)
    say()
    known = [(rate.unit, f"{rate.value:g}", rate.source) for rate in rates.values()]
    share = f"assumed: {GPU_SHARE:.0%} of its published peak"
    known.append((f"10^12 operations a second of {gpu.name}", f"{gpu.peak * GPU_SHARE:g}", share))
    print_table("Rates", ("rate", "value", "from"), known)


def amounts(cost: Cost) -> tuple[str, str, str]:
    """Disk, memory, and what scaled a stage."""
    return amount(cost.disk) if cost.disk else "", amount(cost.memory), cost.scaled_by


def amount(size: float) -> str:
    """Bytes for people."""
    if size < GIGA / 10:
        return f"{size / 1e6:,.0f} MB"
    return f"{size / GIGA:,.1f} GB" if size < 100 * GIGA else f"{size / GIGA:,.0f} GB"


def span(seconds: float) -> str:
    """Seconds for people."""
    for least, unit in ((3 * 86400, "days"), (3 * 3600, "h"), (180, "min")):
        if seconds >= least:
            value = seconds / {"days": 86400, "h": 3600, "min": 60}[unit]
            return f"{value:,.0f} {unit}" if value >= 20 else f"{value:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def memory_here() -> float:
    """Bytes of this machine."""
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def disk_here(folder: Path) -> float:
    """Free bytes where the workspace is, or would be made."""
    import shutil

    from lmk.util.files import nearest_there

    return float(shutil.disk_usage(nearest_there(folder)).free)
