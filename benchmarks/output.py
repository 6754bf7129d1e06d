"""How every benchmark reads its options and tells what it found."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks share; `doc` is the benchmark's own docstring.

    Args:
        name: Name of the benchmark.
        doc: Its module's docstring.
    """
    words = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    return words


def show(found: Mapping[str, object], as_json: bool) -> None:
    """Print figures: one JSON object, or a table of names and values, with a table for each list of rows."""
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, allow_nan=False) + "\n")
        return
    console = Console(highlight=False)
    single = {name: value for name, value in found.items() if not _is_rows(value)}
    if single:
        table = Table("figure", "value")
        for name, value in single.items():
            table.add_row(name, _text(value))
        console.print(table)
    for name, value in found.items():
        if _is_rows(value):
            console.print(_rows(name, value))


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _rows(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    return table


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_text(part)}" for name, part in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
