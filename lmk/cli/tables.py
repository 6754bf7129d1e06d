"""Tables that a person reads on stdout, and can paste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from lmk.cli.console import LiteralConsole
from lmk.cli.output import say

if TYPE_CHECKING:
    from lmk.pipeline.outcome import Result
    from lmk.pipeline.plan import StagePlan

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
    """Print GAP by stage with intervals, seconds, and the submission's path."""
    rows = []
    for stage, gap in result.gap.items():
        if gap is None:
            continue
        if stage == "fused":
            rows.append(("verification", "", "", "", f"{result.seconds['verification']:.1f}"))
        weight = result.weights.get(stage)
        rows.append(
            (
                stage,
                f"{gap:.5f}",
                f"{result.low[stage]:.3f} to {result.high[stage]:.3f}",
                "" if weight is None else f"{weight:.2f}",
                "stored" if stage in result.reused else f"{result.seconds[stage]:.1f}",
            )
        )
    print_table(
        f"GAP on dev: {result.queries} queries, {result.landmark_queries} of them show a known landmark",
        ("stage", "GAP", "95 % interval", "weight", "seconds"),
        rows,
    )
    say(f"Submission: {result.submission}")


def print_stages(stages: Sequence[StagePlan]) -> None:
    """Print what a run would do."""
    rows = [(stage.name, "stored" if stage.stored else "to do", stage.cost) for stage in stages]
    print_table("Stages", ("stage", "state", "cost"), rows)
