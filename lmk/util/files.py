"""Files that are whole or absent, folders that one process holds, and digests that name what files hold."""

import fcntl
import glob
import hashlib
import json
import lzma
import os
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from lmk.util.errors import LmkError

NPZ_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""What numpy raises on a damaged npz file: a turned bit may name another size, kind of value or way of packing, or say
that a member is encrypted."""
LOCK = ".lock"
"""The file by which a process holds a folder; it stays, empty, and means nothing by itself."""


def nearest_there(path: Path) -> Path:
    """The path itself, or the nearest of its parents that is there."""
    place = path.resolve()
    return next(folder for folder in (place, *place.parents) if folder.exists())


def installed_file(package: str, file: str) -> Path | None:
    """A file of an installed package, which is not imported; None where the package or the file is absent."""
    found = find_spec(package)
    folders = found.submodule_search_locations if found else None
    return next((path for path in (Path(folder) / file for folder in folders or ()) if path.is_file()), None)


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


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process while the block runs.

    The kernel keeps the lock and lets go of it when the process ends, however it ends: nothing stale can block.

    Raises:
        LmkError: Another process holds it; the text tells which.
    """
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "it has not said which yet"
            raise LmkError(
                f"Another lmk works in {folder} ({holder}). Wait until it has ended, or name another --workspace."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}, `{' '.join(['lmk', *sys.argv[1:]])[:200]}`\n")
        file.flush()
        yield
        file.truncate(0)


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
