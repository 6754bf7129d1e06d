"""A finished run read back for its report: its record, and what dev asked, answered and verified."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lmk.ensemble.spreading import Reason
from lmk.local.evidence import Evidence
from lmk.metrics import Metric
from lmk.metrics.registry import find_metric
from lmk.predictions import Predictions
from lmk.runs import CHANGES, RunRecord, find_record
from lmk.util.errors import LmkError, reason_of
from lmk.util.files import NPZ_DAMAGE
from lmk.util.workspace import Workspace


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run.

    Attributes:
        folder: Where its record lies.
        run: Its record.
        ids, photos, truth: (n,) str, (n,) str, (n,) int64: the dev queries, the photo that each shows, its landmark.
        dev: Dev predictions by stage, in the order of the stages, their rows as `ids`.
        evidence: For the proposals on dev (of the ensemble, spread or not), its rows as `ids`; None where nothing was
            verified.
        further: Evidence by the other kinds of local features, where the run used two.
        changes: Test photos whose answer spreading changed, by the stage that changed it.
    """

    folder: Path
    run: RunRecord
    ids: np.ndarray
    photos: np.ndarray
    truth: np.ndarray
    dev: Mapping[str, Predictions]
    evidence: Evidence | None
    further: Mapping[str, Evidence] = field(default_factory=dict)
    changes: Mapping[str, Sequence[Reason]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the run, and of its folder."""
        return self.run.run

    @property
    def metric(self) -> Metric:
        """The metric that the run was scored by."""
        return find_metric(self.run.metric)

    @property
    def final_stage(self) -> str:
        """The stage whose answers are submitted."""
        return self.run.submitted

    @property
    def final(self) -> Predictions:
        """Dev predictions of the final stage."""
        return self.dev[self.final_stage]


def load_run(workspace: Workspace, name: str | None = None) -> FinishedRun:
    """The run of that name, the newest if None.

    Raises:
        LmkError: There is none, or its files are absent or damaged.
    """
    record = find_record(workspace.runs, name)
    folder = workspace.runs / record.run
    try:
        with np.load(folder / "dev.npz", allow_pickle=False) as file:
            ids, photos, truth = (file[column] for column in ("ids", "photos", "truth"))
        dev = {
            stage: Predictions.load(workspace.predictions / f"{record.predictions[stage]}.dev.parquet").align(ids)
            for stage in record.stages
        }
        evidence = {kind: Evidence.load(folder / f"evidence-{kind}.npz") for kind in record.local_features}
        changes = _changes(folder / CHANGES)
    except (LmkError, *NPZ_DAMAGE) as error:
        raise LmkError(
            f"The record in {folder} is not whole ({reason_of(error)}). Run `lmk make-submission` again: what is "
            "stored is reused."
        ) from error
    first, *others = evidence or [None]
    return FinishedRun(
        folder,
        record,
        ids,
        photos,
        truth,
        dev,
        evidence[first] if first is not None else None,
        {kind: evidence[kind] for kind in others if kind is not None},
        changes,
    )


def _changes(path: Path) -> dict[str, list[Reason]]:
    """Stored answers that spreading changed; none where it did not spread.

    Raises:
        TypeError, ValueError: The file is damaged.
    """
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {
        str(stage): [
            Reason(one["query"], int(one["before"]), int(one["after"]), tuple(one["photos"]), tuple(one["shares"]))
            for one in reasons
        ]
        for stage, reasons in found.items()
    }
