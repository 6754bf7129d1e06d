"""Defaults of the commands' options from `lmk.toml`, in the form in which the command-line library takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmk.util.errors import LmkError, did_you_mean
from lmk.util.settings import Settings


def default_map(command: Any, settings: Settings) -> dict[str, Any]:
    """The defaults of all options below `command`, nested by command.

    A key at the top of the file holds for every command that has the option; a table named as a command
    (`[make-submission]`, `[kernel.push]`) holds for that command and goes before the top.

    Raises:
        LmkError: A key is no option, a table no command, or a value one that no command takes.
    """
    general = {key: value for key, value in settings.values.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in settings.values.items() if isinstance(value, dict)}
    known = {name for leaf in _leaves(command) for name in _options(leaf)}
    for key, value in general.items():
        if key not in known:
            raise LmkError(f"{settings.path}: no command has an option --{key}.{did_you_mean(key, known)}")
        if flaw := refusal(command, key, value, settings.folder):
            raise LmkError(_no_value(settings, key, value, flaw))
    return _defaults(command, general, tables, settings, "")


def option_names(command: Any) -> list[str]:
    """Names of all options below `command`, without dashes: the keys that `lmk.toml` may hold."""
    return sorted({name for leaf in _leaves(command) for name in _options(leaf)})


def refusal(command: Any, key: str, value: Any, folder: Path) -> str:
    """Why no command below `command` takes a value of the option `key`; empty where one does."""
    flaws = [_flaw(leaf, key, value, folder) for leaf in _leaves(command) if key in _options(leaf)]
    return flaws[0] if all(flaws) else ""


def _defaults(
    command: Any, general: Mapping[str, Any], tables: Mapping[str, Any], settings: Settings, where: str
) -> dict[str, Any]:
    children = getattr(command, "commands", None) or {}
    own = {key: value for key, value in tables.items() if not (isinstance(value, dict) and key in children)}
    options = _options(command)
    for key, value in own.items():
        if isinstance(value, dict):
            raise LmkError(f"{settings.path}: there is no command `lmk {where}{key}`.{did_you_mean(key, children)}")
        if key not in options:
            raise LmkError(f"{settings.path}: `lmk {where.strip()}` has no option --{key}.{did_you_mean(key, options)}")
        if flaw := _flaw(command, key, value, settings.folder):
            raise LmkError(_no_value(settings, key, value, flaw))
    found = {
        options[key].name: _value(options[key], value, settings.folder)
        for key, value in {**general, **own}.items()
        if key in options
    }
    for name, child in children.items():
        # A command without settings has no entry: that of `lmk help` would be taken for the option --help.
        if below := _defaults(child, general, tables.get(name, {}), settings, f"{where}{name} "):
            found[name] = below
    return found


def _leaves(command: Any) -> Iterator[Any]:
    yield command
    for child in (getattr(command, "commands", None) or {}).values():
        yield from _leaves(child)


def _options(command: Any) -> dict[str, Any]:
    """The options of a command by their long name without dashes."""
    return {
        word.removeprefix("--"): option
        for option in command.params
        if option.param_type_name == "option"
        for word in option.opts
        if word.startswith("--")
    }


def _flaw(command: Any, key: str, value: Any, folder: Path) -> str:
    """Why a command's option does not take a value; empty if it does."""
    from typer import BadParameter, Context

    option = _options(command)[key]
    try:
        option.process_value(Context(command), _value(option, value, folder))
    except BadParameter as error:
        return str(error.message).rstrip(".")
    return ""


def _no_value(settings: Settings, key: str, value: Any, flaw: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"{settings.path}: `{key} = {text}` is no value of --{key}: {flaw}. Correct the line, or remove it."


def _value(option: Any, value: Any, folder: Path) -> Any:
    """The value as the option takes it; relative paths start from the folder of `lmk.toml`."""
    if isinstance(value, list) != bool(option.multiple):
        value = [value] if option.multiple else value
    is_path = option.type_descriptor.annotation is Path

    def placed(entry: Any) -> Any:
        if isinstance(entry, str) and (is_path or entry.startswith(("./", "../", "~")) or entry.endswith(".toml")):
            return str(folder / Path(entry).expanduser())
        return entry

    return [placed(entry) for entry in value] if isinstance(value, list) else placed(value)
