"""The report's charts as files, for papers and notes: PNG, PDF or SVG by the file's suffix."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmk.report.costs import DISTRACTOR, RIGHT, WRONG
from lmk.report.record import FinishedRun
from lmk.report.statistics import (
    DRAWN,
    calibration,
    calibration_error,
    histogram,
    ranking,
    stage_rows,
    within_unit,
)
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path

COLOURS = {RIGHT: "#0b62b8", WRONG: "#b8400b", DISTRACTOR: "#6b4aa8"}
SUFFIXES = (".png", ".pdf", ".svg")
LETTER, LINE, LEAST_WIDTH = 8, 20, 320
"""Pixels: a letter's width and a line's height (10 points, 100 dots an inch), and a figure's least width."""


def gap_figure(record: FinishedRun) -> Figure:
    """The metric by stage with intervals, and precision against rank with the outcome of each answer below."""
    figure = Figure(figsize=(11, 4.4), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    stages = stage_rows(record.dev, record.truth, record.run.recipes, record.metric)
    places = np.arange(len(stages))[::-1]
    spans = [[row.gap - row.low for row in stages], [row.high - row.gap for row in stages]]
    left.errorbar(
        [row.gap for row in stages], places, xerr=np.maximum(spans, 0), fmt="o", color=COLOURS[RIGHT], capsize=3
    )
    for row, place in zip(stages, places, strict=True):
        left.annotate(f"{row.gap:.5f}", (row.gap, place), (0, 7), textcoords="offset points", ha="center", fontsize=9)
    left.set(
        yticks=places, yticklabels=[row.stage for row in stages], xlabel=f"{record.metric.title} on dev, 95 % interval"
    )
    left.margins(y=0.15)
    left.grid(axis="x", alpha=0.4)
    found = ranking(record.final, record.truth)
    ranks = np.arange(1, len(found.rows) + 1)
    right.plot(ranks, found.precision, color="black", linewidth=1.5)
    for lane, name in enumerate(DRAWN):
        rows = ranks[found.outcome == name]
        right.vlines(rows, -0.07 - 0.07 * lane, -0.02 - 0.07 * lane, color=COLOURS[name], linewidth=0.8, label=name)
    right.set(
        xlabel="rank of the answer by confidence", ylabel="precision", ylim=(-0.25, 1.02), yticks=np.linspace(0, 1, 6)
    )
    right.legend(frameon=False, fontsize=9)
    return _titled(figure, record)


def calibration_figure(record: FinishedRun) -> Figure:
    """The share of right answers against their mean confidence, with intervals."""
    figure = Figure(figsize=(5.4, 5), dpi=130, layout="constrained")
    axes = figure.subplots()
    bins = calibration(record.final, record.truth)
    scores, shares = np.array([bin.score for bin in bins]), np.array([bin.right for bin in bins])
    spans = np.maximum([shares - [bin.low for bin in bins], [bin.high for bin in bins] - shares], 0)
    if within_unit(scores):
        axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="as confident as right")
    error = calibration_error(bins)
    label = "tenths of the answers" + ("" if error is None else f" (ECE {error:.3f})")
    axes.errorbar(scores, shares, yerr=spans, fmt="o-", color=COLOURS[RIGHT], capsize=3, label=label)
    axes.set(xlabel="mean confidence", ylabel="share right", ylim=(-0.03, 1.03))
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.4)
    return _titled(figure, record)


def scores_figure(record: FinishedRun) -> Figure:
    """Histograms of confidence by outcome, one above the other."""
    figure = Figure(figsize=(6.4, 5), dpi=130, layout="constrained")
    lanes: np.ndarray = figure.subplots(len(DRAWN), 1, sharex=True)
    found = histogram(record.final, record.truth)
    for axes, (name, counts) in zip(lanes, found.counts.items(), strict=True):
        _bars(axes, found.edges, counts, name)
    lanes[-1].set_xlabel("confidence")
    return _titled(figure, record)


FIGURES: Mapping[str, Callable[[FinishedRun], Figure]] = {
    "gap": gap_figure,
    "calibration": calibration_figure,
    "scores": scores_figure,
}
"""Charts of `lmk plot` that need a record alone."""


def matches_figure(picture: np.ndarray, title: str) -> Figure:
    """The match picture RGB (h, w, 3) uint8 with a title, whose lines are as wide as the figure at the most."""
    height, width = picture.shape[0], max(picture.shape[1], LEAST_WIDTH)
    lines = textwrap.wrap(title, width // LETTER)
    figure = Figure(figsize=(width / 100, (height + LINE * len(lines) + 10) / 100), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture)
    axes.set_axis_off()
    axes.set_title("\n".join(lines), fontsize=10)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as the suffix says, without the time, so that equal figures are equal files.

    Raises:
        LmkError: The suffix is another, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise LmkError(f"{path}: figures are written as {', '.join(SUFFIXES)}, not as '{path.suffix}'.")
    metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(path.suffix.lower())
    try:
        with atomic_path(path) as draft:
            figure.savefig(draft, metadata=metadata)
    except OSError as error:
        raise LmkError(f"{path} cannot be written: {error.strerror}.") from error


def _bars(axes: Axes, edges: np.ndarray, counts: np.ndarray, name: str) -> None:
    axes.stairs(counts, edges, fill=True, color=COLOURS[name])
    axes.set_title(f"{name}: {int(counts.sum()):,} answers", loc="left", fontsize=10)
    axes.set_ylim(0, max(1, int(counts.max())) * 1.05)


def _titled(figure: Figure, record: FinishedRun) -> Figure:
    figure.suptitle(record.name, fontsize=11)
    return figure
