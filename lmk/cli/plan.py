"""`lmk plan`: what a whole run would cost, by stage, before any photo is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import COMMON, JsonOption, app, print_json
from lmk.cli.complete import gpu_names
from lmk.cli.make_submission import make_submission
from lmk.cli.options import disk_budget
from lmk.cli.output import say, say_text
from lmk.cli.run_commands import Asked, command_of, config_command, default_of
from lmk.util.text import span

if TYPE_CHECKING:
    from lmk.data.sizes import Size
    from lmk.pipeline.costs import Cost
    from lmk.pipeline.fit import Fit
    from lmk.pipeline.rates import Gpu, Rates
    from lmk.util.workspace import Workspace

GIGA = 1e9


@app.command()
@partial(config_command, without_effect=make_submission)
def plan(
    asked: Asked,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble/--no-ensemble", rich_help_panel=COMMON, help="Blend, verify and fuse; or recipes alone."
        ),
    ] = True,
    gpu: Annotated[
        str,
        typer.Option(
            autocompletion=gpu_names,
            rich_help_panel=COMMON,
            help="Device of the networks: t4, t4x2, p100, v100, l4, a100, h100 ...",
        ),
    ] = "t4",
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=COMMON,
            help="Find the largest image size, views, epochs, dev queries and gallery that take no longer with the GPU "
            "(9h, 30h) and fit --disk, and print the command; options that are given stay.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Predict a whole run's time, GPU hours, disk and memory, stage by stage.

    It takes the options of `make-submission`.
    An edition's slug needs no file of it: its published counts are known. Where the workspace holds runs, stages are
    scaled by what they took there; `-v` lists all other rates with where they are from.
    """
    from lmk.cli.console import next_steps
    from lmk.pipeline.budget import changes, within_budget
    from lmk.pipeline.fit import Limits
    from lmk.pipeline.fit import fit as find_fit
    from lmk.pipeline.forecast import forecast, measured_factors
    from lmk.pipeline.rates import GPU_CORES, GPUS, MEASURED
    from lmk.util.errors import UsageError, did_you_mean
    from lmk.util.stopping import parse_duration
    from lmk.util.workspace import Workspace

    if gpu not in GPUS:
        raise UsageError(f"No GPU is known as '{gpu}'; there are {', '.join(GPUS)}.{did_you_mean(gpu, GPUS)}")
    options, place = asked.options, Workspace(asked.options["workspace"])
    size, fetched = find_size(options["competition"], place)
    rates, device, jobs = MEASURED, GPUS[gpu], options["jobs"]
    disk = disk_budget(options["disk"], place.stores)
    factors = measured_factors(place, rates, device, jobs)
    facts: dict[str, object] = {"competition": told_size(size)}
    if fit is None:
        config = within_budget(asked.config, size, disk)
        lines = changes(asked.config, config)
        costs = forecast(size, config, rates, device, jobs, fetched, factors)
    else:
        fixed = {name: options[name] for name in FITTED if options[name] != default_of(name)}
        # Beside a GPU of Kaggle's are so many cores, whatever this machine has.
        limits = Limits(parse_duration(fit), disk, device, max(jobs, GPU_CORES))
        found = find_fit(size, asked.config, fixed, limits, rates, device, factors)
        costs, fetched = found.costs, True
        command = command_of({**options, **found.options, "jobs": limits.jobs})
        lines = [*changes(found.asked, found.config), *fit_lines(found, fit), f"lmk make-submission {command}"]
        facts |= {"command": f"lmk make-submission {command}", "lost": dict(found.lost)}
    ends = where_it_ends(costs, device, memory_here(), disk)
    if json:
        facts |= {"steps": [cost.to_dict() for cost in costs], "total": total(costs), "changed": lines}
        known = {name: rate.to_dict() for name, rate in rates.items()}
        print_json({**facts, "ends": ends, "gpu": device.name, "rates": known})
        return
    show(size, costs, [*ends, *lines], rates, device)
    if fit is None:
        words = f"make-submission {command_of(options)}".strip()
        next_steps(f"lmk {words}" if fetched else f"lmk data fetch -c {options['competition']}")


FITTED = ("image_size", "views", "epochs", "dev_queries", "gallery")
"""Options that `--fit` chooses unless they are given."""


COSTS = {
    "image_size": "about {lost:.3f} of GAP, as kNN lost on provence",
    "views": "about {lost:.3f} of GAP, as a head lost on provence",
    "epochs": "about {lost:.3f} of GAP, as a frozen network lost on provence; of a tuned one it was not measured",
    "dev_queries": "no GAP, but a wider interval",
    "gallery": "about {lost:.3f} of GAP, as on a part of world",
}
"""Cost of a lower value, for people; where the numbers are from, `lmk.pipeline.fit` says."""


def fit_lines(found: Fit, time: str) -> list[str]:
    """Values that were lowered to fit, with their cost, for people."""
    named = {name: f"--{name.replace('_', '-')}" for name in found.lost}
    if not found.lost:
        return [f"All settings as they are fit {time}:"]
    lines = [
        f"{named[name]} {found.options[name]}, not {was}: {COSTS[name].format(lost=lost)}."
        for name, (was, lost) in found.lost.items()
    ]
    return [*lines, f"This fits {time}:"]


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
    """Counts of a competition, for JSON."""
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
        f"{amount(disk)} may be used" + ("; too little." if needed > disk else "."),
        f"Time: {span(sums['seconds'])} on two cores, most of it {longest.step} ({span(longest.seconds)}).",
        f"On Kaggle: {hours:,.1f} hours of a GPU ({gpu.name}); kernels of {SESSION_HOURS:.0f} hours at the most: "
        f"{runs:,}; weeks of {WEEK_HOURS:.0f} hours: {weeks:,}; {amount(beside)} of memory beside it.",
    ]


def show(size: Size, costs: Sequence[Cost], ends: Sequence[str], rates: Rates, gpu: Gpu) -> None:
    """The table of stages and the lines below it; with --verbose the table of rates, too."""
    from lmk.cli.console import is_verbose, note
    from lmk.cli.tables import print_table
    from lmk.pipeline.rates import GPU_SHARES

    rows = [
        (cost.step, span(cost.seconds), span(cost.gpu_seconds) if cost.gpu_seconds else "", *amounts(cost))
        for cost in costs
    ]
    sums = total(costs)
    all_disk, all_memory = amount(sums["disk"]), amount(sums["memory"])
    rows.append(("total", span(sums["seconds"]), span(sums["gpu_seconds"]), all_disk, all_memory))
    title = f"{size.name}: {size.train:,} training photos of {size.landmarks:,} landmarks, {size.distractors:,} "
    title += f"distractors, {size.test:,} test photos ({size.source})"
    print_table(title, ("step", "two cores", f"with {gpu.name}", "disk", "memory"), rows)
    say()
    for line in ends:
        say_text(line)
    for run in dict.fromkeys(cost.scaled_by for cost in costs if cost.scaled_by):
        say_text(f"Scaled by what {', '.join(cost.step for cost in costs if cost.scaled_by == run)} took in {run}.")
    if not is_verbose():
        count = len(rates) + len(GPU_SHARES) + 1
        note(f"Times follow from {count} rates; `lmk plan -v` lists each with where it is from.")
        return
    say()
    known = [(rate.unit, f"{rate.value:g}", rate.source) for rate in (*rates.values(), *GPU_SHARES.values())]
    known.append((f"10^12 operations a second: peak of {gpu.name}", f"{gpu.peak:g}", "published"))
    print_table("Rates", ("rate", "value", "from"), known)


def amounts(cost: Cost) -> tuple[str, str]:
    """Disk and memory of a step."""
    return amount(cost.disk) if cost.disk else "", amount(cost.memory)


def amount(size: float) -> str:
    """Bytes for people."""
    if size < GIGA / 10:
        return f"{size / 1e6:,.0f} MB"
    return f"{size / GIGA:,.1f} GB" if size < 100 * GIGA else f"{size / GIGA:,.0f} GB"


def memory_here() -> float:
    """Bytes of this machine."""
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
