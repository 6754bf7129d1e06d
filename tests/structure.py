"""The structure of the package, measured from its imports: rooms, floors, circles and imports that run up.

    python -m tests.structure            the measures of this checkout
    python -m tests.structure --list     each room with its floor and what it imports

A room is a folder of `lmk/`, or a file that lies in `lmk/` itself but `__init__` and `__main__`; a folder within a
folder belongs to the outer one.
A room's floor is one more than the highest floor of the rooms that it imports.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lmk"


@dataclass(frozen=True)
class Import:
    """An import of one module by another; `inside`: within a function; `typing`: for type checks alone."""

    source: str
    target: str
    line: int
    inside: bool
    typing: bool


def modules(root: Path = ROOT, package: str = "lmk") -> dict[str, Path]:
    """Path of each module by its dotted name."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root: Path = ROOT, package: str = "lmk") -> Iterator[Import]:
    """Every import of one module of the package by another."""
    known = modules(root, package)
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from _imports_of(tree, name, known, inside=False, typing=False)


def _imports_of(node: ast.AST, name: str, known: dict[str, Path], inside: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        within = inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        checks = typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        if isinstance(child, ast.Import):
            targets = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            whole = [f"{child.module}.{alias.name}" for alias in child.names]
            targets = [one if one in known else child.module for one in whole]
        else:
            yield from _imports_of(child, name, known, within, checks)
            continue
        for target in dict.fromkeys(targets):
            if target in known and target != name:
                yield Import(name, target, child.lineno, within, checks)


def room_of(module: str) -> str:
    """The room that a module belongs to; the entry point of `python -m lmk` belongs to `cli`, which it calls."""
    parts = module.split(".")
    if parts[1:] == ["__main__"]:
        return "cli"
    return parts[1] if len(parts) > 1 else parts[0]


def rooms(root: Path = ROOT) -> dict[str, set[str]]:
    """Each room with the rooms that it imports; the package's own `__init__` is none."""
    found: dict[str, set[str]] = {room_of(name): set() for name in modules(root) if "." in name}
    for one in imports(root):
        source, target = room_of(one.source), room_of(one.target)
        if source != target and "." in one.target and "." in one.source:
            found[source].add(target)
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach one another."""
    reach = {node: set(targets) for node, targets in graph.items()}
    for middle in graph:
        for node in graph:
            if middle in reach[node]:
                reach[node] |= reach[middle]
    groups = {
        tuple(sorted(other for other in graph if other in reach[node] and node in reach[other])) for node in graph
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Floor of each room of a graph without circles; 1 imports nothing."""
    found: dict[str, int] = {}

    def floor(node: str) -> int:
        if node not in found:
            found[node] = 1 + max((floor(target) for target in graph[node]), default=0)
        return found[node]

    for node in graph:
        floor(node)
    return found


def main() -> None:
    """Print the measures."""
    graph = rooms()
    rings = circles(graph)
    print(f"rooms {len(graph)}, arrows {sum(map(len, graph.values()))}, circles {len(rings)}")
    for ring in rings:
        print("  circle:", " ".join(ring))
    if rings:
        for one in imports():
            for ring in rings:
                if (
                    room_of(one.source) in ring
                    and room_of(one.target) in ring
                    and room_of(one.source) != room_of(one.target)
                ):
                    print("   ", one.source, "->", one.target, one.line)
        return
    level = floors(graph)
    print(f"floors {max(level.values())}")
    if "--list" in sys.argv:
        for room in sorted(graph, key=lambda node: (-level[node], node)):
            print(f"  {level[room]:2d}  {room}: {', '.join(sorted(graph[room]))}")


if __name__ == "__main__":
    main()
