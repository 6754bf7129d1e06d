"""What a finished run left in the workspace, read back for its report."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lmk.local.evidence import Evidence
from lmk.local.kinds import KINDS
from lmk.predictions import Predictions
from lmk.util.errors import LmkError
from lmk.util.files import NPZ_DAMAGE
from lmk.util.workspace import Workspace


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A finished run.

    Attributes:
        folder: Where its record lies.
        facts: `run.json`.
        ids, photos, truth: (n,) str, (n,) str, (n,) int64: the dev queries, the photo that each shows, its landmark.
        dev: Dev predictions by stage, in the order of the stages, their rows as `ids`.
        evidence: For the ensemble's proposals on dev, its rows as `ids`; None where nothing was verified.
        further: Evidence by the other kinds of local features, where the run used two.
    """

    folder: Path
    facts: Mapping[str, Any]
    ids: np.ndarray
    photos: np.ndarray
    truth: np.ndarray
    dev: Mapping[str, Predictions]
    evidence: Evidence | None
    further: Mapping[str, Evidence] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the run, and of its folder."""
        return str(self.facts["run"])

    @property
    def final_stage(self) -> str:
        """The stage whose answers are submitted: the last."""
        return list(self.dev)[-1]

    @property
    def final(self) -> Predictions:
        """Dev predictions of the final stage."""
        return self.dev[self.final_stage]


def find_run_folder(workspace: Workspace, name: str | None) -> Path:
    """The folder of the run of that name, of the newest run if None.

    Raises:
        LmkError: There is none; the text names the nearest.
    """
    records = sorted(workspace.runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise LmkError(f"{workspace.root} holds no run. `lmk make-submission` makes one; --workspace names another.")
    if name is None:
        return records[-1].parent
    known = [path.parent.name for path in records]
    if name in known:
        return workspace.runs / name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    hint = f"Did you mean '{near[0]}'?" if near else f"The last ones: {', '.join(known[-5:])}."
    raise LmkError(f"{workspace.runs} holds no run '{name}'. {hint}")


def load_run(workspace: Workspace, name: str | None = None) -> RunRecord:
    """The run of that name, the newest if None.

    Raises:
        LmkError: There is none, or its files are absent or damaged.
    """
    folder = find_run_folder(workspace, name)
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        with np.load(folder / "dev.npz", allow_pickle=False) as file:
            ids, photos, truth = (file[column] for column in ("ids", "photos", "truth"))
        dev = {
            stage: Predictions.load(workspace.predictions / f"{facts['predictions'][stage]}.dev.parquet").align(ids)
            for stage in facts["stages"]
        }
    except (TypeError, *NPZ_DAMAGE) as error:
        raise LmkError(
            f"The record in {folder} is not whole ({error}). Run `lmk make-submission` again: what is stored is reused."
        ) from error
    path = folder / "evidence.npz"
    keys = facts.get("local_features", {})
    facts["local_features"] = {kind: keys[kind] for kind in KINDS["both"] if kind in keys}  # JSON has them by name
    further = {kind: Evidence.load(folder / f"evidence-{kind}.npz") for kind in [*facts["local_features"]][1:]}
    return RunRecord(folder, facts, ids, photos, truth, dev, Evidence.load(path) if path.exists() else None, further)
