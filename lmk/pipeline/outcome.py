"""What a run leaves for people: its result, its record as JSON, and its page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lmk import __version__
from lmk.data.sizes import size_of
from lmk.evaluation import gap_and_interval
from lmk.pipeline.local_features import features_key, kinds_of
from lmk.pipeline.steps import ENSEMBLE, FUSED, READ_SIDE, RETRIEVAL, Run, Source
from lmk.pipeline.verify import Verified, comparison_settings
from lmk.predictions import NO_LANDMARK
from lmk.util.files import atomic_path, write_json

VERSIONS = ("keras", "tensorflow", "numpy", "opencv-python-headless", "scikit-learn")
"""Packages whose versions a run records."""
PAGE = "report.html"
"""The run's page, beside its record."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run made.

    Attributes:
        name: Of the run, and of its folder.
        submission: The checked submission.
        gap: Dev GAP by stage: each recipe's name, `retrieval`, `ensemble`, `fused`; None where it was not run.
        low, high: 95 % intervals of these, by stage.
        weights: Of the blend, by source.
        optimism: Dev GAP by stage fitted on all of dev, less the cross-fitted one.
        unreadable: Photos that cannot be read, with the reason.
        seconds, reused: As `Run` counts them.
        queries, landmark_queries: Of dev.
    """

    name: str
    submission: Path
    gap: dict[str, float | None]
    low: dict[str, float | None]
    high: dict[str, float | None]
    weights: dict[str, float]
    optimism: dict[str, float]
    unreadable: dict[str, str]
    seconds: dict[str, float]
    reused: list[str]
    queries: int
    landmark_queries: int

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        dev = {"gap": self.gap, "low": self.low, "high": self.high, "optimism": self.optimism}
        return {
            "run": self.name,
            "submission": str(self.submission),
            "dev": dev | {"queries": self.queries, "landmark_queries": self.landmark_queries},
            "weights": self.weights,
            "seconds": self.seconds,
            "reused": self.reused,
            "unreadable": self.unreadable,
        }


def write_record(run: Run, name: str, path: Path, sources: Mapping[str, Source], verified: Verified | None) -> Result:
    """The run's record, kept as JSON in its folder; beside it what dev asked, and the evidence for its proposals."""
    truth = run.dev.truth
    stages = [*run.settings.recipes, RETRIEVAL, ENSEMBLE, FUSED]
    scored = {stage: gap_and_interval(sources[stage].dev, truth) if stage in sources else None for stage in stages}
    blended = sources.get(ENSEMBLE)
    named = [*run.settings.recipes, RETRIEVAL]
    result = Result(
        name=name,
        submission=path,
        gap={stage: found and found[0] for stage, found in scored.items()},
        low={stage: found and found[1] for stage, found in scored.items()},
        high={stage: found and found[2] for stage, found in scored.items()},
        weights=dict(zip(named, blended.extras["weights"].tolist(), strict=True)) if blended else {},
        optimism={
            stage: float(source.extras["optimism"]) for stage, source in sources.items() if "optimism" in source.extras
        },
        unreadable=dict(run.unreadable),
        seconds=run.seconds,
        reused=run.reused,
        queries=len(truth),
        landmark_queries=int((truth != NO_LANDMARK).sum()),
    )
    told = {
        "competition": run.competition.name,
        "settings": asdict(run.settings),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"lmk": __version__} | {package: version(package) for package in VERSIONS},
        "made_by": {recipe: " ".join(maker) for recipe, maker in run.made_by.items()},
        "predictions": {stage: f"{stage}-{source.key}" for stage, source in sources.items()},
        "stages": [stage for stage in stages if stage in sources],
        "root": str(run.competition.root),
        "digest": run.competition.digest,
        "size": size_of(run.competition).to_dict(),
        "read_side": READ_SIDE,
        "comparison": comparison_settings(run, kinds_of(run)[0]).key(),
        "local_features": {kind: features_key(run, kind) for kind in kinds_of(run)} if verified else {},
    }
    folder = run.workspace.runs / name
    with atomic_path(folder / "dev.npz") as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, ids=run.dev.ids, photos=run.dev.photos, truth=truth)
    if verified is not None:
        for place, (kind, evidence) in enumerate(verified.dev.items()):
            evidence.save(folder / (f"evidence-{kind}.npz" if place else "evidence.npz"))
    earlier = _earlier(folder / "run.json")
    if earlier.get("submission") != str(path):
        (folder / PAGE).unlink(missing_ok=True)  # it names another file
    told["spent"] = _spent(run, earlier)
    write_json(folder / "run.json", result.to_dict() | told)
    return result


def write_page(run: Run, name: str, anew: bool = True) -> None:
    """The run's page, beside its record.

    anew: Draw it also where it is there.
    """
    path = run.workspace.runs / name / PAGE
    if anew or not path.exists():
        from lmk.report.page import write_report  # loads the templates' engine
        from lmk.report.record import load_run

        write_report(load_run(run.workspace, name), run.competition, path, run.progress)
    run.note(f"The run's report is in {path}.")


def _earlier(record: Path) -> dict[str, Any]:
    """What the record of an earlier run with the same results tells; nothing where there is none."""
    return json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}


def _spent(run: Run, record: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each stage when it was computed: of a stage that is stored now, what the earlier record says."""
    earlier = record.get("spent", {})
    now = {stage: seconds for stage, seconds in run.seconds.items() if stage not in run.reused}
    return earlier | {stage: max(seconds, earlier.get(stage, 0.0)) for stage, seconds in now.items()}
