"""`python -m benchmarks NAME [OPTIONS]` runs a benchmark; without a name it lists them."""

import ast
import sys
from importlib import import_module
from pathlib import Path

from lmk.cli.output import fail, say
from lmk.util.errors import LmkError, did_you_mean

FOLDERS = ("benchmarks", "research", "tests/stress")
HELPERS = {"__init__", "__main__", "ideas", "journal", "lab", "output", "timing"}
"""Modules that benchmarks share."""
ROOT = Path(__file__).parents[1]


def benchmarks() -> dict[str, tuple[str, str]]:
    """Module and first line of each benchmark's docstring, by name; nothing is imported."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("*.py")):
            if path.stem not in HELPERS:
                text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
                found[path.stem] = (f"{folder.replace('/', '.')}.{path.stem}", text.partition("\n")[0])
    return found


def run(words: list[str]) -> None:
    """Run the benchmark that the first word names, with the others as its options.

    Raises:
        LmkError: There is none of that name.
    """
    known = benchmarks()
    if not words:
        for name, (_, line) in known.items():
            say(f"{name:16s} {line}")
        return
    if words[0] not in known:
        raise LmkError(f"No benchmark is named '{words[0]}'.{did_you_mean(words[0], known)}")
    import_module(known[words[0]][0]).main(words[1:])


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except LmkError as error:
        fail(error)
        sys.exit(error.exit_code)
