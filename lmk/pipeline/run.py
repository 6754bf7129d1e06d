"""A run: its steps executed, its submission written and checked, its record and its page kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmk.data.competitions import Competition
from lmk.evaluation import check_submission
from lmk.pipeline.build import build, targets_of
from lmk.pipeline.cache import Cache
from lmk.pipeline.config import Config, Execution
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.figures import answer_steps, figures, submitted_stage
from lmk.pipeline.likeness import spreading_facts
from lmk.pipeline.plan import announce
from lmk.pipeline.recording import keep_record
from lmk.pipeline.steps import Stale, execute, stale_steps
from lmk.predictions import NO_LANDMARK, Predictions, read_submission, write_submission
from lmk.report.record import load_run
from lmk.runs import PAGE, RunRecord
from lmk.util.arrays import positions


@dataclass(frozen=True)
class Result:
    """A finished run, by its record."""

    record: RunRecord

    @property
    def name(self) -> str:
        """Name of the run, and of its folder."""
        return self.record.run

    @property
    def submission(self) -> Path:
        """The checked submission."""
        return Path(self.record.submission)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the record."""
        return self.record.to_dict()


def make_submission(
    config: Config,
    dataset: Dataset,
    execution: Execution,
    out: Path | None = None,
    name: str | None = None,
    best: bool = False,
) -> Result:
    """Run every step that is not stored, write the submission, check it, and keep the run's record and page.

    Args:
        config, dataset, execution: The run.
        out: The submission's file; one in the workspace if None.
        name: Name of the run; made of the competition and the submitted step's digest if None.
        best: Whether the stage that is best on dev is submitted, whatever its lead (`submitted_stage`).

    Raises:
        LmkError: A mistake or a bad file; nothing that was computed is lost.
    """
    steps = build(config, dataset, execution)
    for stale in stale_steps(steps, Cache(execution.workspace)):
        execution.note(stale_line(stale))
    expected = announce(config, dataset, execution, steps, targets_of(config))
    outcome = execute(steps, targets_of(config), execution, expected)
    answers = {name: outcome.results[name] for name in answer_steps(config)}
    dev = figures(config, dataset, answers)
    final, why = submitted_stage(config, dev, answers, dataset.dev.truth, best)
    if why:
        execution.note(why)
    digest = next(step.key.digest for step in steps if step.name == final)
    name = name or f"{dataset.competition.name}-{digest}"
    start = time.monotonic()
    path = out or execution.workspace.submissions / f"{name}.csv"
    write_checked(config, dataset, outcome.results[final].test, path)
    seconds = round(time.monotonic() - start, 3)
    facts = spreading_facts(config, dataset, execution, outcome, answers, final)
    record = keep_record(config, dataset, execution, name, path, steps, outcome, dev, final, seconds, facts)
    if dev.landmark_queries:
        write_page(name, dataset.competition, execution, anew=final not in outcome.stored)
    return Result(record)


def stale_line(stale: Stale) -> str:
    """Reason why a stored result is stale, for people."""
    why = f"{', '.join(stale.modules)} changed" if stale.modules else "a step before it changed"
    return f"{stale.step} is computed again: {why}. `--keep-stale {stale.step}` takes the stored result instead."


def write_checked(config: Config, dataset: Dataset, predictions: Predictions, path: Path) -> None:
    """Write the submission in the sample's order, every id once, and check what was written.

    A query without a readable photo gets what `Config.unreadable` says.
    """
    competition = dataset.competition
    answers = predictions.top(1).align(competition.test_ids)
    if config.unreadable != "empty":
        unread = positions(predictions.ids, competition.test_ids) < 0
        landmarks, counts = np.unique(competition.train_landmarks, return_counts=True)
        answered = answers.best != NO_LANDMARK
        last = min(answers.confidence[answered].min(initial=0.0), 0.0) - 1.0
        best = np.where(unread, landmarks[counts.argmax()], answers.best)
        confidence = np.where(unread, last if config.unreadable == "last" else 0.0, answers.confidence)
        answers = Predictions(answers.ids, best[:, None], confidence[:, None])
    write_submission(answers, path)
    check_submission(read_submission(path), competition.test_ids)


def write_page(name: str, competition: Competition, execution: Execution, anew: bool = True) -> None:
    """Write the page of the run `name` beside its record; where it is there, only `anew`."""
    path = execution.workspace.runs / name / PAGE
    if anew or not path.exists():
        from lmk.report.page import write_report  # loads the engine of templates

        write_report(load_run(execution.workspace, name), competition, path, execution.progress)
    execution.note(f"The run's report is in {path}.")
