"""The dry run: the steps of a run, what of each is stored, and what the rest will cost about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lmk.data.sizes import size_of
from lmk.pipeline.config import Config, Execution
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.forecast import forecast, measured_factors
from lmk.pipeline.rates import GPUS, MEASURED
from lmk.pipeline.steps import Step, steps_to_compute
from lmk.util.text import span


@dataclass(frozen=True)
class StepPlan:
    """A step: its name, whether its result is stored, and about how many seconds it takes otherwise."""

    name: str
    stored: bool
    seconds: float

    @property
    def cost(self) -> str:
        """The cost for people."""
        return "" if self.stored else f"about {self.seconds:,.0f} s on two cores"

    def to_dict(self) -> dict[str, object]:
        """JSON values."""
        return asdict(self)


def plan_steps(config: Config, dataset: Dataset, execution: Execution, steps: Sequence[Step]) -> list[StepPlan]:
    """The steps in order, with costs on two CPU cores of what is not stored.

    Costs follow the runs in the workspace where there are any; of a step that is stored in part, such as features of
    some photos or networks of some folds, the rest is counted. A step that only a stored one needs costs nothing.
    """
    rates, gpu = MEASURED, GPUS["t4"]
    factors = measured_factors(execution.workspace, rates, gpu, execution.jobs)
    costs = forecast(size_of(dataset.competition), config, rates, gpu, execution.jobs, factors=factors)
    seconds = {cost.step: cost.seconds for cost in costs}
    missing = {step.name: step.slot.missing() for step in steps}
    return [
        StepPlan(step.name, missing[step.name] == 0, round(missing[step.name] * seconds.get(step.name, 0.0), 3))
        for step in steps
    ]


def announce(
    config: Config, dataset: Dataset, execution: Execution, steps: Sequence[Step], targets: Sequence[str]
) -> dict[str, float]:
    """Say what a run will do before it begins: on what, how many steps, and about how long.

    Returns:
        Expected seconds by step.
    """
    size = size_of(dataset.competition)
    execution.note(
        f"{size.name}: {size.train:,} training photos of {size.landmarks:,} landmarks, {size.distractors:,} "
        f"distractors, {size.test:,} test photos; {len(dataset.dev):,} dev queries "
        f"({'holdout' if dataset.is_holdout else f'{config.folds} folds'}); "
        f"{', '.join(recipe.name for recipe in config.recipes)}"
    )
    waiting = steps_to_compute(steps, targets)
    if not waiting:
        execution.note("All steps are stored.")
        return {}
    expected = {step.name: step.seconds for step in plan_steps(config, dataset, execution, steps)}
    seconds = sum(expected[name] for name in waiting)
    stored = f", {len(steps) - len(waiting)} of {len(steps)} are stored" if len(waiting) < len(steps) else ""
    about = f"about {span(seconds)} on two cores"
    count = "1 step" if len(waiting) == 1 else f"{len(waiting)} steps"
    execution.note(f"{count} to compute{stored}; {about}. Ctrl-C loses nothing.")
    return expected
