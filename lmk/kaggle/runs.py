"""What a run's record says about the CSV it wrote, for the record of a submission."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from lmk.errors import LmkError


@dataclass(frozen=True)
class RunFacts:
    """A run: where its submission lies and what it is made of; see `records.Record` for the fields."""

    name: str
    competition: str
    submission: Path
    models: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    dev: dict[str, float] = field(default_factory=dict)


def read_run(path: Path) -> RunFacts:
    """The facts in a run's `run.json`.

    Raises:
        LmkError: The file is absent or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        recipes = [str(recipe) for recipe in values.get("recipes", [])]
        return RunFacts(
            name=str(values.get("run", path.parent.name)),
            competition=str(values["competition"]),
            submission=Path(values["submission"]),
            models=recipes,
            parents=[str(parent) for parent in values.get("parents", [])],
            dev={name: float(values["dev"][name]) for name in ("gap", "low", "high")},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LmkError(f"{path} is no record of a run ({error!r}).") from error


def find_run(runs: Path, name: str) -> RunFacts:
    """The run of that name.

    Raises:
        LmkError: There is none.
    """
    path = runs / name / "run.json"
    if not path.is_file():
        known = ", ".join(sorted(folder.parent.name for folder in runs.glob("*/run.json"))[-5:])
        raise LmkError(
            f"'{name}' is neither a file nor a run in {runs}." + (f" The last runs: {known}." if known else "")
        )
    return read_run(path)


def run_of(runs: Path, csv: Path) -> RunFacts | None:
    """The newest run that wrote exactly this CSV; None where no run did."""
    content = csv.read_bytes()
    for path in sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        facts = read_run(path)
        if facts.submission.is_file() and facts.submission.read_bytes() == content:
            return facts
    return None
