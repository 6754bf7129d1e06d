"""`lmk leaderboard`: ranks, our place, the medal lines, and what changed since last time."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import (
    DEFAULT_COMPETITION,
    DEFAULT_WORKSPACE,
    CompetitionOption,
    JsonOption,
    WorkspaceOption,
    app,
    print_json,
)
from lmk.cli.kaggle_options import DEFAULT_TIMEOUT, TimeoutOption, connect, kaggle_slug

if TYPE_CHECKING:
    from lmk.kaggle.api import Client
    from lmk.kaggle.leaderboard import Team


@app.command()
def leaderboard(
    competition: CompetitionOption = DEFAULT_COMPETITION,
    top: Annotated[int, typer.Option(min=1, help="Show this many teams, and ours.")] = 10,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=10, help="Seconds between two looks.")] = 120.0,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the whole board into this file, too.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Show the public leaderboard with our row, the distance to the medals, and the moves since last time."""
    from lmk.cli.console import next_steps
    from lmk.cli.kaggle_views import leaderboard_table, stdout
    from lmk.kaggle.leaderboard import medal_lines
    from lmk.util.workspace import Workspace

    slug = kaggle_slug(competition)
    seen = Workspace.open(workspace).root / "leaderboards" / f"{slug}.json"
    client = connect(timeout)
    console = stdout()
    while True:
        board = look(client, slug, seen)
        if csv is not None:
            from lmk.kaggle.frames import leaderboard_frame, write_csv

            write_csv(leaderboard_frame(board), csv)
        if as_json:
            print_json({"teams": [asdict(team) for team in board], "medals": medal_lines(board)})
        else:
            title = f"{slug}, {len(board):,} teams, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC"
            console.print(leaderboard_table(board, top, console.width, title))
        if not watch:
            if not as_json:
                next_steps(f"lmk submissions --update -c {slug}")
            return
        time.sleep(every)


def look(client: Client, slug: str, seen: Path) -> list[Team]:
    """The board now, compared with the one in `seen`, which it replaces."""
    from lmk.kaggle.leaderboard import compare, load_board, read_board, save_board

    board = read_board(client.leaderboard(slug), client.username)
    if not any(team.ours for team in board) and (mine := client.submissions(slug, newest=1)):
        board = read_board(client.leaderboard(slug), client.username, mine[0].team)
    compared = compare(board, load_board(seen))
    save_board(seen, board)
    return compared
