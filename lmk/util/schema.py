"""Dataclasses of settings: each field documented once, by its class, and read from a TOML table with checks."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from lmk.util.errors import did_you_mean, quoted

T = TypeVar("T")
NONE = "none"
"""How a TOML file writes None, for which TOML has no word: to take away what a base has."""


@dataclass(frozen=True)
class Range:
    """The numbers that a field takes, as metadata of `Annotated`; None for no bound.

    Attributes:
        least: The smallest number.
        most: The largest number.
        open_least: Whether `least` itself is excluded.
        open_most: Whether `most` itself is excluded.
    """

    least: float | None = None
    most: float | None = None
    open_least: bool = False
    open_most: bool = False

    def __contains__(self, value: float) -> bool:
        low = self.least is None or (value > self.least if self.open_least else value >= self.least)
        return low and (self.most is None or (value < self.most if self.open_most else value <= self.most))

    def __str__(self) -> str:
        if self.most is None:
            return f"{'>' if self.open_least else '≥'} {self.least:g}"
        return f"in {'(' if self.open_least else '['}{self.least:g}, {self.most:g}{')' if self.open_most else ']'}"


@dataclass(frozen=True)
class FieldHelp:
    """Documentation of a field.

    Attributes:
        name: Its name.
        takes: The values that it takes.
        default: Its default as TOML writes it; None where it has to be given.
        about: Its meaning, from the docstring of its class.
    """

    name: str
    takes: str
    default: str | None
    about: str


class WrongSetting(ValueError):
    """A value that a field does not take, or a field that does not exist; the text names it and what is allowed."""


def field_help(cls: type) -> list[FieldHelp]:
    """The fields of a dataclass in order, with the texts of its docstring's section `Attributes`."""
    hints, texts = get_type_hints(cls, include_extras=True), _attribute_texts(cls)
    return [FieldHelp(one.name, _takes(hints[one.name]), _default(one), texts.get(one.name, "")) for one in fields(cls)]


def read_table(cls: type[T], table: Mapping[str, Any], base: T | None = None, where: str = "") -> T:
    """A dataclass from a table of its fields, as TOML gives it.

    Args:
        cls: The dataclass.
        table: Values by name of the field.
        base: What gives the fields that the table lacks; None: their defaults.
        where: What stands before a field's name in errors, such as `stages[1].`.

    Raises:
        WrongSetting: A field is unknown, is missing without a default, or has a value that it does not take.
    """
    hints = get_type_hints(cls, include_extras=True)
    known = {one.name: one for one in fields(cls)}  # type: ignore[arg-type]
    for name in table:
        if name not in known:
            raise WrongSetting(f"there is no field `{where}{name}`.{_hint(name, known)}")
    given = {name: _value(hints[name], value, where + name) for name, value in table.items()}
    if base is not None:
        return replace(base, **given)  # type: ignore[type-var]
    lacking = [name for name, one in known.items() if name not in given and _is_required(one)]
    if lacking:
        raise WrongSetting(f"`{where}{lacking[0]}` is missing; it takes: {_takes(hints[lacking[0]])}.")
    return cls(**given)


def check_types(one: Any) -> None:
    """Refuse a dataclass that was made of a file's values and holds one of another type than its field's.

    Fields are numbers, texts, lists, dicts, dataclasses, or any of these or None.

    Raises:
        WrongSetting: Names the field.
    """
    for name, hint in get_type_hints(type(one)).items():
        if not _fits(hint, getattr(one, name)):
            raise WrongSetting(f"`{name}` is {quoted(getattr(one, name))}, not {getattr(hint, '__name__', hint)}")


def _fits(hint: Any, value: object) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(alternative, value) for alternative in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(inner[0], item) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(inner[0], key) and _fits(inner[1], value[key]) for key in value)
    if hint is int:
        return type(value) is int
    if hint is float:
        return type(value) in (int, float) and math.isfinite(cast(float, value))
    return isinstance(value, hint)


def toml_text(value: object) -> str:
    """A field's value as TOML writes it; a dataclass as an inline table of what differs from its defaults."""
    if value is None:
        return f'"{NONE}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml_text, value))}]"
    if is_dataclass(value) and not isinstance(value, type):
        given = [one for one in fields(value) if _is_required(one) or getattr(value, one.name) != one.default]
        return "{ " + ", ".join(f"{one.name} = {toml_text(getattr(value, one.name))}" for one in given) + " }"
    return str(value)


def _hint(name: str, known: Mapping[str, Any]) -> str:
    return did_you_mean(name, known) or f" There are {', '.join(known)}."


def _is_required(one: Field) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _default(one: Field) -> str | None:
    return None if _is_required(one) else toml_text(one.default)


def _attribute_texts(cls: type) -> dict[str, str]:
    """Text by attribute of the section `Attributes` of a docstring in Google's style."""
    section = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break  # another section
        if begun := re.fullmatch(r" {4}(\w+): (.*)", line):
            name, found[begun[1]] = begun[1], begun[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found


def _parts(hint: Any) -> tuple[list[Any], Range | None]:
    """The alternatives of a type without `Annotated`, and its range."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        return _parts(inner)[0], next((one for one in extras if isinstance(one, Range)), None)
    if get_origin(hint) in (Union, types.UnionType):
        every = [_parts(one) for one in get_args(hint)]
        return [one for parts, _ in every for one in parts], next((bounds for _, bounds in every if bounds), None)
    return [hint], None


def _takes(hint: Any) -> str:
    """The values of a type, for people."""
    alternatives, bounds = _parts(hint)
    texts = []
    for one in alternatives:
        if get_origin(one) is Literal:
            texts += [f'"{value}"' if isinstance(value, str) else str(value) for value in get_args(one)]
        elif get_origin(one) is tuple:
            inner = get_args(one)[0]
            texts.append("a list of tables" if is_dataclass(inner) else f"a list: {_takes(inner)}")
        elif one is type(None):
            texts.append(f'"{NONE}"')
        else:
            kind = {int: "integer", float: "number", bool: "true or false", str: "text"}[one]
            texts.append(f"{kind} {bounds}" if bounds and one is not bool else kind)
    return " or ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def _value(hint: Any, value: Any, name: str) -> Any:
    """The value as its field holds it.

    Raises:
        WrongSetting: The field does not take it.
    """
    alternatives, bounds = _parts(hint)
    if value == NONE and type(None) in alternatives:
        return None
    for one in alternatives:
        origin = get_origin(one)
        if origin is Literal and any(value == known and type(value) is type(known) for known in get_args(one)):
            return value
        if origin is tuple and isinstance(value, list):
            inner = get_args(one)[0]
            return tuple(_item(inner, item, f"{name}[{place}]") for place, item in enumerate(value, 1))
        if one is float and type(value) in (int, float) and math.isfinite(value) and (not bounds or value in bounds):
            return float(value)
        if one in (int, bool, str) and type(value) is one and (not bounds or value in bounds):
            return value
    words = [word for one in alternatives if get_origin(one) is Literal for word in map(str, get_args(one))]
    hint_text = did_you_mean(value, words) if isinstance(value, str) else ""
    raise WrongSetting(f"`{name}` is {quoted(value)}; it takes: {_takes(hint)}.{hint_text}")


def _item(inner: Any, item: Any, name: str) -> Any:
    if not is_dataclass(inner):
        return _value(inner, item, name)
    if not isinstance(item, dict):
        raise WrongSetting(
            f"`{name}` is {quoted(item)}; it takes a table of {', '.join(f.name for f in fields(inner))}."
        )
    return read_table(inner, item, where=f"{name}.")  # type: ignore[arg-type]
