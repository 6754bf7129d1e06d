"""Files that are verified when they are read: each has its SHA-256 beside it, as `sha256sum --check` reads it.

Parquet and HDF5 files carry no checksum of all their bytes: a flipped bit in stored predictions or weights loads as
other numbers. A file `p.parquet` that is sealed has `p.parquet.sha256` beside it, and is used only when the two agree.
What does not agree is named and can be discarded, so that the caller computes it anew.

A file that takes the place of an older one again and again (a checkpoint) holds its digest itself: two files cannot
change at once, and a process killed between them would leave neither.
"""

import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from lmk.util.errors import LmkError, is_of_the_machine
from lmk.util.files import atomic_path

log = logging.getLogger(__name__)

SEAL = ".sha256"
"""Ends the name of the file that holds another file's digest."""
DIGITS = 64
"""Hexadecimal digits of a digest."""
NO_COMMENT = b"\0\0"
"""The end of a zip file: the length of its comment."""
BLOCK = 1 << 20
"""Bytes that are read at once."""


class DamagedFile(LmkError):
    """A stored file that is not what was written; `path` is which, `reason` is why, in a few words."""

    def __init__(self, path: Path, reason: str):
        super().__init__(path, reason)  # both, so that it survives pickling between processes
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} is damaged: {self.reason}. Remove it, and it is computed anew."


def seal_of(path: Path) -> Path:
    """Where the digest of `path` lies."""
    return path.with_name(path.name + SEAL)


def seal(path: Path) -> None:
    """Write the digest of the file `path`, which is there, beside it."""
    _write_seal(path, path)


@contextmanager
def sealed_path(path: Path) -> Iterator[Path]:
    """A draft that becomes the sealed file `path` when the block ends well: `atomic_path` with a seal.

    The seal is put there first. A process killed between the two leaves a seal without its file, or with the file that
    was there before, which `verify` then refuses: never a file that is taken for whole and is not.
    """
    with atomic_path(path) as draft:
        yield draft
        _write_seal(path, draft)


def verify(path: Path) -> None:
    """Read the file `path` through and compare it with its seal.

    Raises:
        DamagedFile: It is absent, cut, changed, or has no seal of its own.
        OSError: The machine failed (a disk error, too many open files), which says nothing about the file.
    """
    digest = _sealed_digest(path)
    try:
        with _open(path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _damage(path, error) from error
    _compare(path, found, digest)


def read_sealed(path: Path) -> bytes:
    """The content of the sealed file `path`, which is verified; raises as `verify`."""
    digest, content = _sealed_digest(path), read_regular(path)
    _compare(path, hashlib.sha256(content).hexdigest(), digest)
    return content


def read_regular(path: Path) -> bytes:
    """The content of a regular file, which nothing verifies; raises as `verify` where it cannot be read."""
    try:
        with _open(path) as file:
            return file.read()
    except OSError as error:
        raise _damage(path, error) from error


def seal_inside(path: Path) -> None:
    """Write the digest of a zip file (npz is one) into it, as its comment: of all bytes before the digest's own."""
    with path.open("r+b") as file:
        file.seek(-len(NO_COMMENT), os.SEEK_END)
        if file.read() != NO_COMMENT:
            raise ValueError(f"{path} is no zip file without a comment.")
        file.seek(-len(NO_COMMENT), os.SEEK_END)
        file.write(DIGITS.to_bytes(len(NO_COMMENT), "little"))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(digest.encode())


def is_whole_inside(path: Path) -> bool:
    """Whether a file is as `seal_inside` left it; OSError as in `verify`."""
    digest = hashlib.sha256()
    with _open(path) as file:
        left = os.fstat(file.fileno()).st_size - DIGITS
        while left > 0 and (block := file.read(min(left, BLOCK))):
            digest.update(block)
            left -= len(block)
        return left == 0 and file.read() == digest.hexdigest().encode()


def is_sealed(path: Path) -> bool:
    """Whether the file and its seal are there; whether they agree, `verify` says."""
    return path.is_file() and seal_of(path).is_file()


def is_whole(path: Path) -> bool:
    """Whether a sealed file is there as it was written; a damaged one is logged and removed."""
    if not is_sealed(path):
        return False
    try:
        verify(path)
    except DamagedFile as damage:
        log.warning("%s", damage)
        discard(path)
        return False
    return True


def discard(path: Path) -> None:
    """Remove a sealed file and its seal, where they are there."""
    path.unlink(missing_ok=True)
    seal_of(path).unlink(missing_ok=True)


def _write_seal(path: Path, content: Path) -> None:
    """Seal `path`, whose content lies in the file `content` for now."""
    with content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with atomic_path(seal_of(path)) as draft:
        draft.write_bytes(f"{digest}  ".encode() + os.fsencode(path.name) + b"\n")


def _sealed_digest(path: Path) -> str:
    """64 hexadecimal digits that the seal of `path` holds."""
    try:
        with _open(seal_of(path)) as file:
            text = file.read(65)
    except FileNotFoundError as error:
        raise DamagedFile(path, "its checksum is missing" if path.exists() else "it does not exist") from error
    except OSError as error:
        raise _damage(path, error) from error
    if not re.fullmatch(rb"[0-9a-f]{64} ", text):
        raise DamagedFile(path, f"{seal_of(path).name} beside it holds no checksum")
    return text[:64].decode()


def _open(path: Path) -> BufferedReader:
    """A regular file, to read; anything else may never end, or wait for a writer for ever.

    Raises:
        OSError: It cannot be opened, or is none; then without an error number.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError("not a regular file")
    return os.fdopen(number, "rb")


def _compare(path: Path, found: str, digest: str) -> None:
    if found != digest:
        raise DamagedFile(path, f"its content is not what {seal_of(path).name} beside it says")


def _damage(path: Path, error: OSError) -> Exception:
    """The error that a failed reading stands for: damage, or the machine's own error as it is."""
    if is_of_the_machine(error):
        return error
    return DamagedFile(path, (error.strerror or str(error)).lower())
