"""Builder of a run: from a configuration and a dataset to the list of steps, each with its key; nothing is computed,
Keras not loaded."""

from __future__ import annotations

from lmk.data.checks import check_before_run
from lmk.local.kinds import kinds_of
from lmk.pipeline.building.ensemble import EnsembleSteps
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.networks import NetworkSteps
from lmk.pipeline.building.retrieval import RetrievalSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.building.spread import SpreadSteps
from lmk.pipeline.building.verification import VerificationSteps
from lmk.pipeline.config import Config, Execution
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.steps import ENSEMBLE, FUSED, RETRIEVAL, SPREAD, SPREAD_FUSED, VERIFICATION, Step
from lmk.pipeline.verify import Comparison
from lmk.predictions import NO_LANDMARK
from lmk.util.errors import LmkError, UsageError, did_you_mean, quoted
from lmk.util.team import ALONE, Team


def build(config: Config, dataset: Dataset, execution: Execution, team: Team = ALONE) -> list[Step]:
    """The steps of a run in order; each stands after those that it needs.

    Args:
        config: What determines results; the backends of pulled results are chosen here.
        dataset: The competition as the run sees it.
        execution: Where results lie and how they are computed.
        team: Processes that train networks together.

    Raises:
        UsageError: A step whose stale result is to be accepted is none of the run's.
        LmkError: Weights are absent, the competition lacks what the run needs at its end (`check_before_run`), or dev
            has no query that shows a landmark although the run blends.
    """
    check_before_run(dataset.competition, dataset.unreadable, config.ensemble)
    if config.ensemble and not (dataset.dev.truth != NO_LANDMARK).any():
        raise LmkError(
            "No dev query shows a landmark, so dev cannot weigh the sources of a blend. Run one recipe with "
            "--no-ensemble."
        )
    steps = _steps(config, Shared(config, dataset, execution, team))
    _check_accepted(config, steps)
    return steps


def _check_accepted(config: Config, steps: list[Step]) -> None:
    names = [step.name for step in steps]
    for name in config.accepted:
        if name not in names:
            hint = did_you_mean(name, names) or f" There are {', '.join(names)}."
            raise UsageError(f"--keep-stale {quoted(name)} names no step of this run.{hint}")


def _steps(config: Config, shared: Shared) -> list[Step]:
    networks, local, ensemble = NetworkSteps(shared), LocalSteps(shared), EnsembleSteps(shared)
    retrieval, spread = RetrievalSteps(shared, networks), SpreadSteps(shared, local)
    verification = VerificationSteps(shared, local)
    # In this order, for a key is made of the keys of the steps before.
    steps = [step for recipe in config.recipes for step in networks.recipe(recipe)]
    if config.like is None and not config.ensemble:
        return steps
    if config.spreads:
        steps += networks.contexts()
    if config.like is None:
        steps.append(retrieval.retrieval())
    steps += [ensemble.blend(), *local.local_features()]
    if config.spreads:
        steps.append(spread.spread())
    steps += [verification.verification(), ensemble.fusion()]
    if config.spreads_fused:
        steps.append(spread.spread_fused())
    return steps


def local_steps(config: Config, dataset: Dataset, execution: Execution) -> list[Step]:
    """The steps that extract local features alone; arguments as for `build`."""
    return LocalSteps(Shared(config, dataset, execution)).local_features()


def comparison_of(config: Config, dataset: Dataset, execution: Execution) -> Comparison:
    """How the first kind of local features compares photos; arguments as for `build`."""
    local = LocalSteps(Shared(config, dataset, execution))
    local.local_features()
    return local.comparison(kinds_of(config.local_features)[0])


def targets_of(config: Config) -> list[str]:
    """Steps whose results a run's record holds: answers of every stage, and the evidence."""
    recipes = [recipe.name for recipe in config.recipes]
    if config.like is not None:
        return [*recipes, ENSEMBLE, VERIFICATION, FUSED]
    if config.spreads:
        return [*recipes, RETRIEVAL, ENSEMBLE, SPREAD, VERIFICATION, FUSED, *([SPREAD_FUSED] * config.spreads_fused)]
    return [*recipes, RETRIEVAL, ENSEMBLE, VERIFICATION, FUSED] if config.ensemble else recipes


def final_step(config: Config) -> str:
    """The last step with answers of a run that blends."""
    return SPREAD_FUSED if config.spreads_fused else FUSED
