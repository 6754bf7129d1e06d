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
from functools import cache
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


def loaded_by(module: str, root: Path = ROOT, package: str = "lmk") -> set[str]:
    """Modules that are loaded with one of the package: it, and what its imports outside of functions load.

    Modules of other packages stand for themselves.
    """
    known = modules(root, package)
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in known:
            waiting += _top_level_imports(known[name], tuple(known))
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return found


def needless_inner_imports(root: Path = ROOT, package: str = "lmk") -> list[str]:
    """Imports within functions that save no time at the start: all that they load was loaded with their own module.

    Commands are left out: there every import but those of options waits until the command runs.
    """
    found = []
    for name, path in modules(root, package).items():
        if name.startswith(f"{package}.cli"):
            continue
        known, before = tuple(modules(root, package)), loaded_by(name, root, package)
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    loads = {more for one in _targets(node, known) for more in loaded_by(one, root, package)}
                    if loads and not {one for one in loads if one.split(".")[0] != package} - before:
                        found.append(f"{name}:{node.lineno}")  # type: ignore[attr-defined]
    return sorted(set(found))


@cache
def _top_level_imports(path: Path, known: tuple[str, ...]) -> list[str]:
    """Modules that a file imports outside of functions and of blocks for type checks."""
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        found += _targets(node, known)
        waiting += ast.iter_child_nodes(node)
    return found


def _targets(node: ast.AST, known: tuple[str, ...]) -> list[str]:
    """Modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return list(dict.fromkeys(one if one in known else node.module for one in whole))
    return []


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
    needless = needless_inner_imports()
    print(f"imports inside functions that save no time at the start: {len(needless)}", *needless)
    if "--list" in sys.argv:
        for room in sorted(graph, key=lambda node: (-level[node], node)):
            print(f"  {level[room]:2d}  {room}: {', '.join(sorted(graph[room]))}")


if __name__ == "__main__":
    main()
