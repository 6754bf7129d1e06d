"""What a run's record says about the CSV it wrote, for the record of a submission."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from lmk.util.errors import LmkError, did_you_mean

FINAL_STAGES = ("fused", "ensemble")
"""Stages that a submission is made of where they were run; else it is the one recipe's."""


@dataclass(frozen=True)
class RunFacts:
    """A run: where its submission lies and what it is made of.

    Attributes:
        root: Folder of the competition's files when the run was made; None where the record does not tell.
        stage: Whose predictions the submission holds.
        models: Recipes.
        parents: What an ensemble blends, by stage and digest; empty without one.
        dev: GAP on dev of `stage`, with its interval: `gap`, `low`, `high`.
    """

    name: str
    competition: str
    submission: Path
    stage: str
    models: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    dev: dict[str, float] = field(default_factory=dict)
    root: Path | None = None


def read_run(path: Path) -> RunFacts:
    """The facts in a run's `run.json`.

    Raises:
        LmkError: The file is absent or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        name, dev, recipes = str(values["run"]), values["dev"], list(values["settings"]["recipes"])
        stage = next((stage for stage in FINAL_STAGES if dev["gap"].get(stage) is not None), recipes[0])
        numbers = {figure: dev[figure][stage] for figure in ("gap", "low", "high")}
        submission = Path(values["submission"])
        if not submission.is_file():  # a run that came from a kernel
            submission = path.parents[2] / "submissions" / f"{name}.csv"
        return RunFacts(
            name=name,
            competition=str(values["competition"]),
            submission=submission,
            stage=stage,
            models=[str(recipe) for recipe in recipes],
            parents=[str(values["predictions"][source]) for source in values["weights"]],
            dev={figure: float(number) for figure, number in numbers.items() if number is not None},
            root=Path(values["root"]) if values.get("root") else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise LmkError(f"{path} is no record of a run ({error!r}).") from error


def find_run(runs: Path, name: str) -> RunFacts:
    """The run of that name.

    Raises:
        LmkError: There is none.
    """
    path = runs / name / "run.json"
    if not path.is_file():
        known = sorted(
            (folder.parent.name for folder in runs.glob("*/run.json")), key=lambda run: (runs / run).stat().st_mtime
        )
        last = f" The last runs: {', '.join(known[-5:])}." if known else ""
        raise LmkError(f"'{name}' is neither a file nor a run in {runs}.{did_you_mean(name, known)}{last}")
    return read_run(path)


def run_of(runs: Path, csv: Path) -> RunFacts | None:
    """The newest run that wrote exactly this CSV; None where no run did."""
    content = csv.read_bytes()
    for path in sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        facts = read_run(path)
        if facts.submission.is_file() and facts.submission.read_bytes() == content:
            return facts
    return None
