"""A finished run's record, written with what the report reads beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lmk import __version__
from lmk.data.sizes import size_of
from lmk.kaggle.records import git_state
from lmk.local.kinds import kinds_of
from lmk.local.verify import GALLERY
from lmk.pipeline.building.proposals import comparison_settings
from lmk.pipeline.config import READ_SIDE, Config, Execution
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.figures import answer_steps, spreading_steps
from lmk.pipeline.likes import write_statistics
from lmk.pipeline.results import Blended, Verified
from lmk.pipeline.steps import ENSEMBLE, VERIFICATION, Outcome, Step, local_of
from lmk.runs import CHANGES, PAGE, RECORD, DevFigures, RunRecord, StepRecord, read_record, write_record
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path, write_json

VERSIONS = ("keras", "tensorflow", "numpy", "opencv-python-headless", "scikit-learn")
"""Packages whose versions a run records."""
PHOTOS, SUBMISSION = "photos", "submission"
"""Stages of a run that are no steps: the search for unreadable photos, and the CSV."""
STATISTICS = "inliers.csv"
"""Maximum, mean and mean of the best 16 counts of inliers of each query of a published system, beside its record."""


def keep_record(
    config: Config,
    dataset: Dataset,
    execution: Execution,
    name: str,
    path: Path,
    steps: Sequence[Step],
    outcome: Outcome,
    dev: DevFigures,
    submitted: str,
    writing: float,
    facts: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Write the run's record; beside it what dev asked, and the evidence for its proposals.

    Args:
        name: The run's.
        path: Its submission, written in `writing` seconds.
        steps, outcome: What was executed, and what came of it.
        dev: Figures on dev.
        submitted: The stage whose answers are in the submission.
        facts: Further facts, as `RunRecord` has them.
    """
    folder = execution.workspace.runs / name
    verified: Verified | None = outcome.results.get(VERIFICATION)
    earlier = _earlier(folder)
    if earlier is None or earlier.submission != str(path):
        (folder / PAGE).unlink(missing_ok=True)  # it names another file
    seconds = {PHOTOS: dataset.seconds} | _by_stage(steps, outcome) | {SUBMISSION: writing}
    reused = [PHOTOS] * dataset.known_before + stored_stages(steps, outcome)
    answers = {step.name: outcome.results[step.name] for step in steps if step.name in answer_steps(config)}
    computed = outcome.seconds.keys() - set(outcome.stored)
    record = RunRecord(
        run=name,
        competition=dataset.competition.name,
        root=str(dataset.competition.root),
        digest=dataset.competition.digest,
        size=size_of(dataset.competition).to_dict(),
        submission=str(path),
        submitted=submitted,
        settings=config.to_dict(),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        command=" ".join(["lmk", *sys.argv[1:]]),
        dev=dev,
        weights=dict(answers[ENSEMBLE].weights) if isinstance(answers.get(ENSEMBLE), Blended) else {},
        stages=list(answers),
        predictions={step.name: f"{step.name}-{step.key.digest}" for step in steps if step.name in answers},
        steps=[
            StepRecord(
                step.name, step.stage, step.key.digest, outcome.seconds.get(step.name, 0.0), step.name not in computed
            )
            for step in steps
        ],
        seconds=seconds,
        spent=_spent(seconds, reused, earlier),
        reused=reused,
        unreadable=dict(dataset.unreadable),
        versions={"lmk": __version__} | {package: version(package) for package in VERSIONS},
        backends={step.name: " ".join(step.key.facts["backend"]) for step in steps if "backend" in step.key.facts},  # type: ignore[arg-type]
        read_side=READ_SIDE,
        comparison=comparison_settings(kinds_of(config.local_features)[0], config).key(),
        local_features=_local_stores(config, steps) if verified else {},
        facts=dict(facts or {}) | ({"commit": commit} if (commit := own_commit()) else {}),
    )
    with atomic_path(folder / "dev.npz") as draft, draft.open("wb") as file:
        asked = dataset.dev
        np.savez(file, allow_pickle=False, ids=asked.ids, photos=asked.photos, truth=asked.truth)
    if verified is not None:
        for kind, evidence in verified.dev.items():
            evidence.save(folder / f"evidence-{kind}.npz")
        if config.like is not None:
            kind = kinds_of(config.local_features)[0]
            parts = {"dev": verified.dev[kind], "test": verified.test[kind]}
            write_statistics(folder / STATISTICS, parts, GALLERY)
    if config.spreads:
        changed = {name: [asdict(one) for one in outcome.results[name].reasons] for name in spreading_steps(config)}
        write_json(folder / CHANGES, changed)
    write_record(record, folder)
    return record


def own_commit() -> str:
    """Commit of the checkout that this lmk runs from, marked where files were changed; empty for an installed one."""
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / "pyproject.toml").is_file():
        return ""
    state = git_state(package)
    return f"{str(state['commit'])[:12]}{', changed' if state.get('changed') else ''}" if state else ""


def stored_stages(steps: Sequence[Step], outcome: Outcome) -> list[str]:
    """Stages of which nothing was computed."""
    computed = {step.stage for step in steps if step.name in outcome.seconds and step.name not in outcome.stored}
    return [stage for stage in dict.fromkeys(step.stage for step in steps) if stage not in computed]


def _by_stage(steps: Sequence[Step], outcome: Outcome) -> dict[str, float]:
    found: dict[str, float] = {}
    for step in steps:
        if step.name in outcome.seconds:
            found[step.stage] = round(found.get(step.stage, 0.0) + outcome.seconds[step.name], 3)
    return found


def _local_stores(config: Config, steps: Sequence[Step]) -> dict[str, str]:
    keys = {step.name: step.key for step in steps}
    return {kind: f"local-{kind}-{keys[local_of(kind)].digest}" for kind in kinds_of(config.local_features)}


def _earlier(folder: Path) -> RunRecord | None:
    """The record of an earlier run with the same results; None where there is none that can be read."""
    if not (folder / RECORD).exists():
        return None
    try:
        return read_record(folder)
    except LmkError:
        return None


def _spent(seconds: Mapping[str, float], reused: Sequence[str], earlier: RunRecord | None) -> dict[str, float]:
    """Seconds of each stage when it was computed: of a stage that is stored now, what the earlier record says."""
    before = earlier.spent if earlier is not None else {}
    now = {stage: value for stage, value in seconds.items() if stage not in reused}
    return before | {stage: max(value, before.get(stage, 0.0)) for stage, value in now.items()}
