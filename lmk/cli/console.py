"""What a person sees while a command works: rich on a terminal, plain lines in logs; always on stderr."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lmk.util.progress import Advance, silent

QUIET_SECONDS = 2.0
"""A stage that is done sooner shows no progress."""
LINE_SECONDS = 15.0
"""Between two lines of one stage where stderr is no terminal."""

stderr = Console(stderr=True, highlight=False)


def set_loudness(quiet: bool, verbose: bool) -> None:
    """Quiet: nothing but errors and warnings. Verbose: what lmk's own loggers tell, too."""
    stderr.quiet = quiet
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("lmk").setLevel(level)


def note(text: str) -> None:
    """One line for the person; never data."""
    stderr.print(text, markup=False, soft_wrap=True)


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Advance]:
    """`Progress` for people: a bar with rate and time left on a terminal, else a line now and then."""
    kind = silent if stderr.quiet else _bar if stderr.is_terminal else _lines
    with kind(label, total, unit) as advance:
        yield advance


_shown: list[Progress] = []
"""The bars on the terminal, at most one `Progress`: a stage within a stage adds its bar below."""


@contextmanager
def _bar(label: str, total: int, unit: str) -> Iterator[Advance]:
    with _bars() as bars:
        task = bars.add_task(label, total=total, rate="")
        start = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bars.update(task, advance=count, rate=speed(done, time.monotonic() - start, unit))

        try:
            yield advance
        finally:
            bars.remove_task(task)


@contextmanager
def _bars() -> Iterator[Progress]:
    """The bars that are shown, or new ones, which go when the outermost stage ends."""
    if _shown:
        yield _shown[0]
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bars:
        _shown.append(bars)
        try:
            yield bars
        finally:
            _shown.clear()


def speed(done: int, seconds: float, unit: str) -> str:
    """`7.9 photos/s`, or `12 s each` of what takes seconds."""
    rate = done / max(seconds, 1e-9)
    return f"{rate:,.1f} {unit}/s" if rate >= 0.5 or not done else f"{seconds / done:,.0f} s each"


@contextmanager
def _lines(label: str, total: int, unit: str) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LINE_SECONDS and done < total:
            last = now
            print(
                f"{label}: {done:,} of {total:,} {unit}, {speed(done, now - start, unit)}", file=sys.stderr, flush=True
            )

    yield advance
    seconds = time.monotonic() - start
    if seconds >= QUIET_SECONDS:
        print(f"{label}: {done:,} {unit} in {seconds:,.0f} s", file=sys.stderr, flush=True)
