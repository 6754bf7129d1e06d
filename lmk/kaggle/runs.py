"""Facts of a run's record about its submission, for the record of a submission."""

from dataclasses import dataclass, field
from pathlib import Path

from lmk.runs import RECORD, RunRecord, all_records, find_record
from lmk.util.errors import LmkError, did_you_mean


@dataclass(frozen=True)
class RunFacts:
    """A run: where its submission lies and what it is made of.

    Attributes:
        root: Folder of the competition's files when the run was made; None where the record does not say.
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


def facts_of(record: RunRecord, runs: Path) -> RunFacts:
    """The facts of a run whose folder lies in `runs`."""
    submission = Path(record.submission)
    if not submission.is_file():  # a run that came from a kernel
        submission = runs.parent / "submissions" / f"{record.run}.csv"
    figures = {record.metric: record.dev.gap, "low": record.dev.low, "high": record.dev.high}
    numbers = {figure: by_stage.get(record.submitted) for figure, by_stage in figures.items()}
    return RunFacts(
        name=record.run,
        competition=record.competition,
        submission=submission,
        stage=record.submitted,
        models=record.recipes,
        parents=[record.predictions[source] for source in record.weights if source in record.predictions],
        dev={figure: float(number) for figure, number in numbers.items() if number is not None},
        root=Path(record.root) if record.root else None,
    )


def find_run(runs: Path, name: str) -> RunFacts:
    """The run of that name.

    Raises:
        LmkError: There is none, or its record is damaged.
    """
    if not is_run(runs, name):
        known = [path.parent.name for path in runs.glob(f"*/{RECORD}")]
        last = f" The runs there: {', '.join(sorted(known)[:5])}." if known else ""
        raise LmkError(f"'{name}' is neither a file nor a run in {runs}.{did_you_mean(name, known)}{last}")
    return facts_of(find_record(runs, name), runs)


def is_run(runs: Path, name: str) -> bool:
    """Whether a run of that name left a record."""
    return (runs / name / RECORD).is_file()


def run_of(runs: Path, csv: Path) -> RunFacts | None:
    """The newest run that wrote exactly this CSV; None where no run did. Damaged records are passed over."""
    content = csv.read_bytes()
    for record in all_records(runs):
        facts = facts_of(record, runs)
        try:
            if facts.submission.is_file() and facts.submission.read_bytes() == content:
                return facts
        except (OSError, ValueError):  # removed meanwhile, or no path at all
            continue
    return None
