"""CSV files looked at as bytes, before a parser loses or invents rows: what is no CSV at all, and stray quotes.

A parser takes an opening quote that nobody meant as the beginning of one long cell: rows go without a word. The tables
of a competition have no cell of several lines, so every line must hold an even number of quotes.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmk.util.errors import LmkError

_BLOCK = 1 << 24
_ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"\x28\xb5\x2f\xfd",
)
"""How zip, gzip, bzip2, xz, 7z and zstd begin."""


class Lines(NamedTuple):
    """How many lines of a file hold anything, and whether the last one is ended."""

    filled: int
    ended: bool


def check_is_text(path: Path) -> None:
    """Refuse a file that is plainly no CSV: absent, empty, a web page, an archive, binary, no file at all.

    Raises:
        LmkError: The text says which, and what to do.
    """
    try:
        if path.exists() and not path.is_file():  # a folder, or a pipe that nobody writes to
            raise LmkError(f"{path} cannot be read: it is a {'folder' if path.is_dir() else 'device or pipe'}.")
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise LmkError(f"{path} does not exist.") from error
    except OSError as error:
        raise LmkError(f"{path} cannot be read: {error.strerror}.") from error
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise LmkError(f"{path} is empty. Fetch it again.")
    if text.startswith(b"<"):
        raise LmkError(f"{path} is a web page, not a CSV file: perhaps a login page was saved. Fetch it again.")
    if head.startswith(_ARCHIVES):
        raise LmkError(f"{path} is an archive, not a CSV file. Unpack it, and name the file that was in it.")
    if b"\0" in head or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise LmkError(f"{path} is binary or UTF-16, not a CSV file in UTF-8. Fetch it again, or convert it.")


def check_lines(path: Path) -> Lines:
    """Count the lines of a CSV file that are not blank, and refuse one that leaves a quote open; 1 GB takes seconds.

    Raises:
        LmkError: A line has an odd number of quotes; the text names it.
        OSError: The file cannot be read.
    """
    done = count = 0  # lines that are over, and those of them that hold anything
    rest = b""  # the beginning of a line whose end is in the next block
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            whole, end, begun = (rest + block).rpartition(b"\n")
            if not end:
                rest = begun
                continue
            count += _check_whole(path, whole + end, done)
            done += whole.count(b"\n") + 1
            rest = begun
    if rest:
        count += _check_whole(path, rest + b"\n", done)
    return Lines(count, not rest)


def _check_whole(path: Path, text: bytes, before: int) -> int:
    """How many of some whole lines hold anything; `before`: lines of the file before them."""
    letters = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    starts = np.append(0, ends[:-1] + 1)
    if b'"' in text:
        quotes = np.searchsorted(np.flatnonzero(letters == ord('"')), np.append(0, ends))
        odd = np.flatnonzero(np.diff(quotes) % 2)
        if len(odd):
            raise LmkError(
                f'{path}, line {before + int(odd[0]) + 1}: a quote (") stands alone, so that cells and rows after it '
                "cannot be distinguished; a cell must end on its line. Remove the quote, or double it within quotes."
            )
    blank = (ends == starts) | ((ends == starts + 1) & (letters[starts] == ord("\r")))
    return len(ends) - int(blank.sum())
