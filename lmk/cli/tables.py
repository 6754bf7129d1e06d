"""Tables that a person reads on stdout, and can paste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from lmk.cli.console import LiteralConsole
from lmk.cli.output import say, say_text

if TYPE_CHECKING:
    from lmk.pipeline.plan import StepPlan
    from lmk.pipeline.run import Result

WIDTH = 240
"""Characters of a table's line in a file or a pipe, at the most."""


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, others to the right.

    On a terminal too narrow for it columns move together, and what is still too wide is cut; nothing is in a file.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell.replace("\n", "\\n") for cell in row))  # a name's line end is no row's
    console = LiteralConsole(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    elif console.measure(table, options=console.options.update(max_width=WIDTH)).maximum > console.width:
        table.padding = (0, 1, 0, 0)
    console.print(title, style="italic", soft_wrap=not console.is_terminal)
    console.print(table)


def print_result(result: Result) -> None:
    """Print the metric by stage, plain with interval and weighted by likeness to test, seconds, and the submission."""
    from lmk.metrics.registry import find_metric

    record = result.record
    title = find_metric(record.metric).title
    dev = record.dev
    rows: list[tuple[str, ...]] = []
    likeness = record.likeness
    weighted = likeness["dev_weighted"] if likeness else {}

    def seconds(stage: str) -> str:
        return "stored" if stage in record.reused else f"{record.seconds[stage]:.1f}"

    for stage, gap in dev.gap.items():
        if gap is None:
            continue
        if stage == "fused":
            rows.append(("verification", "", "", "", "", seconds("verification"), ""))
        weight = record.weights.get(stage)
        interval = f"{dev.low[stage]:.3f} to {dev.high[stage]:.3f}"
        mark = "submitted" if stage == record.submitted else ""
        as_test = f"{weighted[stage]:.5f}" if stage in weighted else ""
        share = "" if weight is None else f"{weight:.2f}"
        rows.append((stage, f"{gap:.5f}", interval, as_test, share, seconds(stage), mark))
    columns = ["stage", title, "95 % interval", "as test", "weight", "seconds", ""]
    if not likeness:
        place = columns.index("as test")
        columns, rows = [*columns[:place], *columns[place + 1 :]], [(*row[:place], *row[place + 1 :]) for row in rows]
    print_table(
        f"{title} on dev ({dev.kind}): {dev.queries} queries, {dev.landmark_queries} of them show a known landmark",
        columns,
        rows,
    )
    if likeness:
        say_text(
            f"As test: {title} on dev weighted by likeness to the test photos. ROC area of telling them apart: "
            f"{likeness['roc_area']:.2f} (0.5: alike)."
        )
    say(f"Submission: {result.submission}")


def print_stages(steps: Sequence[StepPlan]) -> None:
    """Print what a run would do."""
    rows = [(step.name, "stored" if step.stored else "to do", step.cost) for step in steps]
    print_table("Steps", ("step", "state", "cost"), rows)
