"""State that the builders of all steps share: settings, the keys of the steps so far, and the parts that dev is fitted
by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lmk.metrics import Metric
from lmk.metrics.ranking import GAP
from lmk.metrics.registry import find_metric
from lmk.pipeline.backend import running_backend
from lmk.pipeline.cache import Cache
from lmk.pipeline.config import Config, Execution
from lmk.pipeline.dataset import Dataset
from lmk.pipeline.dev_parts import DevParts, dev_parts
from lmk.pipeline.key import Key
from lmk.pipeline.likes import Like, find_like
from lmk.pipeline.steps import Step
from lmk.util.team import ALONE, Team


@dataclass(eq=False)
class Shared:
    """The run's settings, and the keys of the steps that were built.

    Attributes:
        config, dataset, execution, team: As `lmk.pipeline.build.build` takes them.
        keys: Key of each step so far, by its name; those of earlier steps go into those of later ones.
    """

    config: Config
    dataset: Dataset
    execution: Execution
    team: Team = ALONE
    keys: dict[str, Key] = field(default_factory=dict)

    @cached_property
    def cache(self) -> Cache:
        """The results in the workspace."""
        return Cache(self.execution.workspace)

    @cached_property
    def like(self) -> Like | None:
        """The published system that the run follows, as the user asks for it; None for lmk's own way."""
        config = self.config
        if config.like is None:
            return None
        return find_like(config.like).as_asked(config.passes, config.divisor, config.seed)

    @cached_property
    def parts(self) -> DevParts:
        """Parts that dev is cross-fitted by where answers are spread."""
        return dev_parts(self.dataset.parts, self.dataset.dev, self.config.seed)

    @cached_property
    def metric(self) -> Metric:
        """The metric that scores the run."""
        return find_metric(self.config.metric)

    @property
    def metric_facts(self) -> dict[str, object]:
        """The metric in the keys of steps that choose by it; GAP is in the code of these steps."""
        return {} if self.metric is GAP else {"metric": self.metric.name}

    @property
    def metric_code(self) -> tuple[str, ...]:
        """Module of a metric other than GAP."""
        return () if self.metric is GAP else (type(self.metric).__module__,)

    def accepted(self, key: Key) -> Key:
        """The key, or that of a stale result which the user accepts in its place."""
        if key.name not in self.config.accepted:
            return key
        return self.cache.stale(key) or key

    def keep(self, steps: Sequence[Step]) -> list[Step]:
        """The steps, whose keys are kept for those that come after."""
        self.keys |= {step.name: step.key for step in steps}
        return list(steps)

    def on_backend(self, compute: Callable[[], Any]) -> Any:
        """The result of `compute`, with Keras started."""
        with running_backend(self.config, self.execution.note, self.team):
            return compute()
