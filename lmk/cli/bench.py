"""`lmk bench`: one of the benchmarks that stand beside lmk's source."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from lmk.cli.app import app
from lmk.cli.output import say
from lmk.util.errors import LmkError

ROOT = Path(__file__).parents[2]
"""Of a checkout; an installed lmk has no benchmarks beside it."""
PLUMBING = {"__init__", "ideas", "lab", "output", "timing"}


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    options_metavar="[OPTIONS OF THE BENCHMARK]",
)
def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which. Without: the list of all.")] = None,
) -> None:
    """Measure lmk: `lmk bench NAME --json`; `lmk bench NAME --help` tells a benchmark's options."""
    known = benchmarks()
    if name is None or name in ("--help", "-h"):
        for each, told in known.items():
            say(f"{each:16} {told}")
        return
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=1)
        raise LmkError(
            f"There is no benchmark '{name}'{f'; did you mean {near[0]}' if near else ''}. `lmk bench` lists them."
        )
    sys.path.insert(0, str(ROOT))  # the package of benchmarks is not installed
    import_module(f"benchmarks.{name}").main(context.args)


def benchmarks() -> dict[str, str]:
    """The benchmarks by name, each with the first line of its docstring.

    Raises:
        LmkError: lmk does not run from a checkout of its source.
    """
    import ast

    folder = ROOT / "benchmarks"
    files = [path for path in sorted(folder.glob("*.py")) if path.stem not in PLUMBING]
    if not files:
        raise LmkError("The benchmarks come with lmk's source, not with the installed package: run from a checkout.")
    documents = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in files}
    return {name: (document or "").split("\n", 1)[0] for name, document in documents.items()}
