"""Digests of the code that computes a step, by which an edited module makes its results stale.

What cannot change a number is left out of a module's digest: comments, docstrings, annotations, type-checking blocks,
imports of `lmk.util`, and the texts of errors. A patch release that touches those costs nobody a computation.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

DIGITS = 12
"""Hexadecimal digits of a module's digest."""


def code_digests(modules: Iterable[str]) -> dict[str, str]:
    """Digest of each module's normalised source, by dotted name; nothing is imported."""
    return {name: _digest_of_module(name) for name in sorted(set(modules))}


@cache
def _digest_of_module(name: str) -> str:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"There is no module {name}.")
    return source_digest(Path(spec.origin).read_text(encoding="utf-8"))


def source_digest(source: str) -> str:
    """Digest of a module's normalised source text; equal for sources that compute the same statements."""
    return hashlib.sha256("".join(_tokens(ast.parse(source))).encode()).hexdigest()[:DIGITS]


def _tokens(node: ast.AST) -> Iterator[str]:
    """The tree as text: types and non-empty fields, so that the same source gives the same text on every Python."""
    if _is_irrelevant(node):
        return
    yield f"({type(node).__name__}"
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_comment", "type_params", "ctx", "kind", "simple"):
            continue
        if isinstance(node, ast.Raise) and field == "exc" and isinstance(value, ast.Call):
            value = value.func  # which error is raised, not what it says
        if isinstance(value, list):
            body = _without_docstring(node, value) if field == "body" else value
            if body:
                yield f" {field}["
                for item in body:
                    yield from _tokens(item) if isinstance(item, ast.AST) else (repr(item),)
                yield "]"
        elif isinstance(value, ast.AST):
            yield f" {field}="
            yield from _tokens(value)
        elif value is not None:
            yield f" {field}={value!r}"
    yield ")"


def _is_irrelevant(node: ast.AST) -> bool:
    """Whether a statement cannot change a number."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").startswith(("lmk.util", "__future__", "typing", "collections.abc"))
    # A string by itself documents the constant above it.
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _without_docstring(node: ast.AST, body: list) -> list:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if documented and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        return body[1:]
    return body
