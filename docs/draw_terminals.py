"""Draw what a person sees in a terminal, at 80 and 140 columns, into docs/images.

    python docs/draw_terminals.py --records submissions --board workspace/leaderboards/provence.json

draws the submissions, the leaderboard and the scores that lie there.
"""

import argparse
import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI

from lmk.cli.kaggle_views import leaderboard_table, submissions_table, trust_view
from lmk.kaggle.leaderboard import load_board
from lmk.kaggle.records import Records
from lmk.kaggle.trust import scatter, trust

WIDTHS = (80, 140)
FORMAT = re.sub(
    r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
)  # fonts from the web are not fetched
IMAGES = Path(__file__).parent / "images"


def draw(name: str, command: str, view: RenderableType, width: int) -> Path:
    """One picture; the same view gives the same bytes."""
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, highlight=False, legacy_windows=False
    )
    console.print(view)
    path = IMAGES / f"{name}-{width}.svg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        console.export_svg(title=command, theme=MONOKAI, code_format=FORMAT, unique_id=f"{name}-{width}"),
        encoding="utf-8",
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--board", type=Path, required=True)
    options = parser.parse_args()
    records = Records(options.records).all()
    board = load_board(options.board)
    slug = options.board.stem
    scored = [record for record in records if record.public is not None and "gap" in record.dev]
    dev, public = [record.dev["gap"] for record in scored], [record.public or 0.0 for record in scored]
    for width in WIDTHS:
        print(draw("submissions", "lmk submissions", submissions_table(records, [], width), width))
        title = f"{slug}, {len(board):,} teams"
        print(draw("leaderboard", f"lmk leaderboard -c {slug}", leaderboard_table(board, 10, width, title), width))
        view = trust_view(scored, trust(dev, public), scatter(dev, public), slug, width)
        print(draw("scores", "lmk scores", view, width))


if __name__ == "__main__":
    main()
