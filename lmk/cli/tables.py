"""Tables that a person reads on stdout, and can paste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from lmk.cli.console import LiteralConsole
from lmk.cli.output import say

if TYPE_CHECKING:
    from lmk.pipeline.plan import StepPlan
    from lmk.pipeline.run import Result

WIDTH = 240
"""Characters of a table's line in a file or a pipe, at the most."""


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, others to the right; cut to a terminal's width, not in a file."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell.replace("\n", "\\n") for cell in row))  # a name's line end is no row's
    console = LiteralConsole(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(title, style="italic", soft_wrap=True)
    console.print(table)


def print_result(result: Result) -> None:
    """Print the metric by stage with intervals, seconds, the stage that is submitted, and the submission's path."""
    from lmk.metrics.registry import find_metric

    record = result.record
    title = find_metric(record.metric).title
    dev, rows = record.dev, []

    def seconds(stage: str) -> str:
        return "stored" if stage in record.reused else f"{record.seconds[stage]:.1f}"

    for stage, gap in dev.gap.items():
        if gap is None:
            continue
        if stage == "fused":
            rows.append(("verification", "", "", "", seconds("verification"), ""))
        weight = record.weights.get(stage)
        interval = f"{dev.low[stage]:.3f} to {dev.high[stage]:.3f}"
        mark = "submitted" if stage == record.submitted else ""
        rows.append((stage, f"{gap:.5f}", interval, "" if weight is None else f"{weight:.2f}", seconds(stage), mark))
    print_table(
        f"{title} on dev ({dev.kind}): {dev.queries} queries, {dev.landmark_queries} of them show a known landmark",
        ("stage", title, "95 % interval", "weight", "seconds", ""),
        rows,
    )
    say(f"Submission: {result.submission}")


def print_stages(steps: Sequence[StepPlan]) -> None:
    """Print what a run would do."""
    rows = [(step.name, "stored" if step.stored else "to do", step.cost) for step in steps]
    print_table("Steps", ("step", "state", "cost"), rows)
