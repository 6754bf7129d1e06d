"""`lmk config`: the settings of a project, kept in `lmk.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.output import say

if TYPE_CHECKING:
    from lmk.util.settings import Value

config = typer.Typer(help="Settings of a project (lmk.toml), which stand in for options.", no_args_is_help=True)
app.add_typer(config, name="config")


def setting_names(incomplete: str) -> list[str]:
    """Keys that begin so, for the shell."""
    return [name for name in _known() if name.startswith(incomplete)]


KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", autocompletion=setting_names, help="An option's name: competition, weights ...")
]


@config.command(name="list")
def list_settings(as_json: JsonOption = False) -> None:
    """Print the settings that hold in this folder, and the file that they are in."""
    from lmk.cli.console import next_steps, note
    from lmk.util.settings import NAME, read_settings, settings_path

    settings = read_settings(settings_path())
    if as_json:
        print_json({"file": str(settings.path) if settings.path else None, "settings": settings.values})
        return
    if settings.path is None:
        note(f"There is no {NAME} here or above. `lmk config set competition SLUG` makes one.")
        return
    note(f"from {settings.path}" if settings.values else f"{settings.path} holds no settings.")
    for key, value in _flat(settings.values, ""):
        say(f"{key} = {_text(value)}")
    next_steps("lmk config set KEY VALUE", "lmk config unset KEY")


@config.command()
def get(key: KeyArgument) -> None:
    """Print one setting; exit code 1 where it is not set."""
    from lmk.cli.console import next_steps
    from lmk.util.errors import LmkError
    from lmk.util.settings import NAME, read_settings, settings_path

    settings = read_settings(settings_path())
    found = dict(_flat(settings.values, ""))
    if key not in found:
        raise LmkError(f"`{key}` is not set in {settings.path or NAME}. `lmk config set {key} VALUE` sets it.")
    say(_text(found[key]))
    next_steps(f"lmk config set {key} VALUE", f"lmk config unset {key}")


@config.command(name="set")
def set_setting(
    key: KeyArgument,
    value: Annotated[list[str], typer.Argument(metavar="VALUE...", help="Several for an option that repeats.")],
) -> None:
    """Set an option's value for all commands run in this project.

    A command line's own option and its environment variable go before the setting.
    """
    from lmk.cli.console import next_steps
    from lmk.cli.defaults import refusal
    from lmk.util.errors import UsageError, did_you_mean
    from lmk.util.settings import NAME, set_value, settings_path

    known = _known()
    if key not in known:
        raise UsageError(f"No command has an option --{key}.{did_you_mean(key, known)}")
    values = [_parsed(word) for word in value]
    path = settings_path() or Path.cwd() / NAME
    chosen = values[0] if len(values) == 1 else values
    if why := refusal(typer.main.get_command(app), key, chosen, path.parent):  # it would stop every command
        raise UsageError(f"--{key} does not take {_text(chosen)}: {why}.")
    set_value(path, key, chosen)  # type: ignore[arg-type]
    say(f"{key} = {_text(chosen)}  ({path})")
    next_steps("lmk config list")


@config.command()
def unset(key: KeyArgument) -> None:
    """Remove a setting."""
    from lmk.cli.console import next_steps
    from lmk.util.errors import LmkError
    from lmk.util.settings import NAME, read_settings, set_value, settings_path

    path = settings_path()
    if path is None or key not in read_settings(path).values:
        raise LmkError(f"`{key}` is not set in {path or NAME}.")
    set_value(path, key, None)
    say(f"{key} is not set any more  ({path})")
    next_steps("lmk config list")


def _known() -> list[str]:
    from lmk.cli.defaults import option_names

    return option_names(typer.main.get_command(app))


def _parsed(word: str) -> Value:
    """A word as TOML's value: true, false and numbers as such, all else as text."""
    import re

    if word in ("true", "false"):
        return word == "true"
    if re.fullmatch(r"-?[0-9]+", word):
        return int(word)
    return float(word) if re.fullmatch(r"-?[0-9]+\.[0-9]+", word) else word


def _text(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _flat(values: object, table: str) -> list[tuple[str, object]]:
    """Settings by their dotted keys."""
    if not isinstance(values, dict):
        return []
    rows: list[tuple[str, object]] = []
    for key, value in values.items():
        rows += _flat(value, f"{table}{key}.") if isinstance(value, dict) else [(f"{table}{key}", value)]
    return rows
