"""Plain output of the commands: results on stdout, errors on stderr, safe to print whatever names and files hold.

Nothing in `lmk/cli` prints but by this file and `console.py` (rich): both write foreign text literally, with control
characters shown. A test finds what bypasses them.
"""

import io
import json
import shutil
import sys
import textwrap
from typing import TextIO

from lmk.util.text import safe


def prepare_streams() -> None:
    """Let stdout and stderr write any text, whatever their encoding: what it lacks is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: object = "") -> None:
    """Print a line of a result on stdout; ends of lines within it are shown, so that it stays one line."""
    print(safe(text))


def say_text(text: object, indent: str = "") -> None:
    """Print prose on stdout: one line in a file or a pipe, filled between words on a terminal.

    Args:
        text: The text of one line.
        indent: What later lines on a terminal begin with.
    """
    print(filled(safe(text), sys.stdout, indent))


def filled(text: str, stream: TextIO, indent: str = "") -> str:
    """Safe text, its lines broken between words where the stream is a terminal; elsewhere as it is."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = (
        textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )
    return "\n".join(lines)


def say_block(text: object) -> None:
    """Print a text of several lines on stdout, such as a log."""
    print(safe(text, lines=True))


def say_piece(text: object) -> None:
    """Print a piece of a log as it comes, without an end of line of its own."""
    print(safe(text, lines=True), end="", flush=True)


def print_json(value: object) -> None:
    """Print one JSON object on stdout; a number that JSON does not know (NaN, infinity) is a mistake in lmk."""
    print(json.dumps(value, indent=2, allow_nan=False))  # in ASCII: control characters are escaped


def interrupted() -> None:
    """Say on stderr that Ctrl-C ended the command, and that nothing is lost."""
    print("Interrupted; the same command goes on.", file=sys.stderr)


def fail(text: object) -> None:
    """Print the line of an error on stderr, whatever the loudness."""
    print(filled(f"error: {safe(text)}", sys.stderr), file=sys.stderr)
