"""How submissions, the leaderboard and the trust in dev look in a terminal; from 120 columns on the wide layout."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lmk.cli.console import LiteralConsole

if TYPE_CHECKING:
    from lmk.kaggle.api import Submission
    from lmk.kaggle.leaderboard import Team
    from lmk.kaggle.records import Record
    from lmk.kaggle.trust import Trust

WIDE = 120
LONGEST_NAME = 100
"""Characters of a name or a message that are shown."""
STATUS_STYLES = {"complete": "green", "pending": "yellow", "unconfirmed": "yellow", "error": "red"}
MEDAL_STYLES = {"gold": "bright_yellow", "silver": "white", "bronze": "dark_orange3"}


def stdout() -> Console:
    """The console for data: as wide as the terminal, wide in a pipe unless COLUMNS says otherwise."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return LiteralConsole(width=140 if piped else None, highlight=False)


def shown(text: str) -> str:
    """A name or message of others on one line: control characters and marks of direction as escapes, cut where long."""
    safe = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return safe if len(safe) <= LONGEST_NAME else f"{safe[: LONGEST_NAME - 1]}…"


def _cell(text: str) -> Text:
    """A cell whose text is literal: rich takes a plain string for markup."""
    return Text(shown(text))


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in columns:
        whole = justify == "right" or name == "file"  # a name broken in two is not found again
        overflow = "ellipsis" if name == "file" else "fold"
        table.add_column(name, justify=justify, no_wrap=whole, overflow=overflow)  # type: ignore[arg-type]
    return table


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"


def _dev(record: "Record", short: bool) -> str:
    if "gap" not in record.dev:
        return "–"
    if not {"low", "high"} <= set(record.dev):
        return f"{record.dev['gap']:.5f}"
    interval = f"{record.dev['low']:.3f}–{record.dev['high']:.3f}"
    return f"{record.dev['gap']:.5f}\n{interval}" if short else f"{record.dev['gap']:.5f} ({interval})"


def minute(moment: str) -> str:
    """A moment in ISO 8601 to the minute, as all tables show it: `2026-01-02 03:04`."""
    return moment[:16].replace("T", " ")


def _stacked(name: Text, *others: Text | str) -> Text:
    """A cell of a narrow terminal: a bold name, and below it a line for each of the others that is not empty."""
    name.stylize("bold")
    return Text("\n").join([name, *(line if isinstance(line, Text) else Text(line, "dim") for line in others if line)])


def _status(status: str) -> Text:
    return Text(status, style=STATUS_STYLES.get(status, ""))


def _made_of(record: "Record") -> str:
    if record.kernel:
        return f"kernel {record.kernel}"
    models = ", ".join(record.models)
    return f"{record.stage}: {models}" if record.parents else models or "–"


def submissions_table(records: Sequence["Record"], unknown: Sequence["Submission"], width: int) -> RenderableType:
    """The table of submissions, newest first; `unknown` are those that Kaggle lists and no record knows."""
    wide = width >= WIDE
    cells = ["sent (UTC)", "file", "message", "made of"] if wide else ["file, message, made of, sent (UTC)"]
    names = [*cells, "dev GAP", "public", "private", "status"]
    table = _table(*((name, "right" if name in ("dev GAP", "public", "private") else "left") for name in names))
    for record in sorted(records, key=lambda record: record.sent, reverse=True):
        scores = (_dev(record, short=True), _score(record.public), _score(record.private), _status(record.status))
        what = [_cell(record.file), _cell(record.message), _cell(_made_of(record))]
        table.add_row(*([minute(record.sent), *what] if wide else [_stacked(*what, minute(record.sent))]), *scores)
    for submission in unknown:
        when = submission.date.strftime("%Y-%m-%d %H:%M") if submission.date else "–"
        scores = ("–", _score(submission.public), _score(submission.private), _status(submission.status))
        what = [_cell(submission.file_name), _cell(submission.description)]
        table.add_row(*([when, *what, "–"] if wide else [_stacked(*what, when)]), *scores)
    return table


def leaderboard_table(board: Sequence["Team"], top: int, width: int, title: str) -> RenderableType:
    """The first `top` teams, our row with its neighbours, and how far the medals are."""
    from lmk.kaggle.leaderboard import medal_ranks

    wide = width >= WIDE
    last = ("gained", "right"), ("submissions", "right"), ("last submission (UTC)", "left")
    table = _table(
        ("rank", "right"), ("", "left"), ("", "left"), ("team", "left"), ("score", "right"), *last[: 3 * wide]
    )
    ours = next((team for team in board if team.ours), None)
    near = {ours.rank + step for step in (-1, 0, 1)} if ours else set()
    ranks = medal_ranks(len(board))
    last_shown = 0
    for team in board:
        if team.rank > top and team.rank not in near:
            continue
        if team.rank > last_shown + 1:
            table.add_row("…")
        last_shown = team.rank
        medal = next((name for name, rank in ranks.items() if team.rank <= rank), "")
        extra = (
            f"{team.gained:+.5f}" if team.gained else "",
            str(team.submissions),
            _cell(minute(team.date)),
        )
        table.add_row(
            str(team.rank),
            _move(team.moved),
            Text("●" if medal else " ", style=MEDAL_STYLES.get(medal, "")),
            Text(shown(team.name) + ("  ← us" if team.ours else "")),
            f"{team.score:.5f}",
            *extra[: 3 * wide],
            style="bold reverse" if team.ours else "",
        )
    return Group(Text(shown(title), style="bold"), table, Text(), *_medal_text(board))


def _move(moved: int | None) -> Text:
    if moved is None:
        return Text("new", style="cyan")
    if moved == 0:
        return Text("")
    return Text(f"▲{moved}", style="green") if moved > 0 else Text(f"▼{-moved}", style="red")


def _medal_text(board: Sequence["Team"]) -> list[Text]:
    from lmk.kaggle.leaderboard import medal_lines, medal_ranks

    ours = next((team for team in board if team.ours), None)
    lines = []
    for medal, score in medal_lines(list(board)).items():
        text = Text(f"{medal:<6} to rank {medal_ranks(len(board))[medal]:>4}: {score:.5f}", MEDAL_STYLES[medal])
        if ours:
            distance = score - ours.score
            text.append(f"  {distance:.5f} away" if distance > 0 else "  reached", "default")
        lines.append(text)
    if ours is None:
        lines.append(Text("We are not on the board yet: `lmk submit` puts us there."))
    return lines


def trust_view(
    records: Sequence["Record"], found: "Trust", plot: Sequence[str], competition: str, width: int
) -> RenderableType:
    """The plot of dev GAP against public score and what it says in words."""
    wide = width >= WIDE
    cells = ["sent (UTC)", "file"] if wide else ["file, sent (UTC)"]
    numbers = ["dev GAP", "public", "dev − public"]
    table = _table(*((name, "left") for name in cells), *((name, "right") for name in numbers))
    for record in records:
        name, sent = _cell(record.file), minute(record.sent)
        difference = f"{record.dev['gap'] - (record.public or 0.0):+.5f}"
        scores = (_dev(record, short=not wide), _score(record.public), difference)
        table.add_row(*([sent, name] if wide else [_stacked(name, sent)]), *scores)
    heading = Text(f"{competition}: dev GAP against public score", style="bold")
    return Group(heading, Text("\n".join(plot)), Text(), table, Text(), Text(trust_words(found)))


def trust_words(found: "Trust") -> str:
    """One or two sentences on what the comparison says."""
    if found.pairs == 0:
        count = "1 scored submission" if found.submissions == 1 else f"{found.submissions} scored submissions"
        return f"{count}: too few to compare. Two that differ are the least."
    words = f"Dev ranks {found.agreeing} of {found.pairs} pairs of submissions as the board does"
    if found.rank_correlation is not None:
        words += f" (rank correlation {found.rank_correlation:+.2f} over {found.submissions})"
    words += f"; dev is {abs(found.bias):.5f} {'above' if found.bias >= 0 else 'below'} it on average."
    if found.submissions < 5:
        words += " Under five submissions this says little."
    return words
