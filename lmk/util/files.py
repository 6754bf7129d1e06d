"""Files that are whole or absent, locks that one process holds, and digests that name what files hold."""

import hashlib
import json
import lzma
import os
import struct
import sys
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from filelock import lock_descriptor

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
    TypeError,
    AttributeError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""Errors that numpy raises on a damaged npz file: a turned bit may name another size, kind of value or way of packing,
or say that a member is encrypted; an npy file in place of an npz gives an array, which holds no members."""
LOCK = ".lock"
"""The file by which a process holds a folder; it stays, empty, and means nothing by itself."""
SWEEP_SHARE = 10
"""A folder is searched for drafts again after this many times the seconds that the last search took: in a folder of
100,000 files a search for every file that is written would make the time grow with the square of the files."""

_next_sweep: dict[Path, float] = {}
"""When a folder is searched for drafts again, by `time.monotonic`."""


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

    Drafts that killed processes left in the folder are removed, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    draft = path.with_name(f".{os.getpid()}.tmp.{path.name}")  # keeps the suffix: some writers choose by it
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove the drafts that killed processes left in `folder`, unless that was done a moment ago."""
    start = time.monotonic()
    if start >= _next_sweep.get(folder, start):
        remove_drafts(folder)
        end = time.monotonic()
        _next_sweep[folder] = end + SWEEP_SHARE * (end - start)


def remove_drafts(folder: Path) -> None:
    """Remove drafts in `folder` that killed processes left; that of a process that lives stays."""
    for draft in folder.glob(".*.tmp.*"):
        pid = draft.name.split(".")[1]
        if pid.isdecimal() and not is_alive(int(pid)):
            draft.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs."""
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

    The operating system keeps the lock and releases it when the process ends, however it ends: nothing stale can block.

    Raises:
        LmkError: Another process holds it; the text names that process.
    """
    with _held(
        folder / LOCK, f"Another lmk works in {folder}", "Wait until it has ended, or name another --workspace."
    ):
        yield


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Hold what `path` names (a file that is being made, present or not) while the block runs.

    The lock is `path` with the suffix `.lock`; it is removed at the end.

    Raises:
        LmkError: Another process holds it; the text names that process.
    """
    lock = path.with_name(f"{path.name}{LOCK}")
    with _held(lock, f"Another lmk makes {path}", "Wait until it has ended, then run the command again."):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def _held(lock: Path, busy: str, advice: str) -> Iterator[None]:
    """Hold the file `lock`, which names its holder meanwhile."""
    with _locked_file(lock, busy, advice) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()}, `{' '.join(['lmk', *sys.argv[1:]])[:200]}`\n")
        file.flush()
        yield
        file.truncate(0)


@contextmanager
def _locked_file(lock: Path, busy: str, advice: str) -> Iterator[TextIO]:
    while True:
        with lock.open("a+", encoding="utf-8", errors="replace") as file:
            if not lock_descriptor(file.fileno(), blocking=False):
                file.seek(0)
                holder = file.read(1000).strip() or "it has not said which yet"
                raise LmkError(f"{busy} ({holder}). {advice}")
            if os.fstat(file.fileno()).st_nlink:  # else its last holder removed it after it was opened here
                yield file
                return


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
