"""Charts as inline SVG: colours come from the page's style, so they follow its light and dark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

import numpy as np

from lmk.data.names import label
from lmk.report.costs import DISTRACTOR, RIGHT, WRONG
from lmk.report.statistics import DRAWN, Bin, Histogram, LandmarkRow, Ranking, within_unit

WIDTH, HEIGHT = 400, 290
"""Size of every chart, in its own units; the page scales it."""
LEFT, RIGHT_SIDE, TOP, BOTTOM = 52, 10, 10, 44
CLASS = {RIGHT: "right", WRONG: "wrong", DISTRACTOR: "distractor"}
"""An outcome's class in the style sheet."""
MOST_POINTS = 400
"""More are thinned out: the eye does not see them, and the page would grow with the queries."""


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in [low, high], steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    return [float(round(place * step, 10)) + 0.0 for place in np.arange(first, high / step + 1e-9)]


class Chart:
    """Axes with lines, marks and words; `x` and `y` map values to places."""

    def __init__(
        self,
        name: str,
        title: str,
        about: str,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        log_x: bool = False,
        foot: float = BOTTOM,
    ):
        self.name, self.title, self.about, self.log_x = name, title, about, log_x
        self.x_range, self.y_range = x_range, y_range
        self.bottom = HEIGHT - foot
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        """Place to the right."""
        low, high = self.x_range
        if self.log_x:
            low, high, value = np.log(low), np.log(high), np.log(value)
        return float(round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT_SIDE), 1))

    def y(self, value: float) -> float:
        """Place down."""
        low, high = self.y_range
        return float(round(self.bottom - (value - low) / (high - low) * (self.bottom - TOP), 1))

    def axes(self, x_label: str, y_label: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
        """Grid, numbers and names."""
        for value in y_ticks:
            place = self.y(value)
            self.line((LEFT, place), (WIDTH - RIGHT_SIDE, place), "grid")
            self.text(LEFT - 6, place + 4, f"{value:g}", "end")
        for value in x_ticks:
            place = self.x(value)
            self.line((place, self.bottom), (place, self.bottom + 4), "axis")
            self.text(place, HEIGHT - BOTTOM + 17, f"{value:,g}", "middle")
        self.line((LEFT, self.bottom), (WIDTH - RIGHT_SIDE, self.bottom), "axis")
        self.text((LEFT + WIDTH - RIGHT_SIDE) / 2, HEIGHT - 6, x_label, "middle", "name")
        middle = (TOP + self.bottom) / 2
        self.parts.append(
            f'<text class="name" transform="translate(12 {middle:g}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>"
        )

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str, opacity: float = 1.0) -> None:
        """A line from place to place."""
        faint = f' opacity="{opacity:.2f}"' if opacity < 1 else ""
        self.parts.append(
            f'<line class="{kind}" x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}"{faint}/>'
        )

    def text(self, x: float, y: float, words: str, anchor: str, kind: str = "") -> None:
        """Words at a place."""
        named = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def path(self, places: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through places."""
        self.parts.append(f'<polyline class="{kind}" points="{" ".join(f"{x:g},{y:g}" for x, y in places)}"/>')

    def dot(self, x: float, y: float, radius: float, kind: str, words: str = "") -> None:
        """A mark, which shows `words` under the pointer."""
        caption = f"<title>{escape(words)}</title>" if words else ""
        self.parts.append(f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{radius:.1f}">{caption}</circle>')

    def bar(self, x: float, y: float, width: float, height: float, kind: str, words: str) -> None:
        """A filled box, which shows `words` under the pointer."""
        self.parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{max(width, 0.5):.1f}" height="{height:.1f}">'
            f"<title>{escape(words)}</title></rect>"
        )

    def __str__(self) -> str:
        head = (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{self.name}-title {self.name}-about">'
            f'<title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-about">{escape(self.about)}</desc>'
        )
        return head + "".join(self.parts) + "</svg>"


def precision_chart(found: Ranking, value: float, metric: str) -> str:
    """Precision up to each rank, and below it, in three lanes, which ranks are of which outcome."""
    count = len(found.rows)
    about = f"{count} answers, best first. " + "; ".join(
        f"{name}: {int((found.outcome == name).sum())}" for name in DRAWN
    )
    end = found.precision[-1] if count else 0.0
    about += f". Precision of all answers {end:.3f}, {metric} {value:.5f}."
    chart = Chart("precision", "Precision against rank", about, (1, max(count, 2)), (0, 1), foot=BOTTOM + 54)
    chart.axes("rank of the answer by confidence", "precision", _rank_ticks(count), ticks(0, 1))
    kept = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))
    chart.path([(chart.x(row + 1), chart.y(found.precision[row])) for row in kept.tolist()], "curve")
    for lane, name in enumerate(DRAWN):
        top = chart.bottom + 6 + lane * 16
        places = np.flatnonzero(found.outcome == name)
        columns = Counter(round(chart.x(place + 1)) for place in places.tolist())
        per_column = max(1.0, count / (WIDTH - LEFT - RIGHT_SIDE))
        for column, marks in sorted(columns.items()):
            chart.line((column, top), (column, top + 12), f"mark {CLASS[name]}", max(0.3, min(1.0, marks / per_column)))
        chart.text(LEFT - 6, top + 10, {RIGHT: "right", WRONG: "wrong", DISTRACTOR: "none"}[name], "end")
    return str(chart)


def histogram_chart(found: Histogram) -> str:
    """Three lanes on one axis of scores: right answers, wrong ones, answers to queries without a landmark.

    Each lane has its own height, printed beside it: wrong answers are few, and would not be seen beside the others.
    """
    low, high = float(found.edges[0]), float(found.edges[-1])
    about = "; ".join(f"{name}: {int(counts.sum())} answers" for name, counts in found.counts.items())
    chart = Chart("scores", "Scores by outcome", about + ".", (low, high), (0, 3))
    chart.axes("confidence", "answers", ticks(low, high), [])
    lane_height = (chart.bottom - TOP) / 3
    for lane, (name, counts) in enumerate(found.counts.items()):
        base, most = TOP + (lane + 1) * lane_height, max(1, int(counts.max()))
        chart.line((LEFT, base), (WIDTH - RIGHT_SIDE, base), "axis")
        for left, right, number in zip(found.edges[:-1], found.edges[1:], counts.tolist(), strict=True):
            if number:
                height = number / most * (lane_height - 22)
                width = chart.x(right) - chart.x(left) - 1
                words = f"{name}: {number} from {left:.2f} to {right:.2f}"
                chart.bar(chart.x(left), base - height, width, height, CLASS[name], words)
        chart.text(LEFT + 4, base - lane_height + 14, f"{name}: {int(counts.sum()):,} answers", "start", "name")
        chart.text(LEFT - 6, base - lane_height + 30, f"{most:,}", "end")
    return str(chart)


def calibration_chart(bins: Sequence[Bin]) -> str:
    """The share of right answers against their mean score, with intervals; a dashed line where both are equal."""
    scores = np.array([bin.score for bin in bins])
    unit = within_unit(scores)
    low, high = (0.0, 1.0) if unit else (float(scores.min()), float(max(scores.max(), scores.min() + 1e-9)))
    about = "; ".join(f"score {bin.score:.2f}: {bin.right:.0%} right of {bin.count}" for bin in bins)
    chart = Chart("calibration", "Share right against confidence", about + ".", (low, high), (0, 1))
    chart.axes("mean confidence of a tenth of the answers", "share right", ticks(low, high), ticks(0, 1))
    if unit:
        chart.line((chart.x(0), chart.y(0)), (chart.x(1), chart.y(1)), "ideal")
    chart.path([(chart.x(bin.score), chart.y(bin.right)) for bin in bins], "curve")
    for bin in bins:
        place = chart.x(bin.score)
        chart.line((place, chart.y(bin.low)), (place, chart.y(bin.high)), "whisker")
        words = f"score {bin.score:.3f}: {bin.right:.1%} of {bin.count} right"
        chart.dot(place, chart.y(bin.right), 4, "right", words)
    return str(chart)


def landmark_chart(rows: Sequence[LandmarkRow], names: dict[int, str]) -> str:
    """The share of each landmark's queries that is answered rightly against its training photos; area by queries."""
    asked = [row for row in rows if row.queries and row.photos]
    most = max((row.photos for row in asked), default=1)
    about = f"{len(asked)} landmarks with 1 to {most} training photos; each dot is a landmark."
    chart = Chart(
        "landmarks", "Landmarks by training photos", about, (1, max(most * 1.15, 2)), (-0.04, 1.04), log_x=True
    )
    x_ticks = [value for value in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000) if value <= most * 1.15]
    chart.axes("training photos (logarithmic)", "share right", x_ticks, ticks(0, 1))
    grouped: dict[tuple[int, float], list[LandmarkRow]] = {}
    for row in asked:
        grouped.setdefault((row.photos, round(row.share, 2)), []).append(row)
    largest = max((sum(row.queries for row in group) for group in grouped.values()), default=1)
    for (photos, share), group in grouped.items():
        queries = sum(row.queries for row in group)
        named = f"landmark {label(group[0].landmark, names)}" if len(group) == 1 else f"{len(group)} landmarks"
        words = f"{named}: {photos} training photos, {share:.0%} of {queries} queries right"
        chart.dot(chart.x(photos), chart.y(share), 3 + 9 * np.sqrt(queries / largest), "right spot", words)
    return str(chart)


def _rank_ticks(count: int) -> list[float]:
    return [1, *(value for value in ticks(0, max(count, 2)) if value > max(count, 2) * 0.1)]
