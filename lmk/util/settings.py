"""`lmk.toml`: a project's settings, which stand in for options that a command line does not give."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmk.util.errors import LmkError

NAME = "lmk.toml"
KEY = re.compile(r"[a-z][a-z0-9-]*")

Scalar = str | int | float | bool
Value = Scalar | list[Scalar]


@dataclass(frozen=True)
class Settings:
    """The content of one `lmk.toml`.

    Attributes:
        path: The file; None where there is none.
        values: Values by key; a table holds the settings of one command.
    """

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self.path.parent if self.path else Path.cwd()


def settings_path(start: Path | None = None) -> Path | None:
    """The `lmk.toml` in `start` (the current folder by default) or in the nearest folder above it; None without one.

    The search ends at the home folder and at the root of a git repository: a file further up belongs to another
    project.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / NAME).is_file():
            return folder / NAME
        if (folder / ".git").exists() or folder == Path.home():
            return None
    return None


def read_settings(path: Path | None) -> Settings:
    """The settings in `path`; empty for None.

    Raises:
        LmkError: The file cannot be read, is not TOML, or holds a value that no option takes.
    """
    if path is None:
        return Settings()
    import tomllib  # not at the top: every start of lmk looks for a file, few find one

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LmkError(f"{path} cannot be read as TOML: {error}. Correct the file, or remove it.") from error
    _check(path, values, "")
    return Settings(path, values)


def _check(path: Path, values: Mapping[str, Any], table: str) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _check(path, value, f"{table}{key}.")
        elif not _is_value(value):
            raise LmkError(
                f"{path}: `{table}{key}` is {value!r}; write text, a number, true, false or a list of these."
            )


def _is_value(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(entry, Scalar) for entry in value)
    return isinstance(value, Scalar)


def set_value(path: Path, key: str, value: Value | None) -> None:
    """Write one top-level setting into `path`, which is made where it is absent; None removes the setting.

    The other lines, comments too, stay as they are.

    Raises:
        LmkError: The file is not TOML, or the key is no plain key.
    """
    import tomllib

    from lmk.util.files import atomic_path

    if not KEY.fullmatch(key):
        raise LmkError(f"'{key}' is not the name of a setting; write an option's name without its dashes.")
    before = read_settings(path if path.exists() else None).values
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text.split("\n")
    first_table = next((row for row, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    own = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    kept = [line for row, line in enumerate(lines) if row >= first_table or not own.match(line)]
    if value is not None:
        # JSON's text of these values is TOML's, too, but for DEL: TOML wants it escaped.
        written = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        place = next((row for row, line in enumerate(lines) if row < first_table and own.match(line)), None)
        at = place if place is not None else _end_of_root(kept)
        kept.insert(at, f"{key} = {written}")
    new = "\n".join(kept).strip("\n") + "\n"
    expected = {name: entry for name, entry in before.items() if name != key} | ({} if value is None else {key: value})
    try:
        unchanged = tomllib.loads(new) == expected
    except ValueError:
        unchanged = False
    if not unchanged:  # a value over several lines, or a key in a notation that this function does not know
        raise LmkError(f"{path} is written in a way that lmk cannot edit safely. Change `{key}` in an editor.")
    with atomic_path(path) as draft:
        draft.write_text(new, encoding="utf-8")


def _end_of_root(lines: list[str]) -> int:
    """The row after the last line that belongs to no table."""
    rows = [row for row, line in enumerate(lines) if line.lstrip().startswith("[")]
    end = rows[0] if rows else len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return end
