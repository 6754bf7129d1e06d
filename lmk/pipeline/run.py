"""A run: its steps executed, its submission written and checked, and its record kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk import __version__
from lmk.data.competitions import Competition
from lmk.data.sizes import size_of
from lmk.ensemble.fusion_rules import FUSIONS
from lmk.ensemble.leads import lead_and_error
from lmk.evaluation import check_submission
from lmk.kaggle.records import git_state
from lmk.local.kinds import kinds_of
from lmk.local.verify import GALLERY
from lmk.metrics.registry import find_metric
from lmk.pipeline.build import build, final_step, targets_of
from lmk.pipeline.building.proposals import comparison_settings
from lmk.pipeline.cache import Cache
from lmk.pipeline.config import READ_SIDE, Config, Execution
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.likes import write_statistics
from lmk.pipeline.plan import announce
from lmk.pipeline.results import Answers, Blended, Fitted, Verified
from lmk.pipeline.steps import (
    ENSEMBLE,
    FUSED,
    RETRIEVAL,
    SPREAD,
    SPREAD_FUSED,
    VERIFICATION,
    Outcome,
    Stale,
    Step,
    execute,
    local_of,
    stale_steps,
)
from lmk.predictions import NO_LANDMARK, Predictions, read_submission, write_submission
from lmk.report.record import load_run
from lmk.runs import CHANGES, LIKENESS, PAGE, RECORD, DevFigures, RunRecord, StepRecord, read_record, write_record
from lmk.util.arrays import positions
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path, write_json

if TYPE_CHECKING:
    from lmk.shift import Shift  # loads scikit-learn

VERSIONS = ("keras", "tensorflow", "numpy", "opencv-python-headless", "scikit-learn")
"""Packages whose versions a run records."""
PHOTOS, SUBMISSION = "photos", "submission"
"""Stages of a run that are no steps: the search for unreadable photos, and the CSV."""
STATISTICS = "inliers.csv"
"""Maximum, mean and mean of the best 16 counts of inliers of each query of a published system, beside its record."""


@dataclass(frozen=True)
class Result:
    """A finished run: its record, and whether anything was computed."""

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
    facts = facts_of(config, dataset, execution, outcome, answers, final)
    result = keep_record(config, dataset, execution, name, path, steps, outcome, dev, final, seconds, facts)
    if result.record.dev.landmark_queries:
        write_page(name, dataset.competition, execution, anew=final not in outcome.stored)
    return result


def facts_of(
    config: Config,
    dataset: Dataset,
    execution: Execution,
    outcome: Outcome,
    answers: Mapping[str, Answers],
    final: str,
) -> dict[str, Any]:
    """Effect of spreading, and whether dev resembles the test photos, for the record; a note where it does not.

    Args:
        config, dataset, execution, outcome: The run.
        answers: By stage; the metric on dev of each is weighted by likeness to test, too.
        final: The stage that is submitted.
    """
    if not config.spreads:
        return {}
    results = outcome.results
    found: dict[str, Any] = {name: results[name].facts() for name in spreading_steps(config)}
    shift = _shift(config, dataset, results, answers[final].dev)
    if shift is not None:
        metric, truth = find_metric(config.metric), dataset.dev.truth
        weighted = {stage: metric.weighted(one.dev, truth, shift.weights) for stage, one in answers.items()}
        found[LIKENESS] = {
            "roc_area": round(shift.area, 5),
            "dev_weighted": {stage: round(value, 5) for stage, value in weighted.items()},
            "queries_effective": round(shift.effective, 1),
            "warning": shift.warning,
        }
        if shift.warning:
            execution.note(shift.warning)
    return found


def _shift(config: Config, dataset: Dataset, results: Mapping[str, Any], final: Predictions) -> Shift | None:
    """How dev differs from test; None where there are too few photos, or gallery photos, to say."""
    from lmk.shift import PARTS, measure_shift  # loads scikit-learn

    near, dev = results[RETRIEVAL], dataset.dev
    if min(len(np.unique(dev.photos)), len(dataset.test_ids)) < PARTS or near.cosines_dev.shape[1] < 2:
        return None
    asked, test = shift_features(config, results)
    return measure_shift(asked, test, dev.photos, final, dev.truth, find_metric(config.metric))


def shift_features(config: Config, results: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Features of dev queries (n, 6) and of test photos (m, 6) that need no label, from a run's recipes, retrieval and
    blend."""
    from lmk.shift import query_features  # loads scikit-learn

    near, blended = results[RETRIEVAL], results[ENSEMBLE]
    sources = [*(results[recipe.name] for recipe in config.recipes), near]
    dev = query_features(near.cosines_dev, near.likeness_dev[:, 0], blended.dev, [one.dev for one in sources])
    test = query_features(near.cosines_test, near.likeness_test[:, 0], blended.test, [one.test for one in sources])
    return dev, test


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
) -> Result:
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
    return Result(record)


def own_commit() -> str:
    """Commit of the checkout that this lmk runs from, marked where files were changed; empty for an installed one."""
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / "pyproject.toml").is_file():
        return ""
    state = git_state(package)
    return f"{str(state['commit'])[:12]}{', changed' if state.get('changed') else ''}" if state else ""


def write_page(name: str, competition: Competition, execution: Execution, anew: bool = True) -> None:
    """Write the page of the run `name` beside its record; where it is there, only `anew`."""
    path = execution.workspace.runs / name / PAGE
    if anew or not path.exists():
        from lmk.report.page import write_report  # loads the engine of templates

        write_report(load_run(execution.workspace, name), competition, path, execution.progress)
    execution.note(f"The run's report is in {path}.")


def submitted_stage(
    config: Config, dev: DevFigures, answers: Mapping[str, Answers], truth: np.ndarray, best: bool = False
) -> tuple[str, str | None]:
    """The stage whose answers are submitted, and one line where dev says something else or it is not the last.

    The last stage, which led in the mean over seeds and settings (docs/journal), unless the best stage on this dev
    leads it by more than one standard error of their difference: on a few hundred queries the plain maximum would often
    choose by chance. A published rule of fusion was asked for by name and stays the last word. Without a blend, and
    where it is asked for, the best on dev.

    Args:
        config: Configuration of the run.
        dev: Figures of all stages.
        answers: By stage.
        truth: (n,) int64, what the dev queries show.
        best: Whether the best on dev is asked for.
    """
    leader = best_stage(dev)
    if best or not config.ensemble:
        return leader, None
    last = final_step(config)
    if leader == last:
        return last, None
    lead, error = lead_and_error(answers[last].dev, answers[leader].dev, truth, find_metric(config.metric))
    said = (
        f"Dev says that {leader} is better than {last}: {dev.gap[leader]:.5f} against {dev.gap[last]:.5f}, a lead of "
        f"{lead:.5f} with a standard error of {error:.5f}."
    )
    if config.like is not None or not FUSIONS[config.fusion].learned:
        return last, f"{said} {last} was asked for and is submitted; `--submit-best` submits {leader}."
    if lead > error:
        return leader, f"{said} The lead exceeds its error, so {leader} is submitted."
    return last, f"{said} The lead is within its error, so {last} is submitted; `--submit-best` submits {leader}."


def spreading_steps(config: Config) -> tuple[str, ...]:
    """Steps that spread answers, in order."""
    return (SPREAD, SPREAD_FUSED) if config.spreads_fused else (SPREAD,)


def best_stage(dev: DevFigures) -> str:
    """The stage with the highest figure on dev, the later one of equal ones."""
    known = [(value, place, stage) for place, (stage, value) in enumerate(dev.gap.items()) if value is not None]
    return max(known)[2]


def answer_steps(config: Config) -> list[str]:
    """Steps with answers, in order."""
    return [name for name in targets_of(config) if name != VERIFICATION]


def figures(config: Config, dataset: Dataset, answers: Mapping[str, Answers]) -> DevFigures:
    """The metric on dev with its interval by stage; None for stages that were not run."""
    truth = dataset.dev.truth
    spread = [SPREAD if config.spreads else "", SPREAD_FUSED if config.spreads_fused else ""]
    made_of_others = [name for name in (RETRIEVAL, ENSEMBLE, spread[0], FUSED, spread[1]) if name]
    stages = dict.fromkeys([*(recipe.name for recipe in config.recipes), *answers])
    # The order of the table is that of the stages.
    ordered = [stage for stage in stages if stage not in made_of_others] + made_of_others
    metric = find_metric(config.metric)

    def scored_on_dev(stage: str) -> tuple[float, float, float]:
        found = answers[stage].dev
        return metric.score(found, truth), *metric.interval(found, truth)

    scored = {stage: scored_on_dev(stage) if stage in answers else None for stage in ordered}
    return DevFigures(
        gap={stage: found and found[0] for stage, found in scored.items()},
        low={stage: found and found[1] for stage, found in scored.items()},
        high={stage: found and found[2] for stage, found in scored.items()},
        optimism={
            stage: one.optimism
            for stage, one in answers.items()
            if isinstance(one, Fitted) and not np.isnan(one.optimism)
        },
        queries=len(truth),
        landmark_queries=int((truth != NO_LANDMARK).sum()),
        kind="holdout" if dataset.is_holdout else "folds",
    )


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
