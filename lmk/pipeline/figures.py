"""What dev says of each stage of a run, and which stage is submitted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lmk.ensemble.fusion_rules import FUSIONS
from lmk.ensemble.leads import lead_and_error
from lmk.metrics.registry import find_metric
from lmk.pipeline.build import final_step, targets_of
from lmk.pipeline.config import Config
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.results import Answers, Fitted
from lmk.pipeline.steps import ENSEMBLE, FUSED, RETRIEVAL, SPREAD, SPREAD_FUSED, VERIFICATION
from lmk.predictions import NO_LANDMARK
from lmk.runs import DevFigures


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
