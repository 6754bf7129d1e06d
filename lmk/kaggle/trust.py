"""How far dev may be trusted: dev GAP against public score over the submissions made."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import stats

from lmk.util.errors import LmkError
from lmk.util.files import atomic_path

MARK, LINE = "●", "·"


@dataclass(frozen=True)
class Trust:
    """Rank agreement of dev GAP and public score.

    Attributes:
        submissions: How many were compared.
        rank_correlation: Spearman's, in [-1, 1]; None under three submissions or where one side never changes.
        pairs: Pairs of submissions that differ on both sides.
        agreeing: How many of them dev ranks as the board does.
        bias: Mean of dev GAP minus public score.
    """

    submissions: int
    rank_correlation: float | None
    pairs: int
    agreeing: int
    bias: float


def trust(dev: Sequence[float], public: Sequence[float]) -> Trust:
    """Compare (n,) dev GAP with (n,) public scores, n >= 1."""
    ours, theirs = np.asarray(dev, dtype=float), np.asarray(public, dtype=float)
    signs = [np.sign((ours[a] - ours[b]) * (theirs[a] - theirs[b])) for a, b in combinations(range(len(ours)), 2)]
    known = len(ours) >= 3 and len(set(ours.tolist())) > 1 and len(set(theirs.tolist())) > 1
    return Trust(
        submissions=len(ours),
        rank_correlation=float(stats.spearmanr(ours, theirs).statistic) if known else None,
        pairs=int(np.count_nonzero(signs)),
        agreeing=int(np.sum(np.asarray(signs) > 0)),
        bias=float(np.mean(ours - theirs)),
    )


def scatter(dev: Sequence[float], public: Sequence[float], width: int = 60, height: int = 16) -> list[str]:
    """Text lines of a plot: dev GAP to the right, public score up, a dotted line where both are equal.

    A place that several submissions share shows how many they are.
    """
    low = min(*dev, *public) if len(dev) else 0.0
    high = max(*dev, *public) if len(dev) else 1.0
    margin = max((high - low) * 0.05, 0.005)
    low, high = max(0.0, low - margin), min(1.0, high + margin)
    cells = [[" "] * width for _ in range(height)]
    for column in range(width):
        row = round(column / (width - 1) * (height - 1))
        cells[row][column] = LINE
    counts: dict[tuple[int, int], int] = {}
    for x, y in zip(dev, public, strict=True):
        place = (
            round((y - low) / (high - low) * (height - 1)),
            round((x - low) / (high - low) * (width - 1)),
        )
        counts[place] = counts.get(place, 0) + 1
    for (row, column), count in counts.items():
        cells[row][column] = MARK if count == 1 else str(min(count, 9))
    lines = []
    for row in reversed(range(height)):
        value = low + (high - low) * row / (height - 1)
        label = f"{value:.3f}" if row % 5 == 0 or row == height - 1 else ""
        lines.append(f"{label:>6} ┤{''.join(cells[row])}".rstrip())
    lines.append(f"{'':>6} └{'─' * width}")
    left, right = f"{low:.3f}", f"{high:.3f}"
    lines.append(f"{'':>8}{left}{'dev GAP':^{width - len(left) - len(right)}}{right}")
    return lines


def draw_png(path: Path, dev: Sequence[float], public: Sequence[float], competition: str) -> None:
    """The same plot as a picture.

    Raises:
        LmkError: matplotlib is not installed, or the picture cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise LmkError("The picture needs matplotlib, which is not installed. Run `pip install matplotlib`.") from error
    figure = Figure(figsize=(6, 6), dpi=120, layout="tight")
    axes = figure.subplots()
    axes.axline((0, 0), slope=1, color="grey", linestyle=":", label="equal")
    axes.scatter(dev, public, color="tab:blue", zorder=2)
    axes.set(xlabel="GAP on dev", ylabel="public score", title=competition, aspect="equal")
    axes.legend()
    with atomic_path(path) as draft:
        try:
            figure.savefig(draft)
        except (OSError, ValueError) as error:
            raise LmkError(f"{path} cannot be written: {error}") from error
