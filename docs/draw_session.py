"""Record commands in a terminal of 80 columns (tmux) and draw what it showed as a moving picture (SVG).

    python docs/draw_session.py --folder EMPTY_FOLDER "lmk demo" "lmk evaluate"

runs them in a shell there, with this environment's `lmk`, and plays waiting faster than it was. Nothing in the picture
is written by hand: every frame is a screen that tmux showed.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

IMAGE = Path(__file__).parent / "images" / "session.svg"
COLUMNS, ROWS = 80, 30
CELL, LINE, MARGIN = 8.4, 18, 14
"""Pixels of a character's width, a line's height, and the border."""
POLL, LETTER = 0.25, 0.06
"""Seconds between two looks at the terminal, and between two letters that are typed."""
FASTER, SHORTEST, LONGEST, LAST = 16, 0.25, 1.5, 6.0
"""How much faster waiting is played; least and most seconds of a frame, and seconds of the last one."""
PROMPT = "$ "


@dataclass
class Frame:
    """A screen, as rows with escape codes, and the seconds that it is shown."""

    rows: tuple[str, ...]
    seconds: float


class Terminal:
    """A shell in a tmux session of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket = f"lmk-draw-{os.getpid()}"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = ["env", f"PATH={path}", f"PS1={PROMPT}", "TERM=screen-256color", "bash", "--norc", "--noprofile"]
        size = ["-x", str(COLUMNS), "-y", str(ROWS), "-c", str(folder)]
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, *shell)

    def _tmux(self, *words: str) -> str:
        return subprocess.run(["tmux", "-L", self.socket, *words], check=True, capture_output=True, text=True).stdout

    def rows(self) -> tuple[str, ...]:
        """The screen's rows with their escape codes."""
        return tuple(self._tmux("capture-pane", "-e", "-p").rstrip("\n").split("\n"))

    def type(self, words: str) -> None:
        """Send keys."""
        self._tmux("send-keys", "-l", words)

    def enter(self) -> None:
        """Send the end of a line."""
        self._tmux("send-keys", "Enter")

    def close(self) -> None:
        """End the shell."""
        self._tmux("kill-server")


def record(commands: list[str], folder: Path) -> list[Frame]:
    """Every screen that differs from the one before it, while the commands are typed and run."""
    terminal = Terminal(folder)
    try:
        time.sleep(1)
        frames = [Frame(terminal.rows(), LONGEST)]
        for command in commands:
            for letter in command:
                terminal.type(letter)
                time.sleep(LETTER)
                frames.append(Frame(terminal.rows(), LETTER))
            frames[-1].seconds = LONGEST / 2
            terminal.enter()
            _watch(terminal, frames)
            frames[-1].seconds = LONGEST
        frames[-1].seconds = LAST
        return frames
    finally:
        terminal.close()


def _watch(terminal: Terminal, frames: list[Frame]) -> None:
    """Add frames until the prompt is back."""
    seen = time.monotonic()
    while True:
        time.sleep(POLL)
        rows, now = terminal.rows(), time.monotonic()
        long_enough = (now - seen) / FASTER >= SHORTEST
        done = rows[-1] == PROMPT.rstrip()
        if rows != frames[-1].rows and (long_enough or done):
            frames[-1].seconds = min(max((now - seen) / FASTER, SHORTEST), LONGEST)
            frames.append(Frame(rows, SHORTEST))
            seen = now
        if done:
            return


def draw(frames: list[Frame]) -> str:
    """The frames below each other, and a viewport that jumps from one to the next."""
    width, height = COLUMNS * CELL + 2 * MARGIN, ROWS * LINE
    names: dict[str, int] = {}
    stack = []
    for place, frame in enumerate(frames):
        for number, row in enumerate(frame.rows):
            if row.strip():
                name = names.setdefault(row, len(names))
                stack.append(f'<use href="#r{name}" y="{place * height + number * LINE}"/>')
    total = sum(frame.seconds for frame in frames)
    keys, at = [], 0.0
    for place, frame in enumerate(frames):
        keys.append(f"{100 * at / total:.3f}%{{transform:translateY({-place * height}px)}}")
        at += frame.seconds
    last = -(len(frames) - 1) * height
    colours = {"paper": MONOKAI.background_color.hex, "ink": MONOKAI.foreground_color.hex}
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height + 2 * MARGIN}" role="img">
<title>A terminal: a run of lmk on the demo, from the command to the submission</title>
<style>
text{{font:14px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:{colours["ink"]};white-space:pre}}
.stack{{animation:play {total:.2f}s steps(1,end) infinite}}
@keyframes play{{{"".join(keys)}}}
@media (prefers-reduced-motion:reduce){{.stack{{animation:none;transform:translateY({last}px)}}}}
</style>
<defs>{"".join(f'<g id="r{name}">{_row(row)}</g>' for row, name in names.items())}</defs>
<rect width="100%" height="100%" rx="8" fill="{colours["paper"]}"/>
<svg x="{MARGIN}" y="{MARGIN}" width="{COLUMNS * CELL:g}" height="{height}"><g class="stack">
{"".join(stack)}
</g></svg>
</svg>
"""


def _row(row: str) -> str:
    """One row as SVG text, a piece for each style, at the place of its first character."""
    text = Text.from_ansi(row)
    pieces = []
    marks = sorted({0, len(text.plain), *(edge for span in text.spans for edge in (span.start, span.end))})
    for start, end in itertools.pairwise(marks):
        part = text.plain[start:end]
        if part.strip():
            style = Style.combine([span.style for span in text.spans if span.start <= start < span.end] or [Style()])
            room = f'x="{start * CELL:g}" y="{LINE - 5}" textLength="{len(part) * CELL:g}"'
            pieces.append(f"<text {room}{_look(style)}>{escape(part)}</text>")
    return "".join(pieces)


def _look(style: Style) -> str:
    """Colour and weight of a style as attributes."""
    colour = f' style="fill:{style.color.get_truecolor(MONOKAI).hex}"' if style.color else ""
    return colour + (' font-weight="bold"' if style.bold else "") + (' opacity=".6"' if style.dim else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="+")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=IMAGE)
    options = parser.parse_args()
    frames = record(options.commands, options.folder)
    options.out.write_text(draw(frames), encoding="utf-8")
    seconds = sum(frame.seconds for frame in frames)
    print(f"{options.out}: {len(frames)} frames, {seconds:.0f} s, {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
