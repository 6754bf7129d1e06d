"""The public leaderboard: ranks, medal lines, and what changed since it was last seen."""

import csv
import io
import json
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lmk.util.errors import LmkError, RemoteError, quoted, reason_of
from lmk.util.files import write_json

MEDALS = ("gold", "silver", "bronze")
LARGEST_BOARD = 200_000_000
"""Bytes of the table; boards of ten thousand teams have about one million."""
COLUMNS = ("TeamName", "Score", "SubmissionCount", "LastSubmissionDate")
"""Columns that are read of every row."""
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, NotImplementedError, RuntimeError),
    *(KeyError, ValueError, TypeError, AttributeError, OverflowError, OSError, csv.Error),
)
"""Errors in reading a leaderboard: a zip that is none, packed otherwise or encrypted, another table."""


@dataclass(frozen=True)
class Team:
    """One row of the board.

    Attributes:
        team: Kaggle's number of the team, its name where the board has none.
        ours: Whether it is our team.
        moved: Ranks won since the board was last seen (negative: lost), None for a team that is new.
        gained: Score won since then.
    """

    rank: int
    name: str
    score: float
    submissions: int
    date: str
    ours: bool = False
    moved: int | None = 0
    gained: float = 0.0
    team: str = ""

    @property
    def identity(self) -> str:
        """What distinguishes one team from another: names may be doubled."""
        return self.team or self.name


def read_board(archive: bytes, username: str, team: str = "") -> list[Team]:
    """The teams in a downloaded leaderboard, best first; ours by a member's name, else by the team's.

    The hosts' benchmarks, which stand among the teams with rank 0, and teams without a score yet are left out, so that
    ranks and medals are those of the site.

    Raises:
        RemoteError: The archive is not what Kaggle sends.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
            table = next((member for member in bundle.infolist() if member.filename.endswith(".csv")), None)
            if table is None:
                raise ValueError("it holds no table")
            if table.file_size > LARGEST_BOARD:
                raise ValueError(f"it claims to hold {table.file_size:,} bytes")
            rows = _rows(bundle.read(table).decode("utf-8-sig"))
        return [
            Team(
                rank=rank,
                name=row["TeamName"],
                score=_score(row["Score"]),
                submissions=int(row["SubmissionCount"]),
                date=row["LastSubmissionDate"],
                ours=_ours(row, username, team),
                team=row.get("TeamId") or "",
            )
            for rank, row in enumerate(filter(_is_ranked, rows), 1)
        ]
    except DAMAGE as error:
        raise RemoteError(f"The leaderboard that Kaggle sent cannot be read ({reason_of(error)}).") from error


def _rows(text: str) -> list[dict[str, str]]:
    """The rows of a board by column; a table of another layout would else pass for a board without teams."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if lacking := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise ValueError(f"it has no column {lacking[0]}")
    rows = list(reader)
    if any(row[name] is None for row in rows for name in COLUMNS):
        raise ValueError("a row is too short")
    return rows


def _is_ranked(row: dict[str, str]) -> bool:
    return (row.get("Rank") or "1").strip() != "0" and bool(row["Score"].strip())


def _score(text: str) -> float:
    score = float(text)
    if not math.isfinite(score):
        raise ValueError(f"{text!r} is no score")
    return score


def _ours(row: dict[str, str], username: str, team: str) -> bool:
    members = [name.strip() for name in (row.get("TeamMemberUserNames") or "").split(",")]
    return bool(username and username in members) or bool(team and row["TeamName"] == team)


def medal_ranks(teams: int) -> dict[str, int]:
    """The last rank of each medal on a board of so many teams, by Kaggle's progression rules; shares rounded down.

    Under 100 teams: a tenth, a fifth, two fifths. Under 250: 10, a fifth, two fifths. Under 1,000: 10 and one more for
    every 500 teams, 50, 100. From 1,000 on: 10 and one more for every 500, a twentieth, a tenth.
    """
    if teams < 100:
        return {"gold": teams // 10, "silver": teams // 5, "bronze": 2 * teams // 5}
    if teams < 250:
        return {"gold": 10, "silver": teams // 5, "bronze": 2 * teams // 5}
    if teams < 1000:
        return {"gold": 10 + teams // 500, "silver": 50, "bronze": 100}
    return {"gold": 10 + teams // 500, "silver": teams // 20, "bronze": teams // 10}


def medal_lines(board: list[Team]) -> dict[str, float]:
    """The score that each medal takes now; a medal that so small a board does not give is absent."""
    return {medal: board[rank - 1].score for medal, rank in medal_ranks(len(board)).items() if rank > 0}


def compare(board: list[Team], seen: Iterable[Team]) -> list[Team]:
    """The board with each team's move since `seen`; with an empty `seen` there is no move."""
    before = {team.identity: team for team in seen}
    if not before:
        return board
    return [
        replace(
            team,
            moved=before[team.identity].rank - team.rank if team.identity in before else None,
            gained=team.score - before[team.identity].score if team.identity in before else 0.0,
        )
        for team in board
    ]


def load_board(path: Path) -> list[Team]:
    """The board as it was last seen; empty where it never was.

    Raises:
        LmkError: The file is damaged.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        found = [Team(**values) for values in listed]
        if not isinstance(listed, list) or not all(
            type(team.rank) is int and isinstance(team.score, float) for team in found
        ):
            raise ValueError("a rank or a score is no number")
        return found
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise LmkError(
            f"{path} cannot be read ({quoted(str(error))}). Remove it; it only holds the board as last seen."
        ) from error


def save_board(path: Path, board: list[Team]) -> None:
    """Remember a board for the next call."""
    write_json(path, [asdict(replace(team, moved=0, gained=0.0)) for team in board])
