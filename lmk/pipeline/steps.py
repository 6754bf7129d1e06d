"""A step of a run, and the execution of a list of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmk.pipeline.cache import Cache, DamagedResult, Slot
from lmk.pipeline.config import Execution
from lmk.pipeline.key import Key
from lmk.util.text import span

log = logging.getLogger(__name__)

RETRIEVAL, ENSEMBLE, VERIFICATION, FUSED = "retrieval", "ensemble", "verification", "fused"
"""Steps besides those of recipes, which are called by the recipe: its name, NAME/features and NAME/networks."""
SPREAD, SPREAD_FUSED = "spread", "spread-fused"
"""Steps that spread the blended and the fused lists."""
DELF_NETWORK = "delf"


def features_of(recipe: str) -> str:
    """The step that stores a recipe's features."""
    return f"{recipe}/features"


def networks_of(recipe: str) -> str:
    """The step that trains a recipe's networks."""
    return f"{recipe}/networks"


def context_of(recipe: str) -> str:
    """The step that answers the test photos by the networks of all folds."""
    return f"{recipe}/context"


def local_of(kind: str) -> str:
    """The step that extracts a kind of local features."""
    return f"local/{kind}"


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a run.

    Attributes:
        name: As `--keep-stale`, the dry run and the record say it.
        stage: The stage under which its time is shown: a recipe, `retrieval`, `ensemble`, `spread`,
            `verification`, `fused`, `spread-fused`.
        needs: Names of the steps whose results it takes.
        key: Everything that its result depends on.
        slot: Where its result is kept.
        compute: Function from results by step name to its result.
    """

    name: str
    stage: str
    needs: tuple[str, ...]
    key: Key
    slot: Slot[Any]
    compute: Callable[[Mapping[str, Any]], Any]


@dataclass
class Outcome:
    """Results of a list of steps.

    Attributes:
        results: Result of each step that was asked for or needed, by name.
        seconds: Time of each step, in seconds.
        stored: Steps whose result was read from the cache.
    """

    results: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)


def steps_to_compute(steps: Sequence[Step], targets: Sequence[str]) -> list[str]:
    """Names of the steps that have to be computed for the results of `targets`, in order."""
    by_name, found = {step.name: step for step in steps}, set()

    def visit(name: str) -> None:
        step = by_name[name]
        if name not in found and step.slot.missing():
            found.add(name)
            for needed in step.needs:
                visit(needed)

    for target in targets:
        visit(target)
    return [step.name for step in steps if step.name in found]


class Pace:
    """Which step of how many is computed, and about how long it takes: what was expected of it, times what the steps
    before it in this run took beside what was expected of them."""

    def __init__(self, names: Sequence[str], expected: Mapping[str, float]):
        self.names, self.expected = list(names), expected
        self.planned = self.taken = 0.0
        self.begun = 0

    def line(self, name: str) -> str:
        """Line for the user when a step begins."""
        place = "once more"
        if name in self.names:  # numbered as they are computed: a step waits for those that it needs
            self.begun += 1
            place = f"step {self.begun} of {len(self.names)}"
        seconds = self.expected.get(name, 0.0) * (self.taken / self.planned if self.planned else 1.0)
        return f"{name} ... {place}" + (f", about {span(seconds)}" if seconds >= 1 else "")

    def took(self, name: str, seconds: float) -> None:
        """Note the time of a step that is done, in seconds."""
        if self.expected.get(name, 0.0) >= 1:
            self.planned += self.expected[name]
            self.taken += seconds


def execute(
    steps: Sequence[Step], targets: Sequence[str], execution: Execution, expected: Mapping[str, float] | None = None
) -> Outcome:
    """Give the results of `targets`: what is stored is loaded, what is not is computed from what it needs.

    Args:
        steps: In an order in which each stands after all that it needs.
        targets: Names of the steps whose results are wanted.
        execution: Notes and progress.
        expected: Seconds that steps are expected to take, by name.
    """
    by_name = {step.name: step for step in steps}
    outcome = Outcome()
    pace = Pace(steps_to_compute(steps, targets), expected or {})
    with execution.progress("All steps", len(pace.names), "") as advance:
        for target in targets:
            before = len(outcome.results) - len(outcome.stored)
            _provide(by_name[target], by_name, outcome, execution, pace)
            advance(len(outcome.results) - len(outcome.stored) - before)
    return outcome


def _provide(step: Step, by_name: Mapping[str, Step], outcome: Outcome, execution: Execution, pace: Pace) -> Any:
    """The result of a step, with those that it needs where it has to be computed."""
    if step.name in outcome.results:
        return outcome.results[step.name]
    start = time.monotonic()
    if step.slot.missing() == 0:
        try:
            result = step.slot.load()
            log.info("%s is stored under %s.", step.name, step.key.digest)
            outcome.stored.append(step.name)
            return _keep(step, result, start, outcome)
        except DamagedResult as damage:
            execution.note(str(damage))
    needed = {name: _provide(by_name[name], by_name, outcome, execution, pace) for name in step.needs}
    start = time.monotonic()
    execution.note(pace.line(step.name))
    result = step.compute(needed)
    step.slot.save(result)
    pace.took(step.name, time.monotonic() - start)
    return _keep(step, result, start, outcome)


def _keep(step: Step, result: Any, start: float, outcome: Outcome) -> Any:
    outcome.results[step.name] = result
    outcome.seconds[step.name] = round(time.monotonic() - start, 3)
    return result


@dataclass(frozen=True)
class Stale:
    """A step that would be computed again although a result of other code is stored.

    Attributes:
        step: Its name.
        modules: Modules whose code differs between the two.
    """

    step: str
    modules: tuple[str, ...]


def stale_steps(steps: Sequence[Step], cache: Cache) -> list[Stale]:
    """Steps whose stored results an edit or an upgrade of lmk made stale."""
    found = []
    for step in steps:
        if step.slot.missing() and (stored := cache.stale(step.key)) is not None:
            names = sorted(stored.code.keys() | step.key.code.keys())
            changed = tuple(name for name in names if stored.code.get(name) != step.key.code.get(name))
            found.append(Stale(step.name, changed))
    return found
