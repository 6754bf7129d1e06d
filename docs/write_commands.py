"""Writes docs/command-table.md from the app: commands with options, panels, exit codes, --json and completion.

Run `python docs/write_commands.py` from the project's folder; a test compares the page with what it would write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_origin

import typer

from lmk.cli.app import app

PAGE = Path(__file__).with_name("command-table.md")
HEAD = """# Table of commands

Made by `python docs/write_commands.py` from the application itself. `lmk help COMMAND` and `lmk COMMAND -h` say more.

Every command ends with exit code 0 when it is done, 1 for a mistake or a bad file (one line that says how to
fix it), 2 for a usage error, and 130 after Ctrl-C. Those that ask Kaggle end with 3 where credentials are
missing, 4 where a limit is reached, and 5 where Kaggle fails or does not answer in time; those that may end
before the work is done with 75: the same command goes on. Everywhere: `--quiet` (nothing on stderr but errors),
`--verbose`, `--version`, `-h`, `--help`.

An option goes before its environment variable, that before `lmk.toml`, and that before the default.
"""


def commands(command: Any, path: tuple[str, ...] = ("lmk",)) -> Iterator[tuple[str, Any]]:
    """Every command that does something by itself, with its full name."""
    children = getattr(command, "commands", None) or {}
    if len(path) > 1 and (not children or command.invoke_without_command):
        yield " ".join(path), command
    for name in children:
        yield from commands(children[name], (*path, name))


def exit_codes(name: str, command: Any) -> list[int]:
    """The codes with which a command may end."""
    options = {parameter.name for parameter in command.params}
    codes = {0, 1, 2, 130}
    if any(getattr(parameter, "envvar", None) == "LMK_KAGGLE_TIMEOUT" for parameter in command.params):
        codes |= {3, 4, 5}
    if "stop_after" in options or name == "lmk kernel train":
        codes.add(75)
    return sorted(codes)


def is_completed(parameter: Any) -> bool:
    """Whether the shell completes a parameter's values by names that lmk knows."""
    own = getattr(parameter, "_custom_shell_complete", None) is not None
    return own or get_origin(parameter.type_descriptor.annotation) is Literal


def row(parameter: Any) -> str:
    """One line of a command's table."""
    if parameter.param_type_name == "argument":
        words, panel = f"`{parameter.metavar or parameter.name.upper()}`", "Arguments"
    else:
        words = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))
        panel = getattr(parameter, "rich_help_panel", None) or "Options"
    variable = f" (`{parameter.envvar}`)" if getattr(parameter, "envvar", None) else ""
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    words = words.replace("|", "\\|")
    return f"| {words} | {panel} | {'yes' if is_completed(parameter) else ''} | {text}{variable} |"


def section(name: str, command: Any) -> str:
    """A command's part of the page."""
    options = {parameter.name for parameter in command.params}
    has_json = any("--json" in parameter.opts for parameter in command.params)
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    text = " ".join((command.help or "").split("\n\n")[0].split())
    codes = ", ".join(map(str, exit_codes(name, command)))
    lines = [f"## {name}", "", text, "", f"Exit codes {codes}. {'With' if has_json else 'Without'} `--json`.", ""]
    if options - {"help"}:
        lines += ["| argument or option | panel | completed | what it is |", "|---|---|---|---|"]
        lines += [row(parameter) for parameter in shown]
        lines.append("")
    return "\n".join(lines)


def summary(found: list[tuple[str, Any]]) -> str:
    """One line for each command."""
    lines = ["| command | options | completed | `--json` | exit codes |", "|---|---|---|---|---|"]
    for name, command in found:
        options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
        completed = sum(map(is_completed, command.params))
        has_json = any("--json" in option.opts for option in options)
        codes = ", ".join(map(str, exit_codes(name, command)))
        anchor = name.replace(" ", "-")
        lines.append(
            f"| [{name}](#{anchor}) | {len(options)} | {completed} | {'yes' if has_json else 'no'} | {codes} |"
        )
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    found = list(commands(typer.main.get_command(app)))
    return "\n".join([HEAD, summary(found), "", *(section(name, command) for name, command in found)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
