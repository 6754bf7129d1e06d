"""Files that are whole or absent, and digests that name what they hold."""

import glob
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A draft beside `path` that takes its place when the block ends well, and is removed when it does not.

    Drafts of the same file that killed processes left are removed, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_drafts(path.parent, path.name)
    draft = path.with_name(f".{os.getpid()}.tmp.{path.name}")  # keeps the suffix: some writers choose by it
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path, name: str | None = None) -> None:
    """Remove drafts, of the file `name` or of all, that killed processes left; that of a process that lives stays."""
    for draft in folder.glob(f".*.tmp.{'*' if name is None else glob.escape(name)}"):
        pid = draft.name.split(".")[1]
        if pid.isdecimal() and not _alive(int(pid)):
            draft.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with atomic_path(path) as draft:
        draft.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def digest_of(key: Mapping[str, object]) -> str:
    """12 hexadecimal digits that name `key`, a mapping of names to what JSON can hold; equal keys, equal digits."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def digest_of_file(path: Path) -> str:
    """12 hexadecimal digits that name a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
