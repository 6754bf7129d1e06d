"""Progress and notes of a command: rich on a terminal, plain lines in logs; on stderr, always literal."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.segment import Segment
from rich.style import Style
from rich.table import Column
from rich.text import Text

from lmk.cli.output import filled
from lmk.util.progress import Advance, silent
from lmk.util.text import safe

QUIET_SECONDS = 2.0
"""A stage that is done sooner shows no progress."""
LINE_SECONDS = 15.0
"""Seconds between two lines of one stage where stderr is no terminal."""


class LiteralConsole(Console):
    """A rich console that takes no text for markup, emoji codes or links, and shows control characters.

    Strings are made safe before they are laid out. What comes in rich's own `Text` is made safe where it is rendered:
    nothing gets through, it is only less well laid out.
    """

    def render_str(self, text: str, *, style: str | Style = "", **options: object) -> Text:
        """The text as it is, in one style."""
        wanted = {name: value for name, value in options.items() if name in ("justify", "overflow")}
        return Text(safe(text, lines=True), style=style, **wanted)  # type: ignore[arg-type]

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of a renderable, their text safe."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else safe(text, lines=True), style, control)


class _SafeFormatter(logging.Formatter):
    """Records of any logger as safe text."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record), lines=True)


stderr = LiteralConsole(stderr=True, highlight=False)


def set_loudness(quiet: bool, verbose: bool) -> None:
    """Quiet: nothing but errors and warnings. Verbose: messages of lmk's own loggers, too."""
    stderr.quiet = quiet
    level = logging.DEBUG if verbose else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("lmk").setLevel(level)


def is_verbose() -> bool:
    """Whether `--verbose` was given."""
    return logging.getLogger("lmk").isEnabledFor(logging.DEBUG)


def note(text: object) -> None:
    """Print a line for the person on stderr, filled between words on a terminal; never data."""
    _print_literally(filled(safe(text, lines=True), sys.stderr))


def _print_literally(text: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.flush()  # in a log of both streams a result stands before the notes that follow it
    stderr.print(text, markup=False, emoji=False, soft_wrap=True)


def next_steps(*lines: str) -> None:
    """Print commands that a person may call next, a line each, on stderr; no line is broken: it can be copied.

    Within a kernel nothing is printed: nobody can type there, and its paths are gone when its log is read.
    """
    if os.environ.get("LMK_BUNDLE"):
        return
    for place, line in enumerate(lines):
        _print_literally(safe(f"{'Next:' if place == 0 else '     '} {line}"))


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Advance]:
    """`Progress` for people: a bar with rate and time left on a terminal, else a line now and then."""
    kind = silent if stderr.quiet else _bar if stderr.is_terminal else _lines
    with kind(label, total, unit) as advance:
        yield advance


def pace(task: Task) -> float:
    """How many are done a second, 0 where a pace says nothing (none is done, or they have no unit).

    The pace of the last half minute: a first step often takes much longer than the others. Since the beginning where
    fewer than two were done in that time.
    """
    if not task.completed or not task.fields["unit"]:
        return 0.0
    return task.speed or task.completed / max(task.elapsed or 0.0, 1e-9)


class Rate(ProgressColumn):
    """The pace of a bar, the one by which `Clock` says what is left."""

    def render(self, task: Task) -> Text:
        """`7.9 photos/s`, or `12 s each`."""
        now = pace(task)
        return Text(speed(now, 1.0, safe(task.fields["unit"])) if now else "")


class Clock(ProgressColumn):
    """The one time of a bar, with its name: what is left by its pace, or the time so far where it has none."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """`about 1:20 left`, or `0:05 so far`."""
        now = pace(task)
        if now and task.total is not None:
            return Text(f"about {clock((task.total - task.completed) / now)} left")
        return Text(f"{clock(task.elapsed or 0.0)} so far")


def clock(seconds: float) -> str:
    """Seconds as `0:05`, `12:30` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_shown: list[Progress] = []
"""Bars on the terminal, at most one `Progress`: a stage within a stage adds its bar below."""


@contextmanager
def _bar(label: str, total: int, unit: str) -> Iterator[Advance]:
    with _bars() as bars:
        task = bars.add_task(safe(label), total=total, unit=unit)

        def advance(count: int) -> None:
            bars.update(task, advance=count)

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
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),  # leaves room for the time at 80 columns
        MofNCompleteColumn(),
        Rate(),
        Clock(table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=stderr, transient=True) as bars:
        _shown.append(bars)
        try:
            yield bars
        finally:
            _shown.clear()


def speed(done: float, seconds: float, unit: str) -> str:
    """`7.9 photos/s`, or `12 s each` of what takes seconds; nothing without a unit."""
    if not unit:
        return ""
    rate = done / max(seconds, 1e-9)
    return f"{rate:,.1f} {unit}/s" if rate >= 0.5 or not done else f"{seconds / done:,.0f} s each"


@contextmanager
def _lines(label: str, total: int, unit: str) -> Iterator[Advance]:
    start = last = time.monotonic()
    done, label = 0, safe(label)

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LINE_SECONDS and done < total:
            last = now
            rate = f" {unit}, {speed(done, now - start, unit)}" if unit else f", {now - start:,.0f} s"
            print(f"{label}: {done:,} of {total:,}{rate}", file=sys.stderr, flush=True)

    yield advance
    seconds = time.monotonic() - start
    if seconds >= QUIET_SECONDS:
        count = f"{done:,} {unit}" if unit else f"{done:,} of {total:,}"
        print(f"{label}: {count} in {seconds:,.0f} s", file=sys.stderr, flush=True)
