"""What becomes of photos of a landmark that match little in its gallery: an inside view, a detail, a poster.

Reads finished runs. Dev queries that show a landmark are grouped by the most inliers that any kind of local features
found between the photo and the gallery of its own landmark, and each group is looked at before fusion and after it:
how many are answered rightly, the probability given to the right landmark, and the precision of all answers down to
each right one, 0 for a wrong one. GAP is the mean of the last over all photos that show a landmark.

    python -m research.unmatched WORKSPACE [--run NAME]... [--json]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show
from lmk.pipeline.steps import ENSEMBLE, SPREAD
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.report.record import FinishedRun, load_run
from lmk.util.workspace import Workspace

LEAST = (0, 7, 11, 16, 31)
"""Inliers at which a group begins."""


def groups_of(run: FinishedRun) -> dict[str, dict[str, float]]:
    """Figures of each group of dev queries by the inliers at which it begins; queries whose landmark was not proposed
    are in none."""
    evidence = [one for one in (run.evidence, *run.further.values()) if one is not None]
    inliers = np.max([np.where(one.landmarks == run.truth[:, None], one.inliers, -1).max(1) for one in evidence], 0)
    inliers[run.truth == NO_LANDMARK] = -1
    group = np.searchsorted(LEAST, inliers, side="right") - 1
    before = run.dev[SPREAD if SPREAD in run.dev else ENSEMBLE]
    found = {}
    for number, least in enumerate(LEAST):
        rows = group == number
        found[f"{least} inliers or more"] = {"queries": int(rows.sum())} | {
            f"{name} {when}": float(values[rows].mean()) if rows.any() else float("nan")
            for when, answers in (("before", before), ("after", run.final))
            for name, values in _figures(answers, run.truth).items()
        }
    return found


def _figures(answers: Predictions, truth: np.ndarray) -> dict[str, np.ndarray]:
    """(n,) each: whether a query is answered rightly, the right landmark's score, and the precision down to it."""
    right = (answers.best == truth) & (truth != NO_LANDMARK)
    order = np.argsort(-answers.confidence, kind="stable")
    precision = np.empty(len(truth))
    precision[order] = np.cumsum(right[order]) / np.arange(1, len(truth) + 1)
    score = np.where(answers.landmarks == truth[:, None], answers.scores, 0).max(1)
    return {"right": right, "probability": score, "precision": np.where(right, precision, 0)}


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m research.unmatched`."""
    options = parser("unmatched", __doc__)
    options.add_argument("workspace", type=Path)
    options.add_argument("--run", action="append", help="the newest without")
    given = options.parse_args(words)
    workspace = Workspace.open(given.workspace)
    found: dict[str, object] = {}
    for name in given.run or [None]:
        run = load_run(workspace, name)
        for group, figures in groups_of(run).items():
            found |= {f"{run.name}: {group}: {figure}": value for figure, value in figures.items()}
    show(found, given.json)


if __name__ == "__main__":
    main()
