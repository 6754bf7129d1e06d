"""What a run would do: its stages, which of them are stored, and what the others will cost about."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from lmk.data.sizes import size_of
from lmk.pipeline.forecast import forecast, measured_factors, timed_as
from lmk.pipeline.rates import GPUS, MEASURED
from lmk.pipeline.run import stage_keys
from lmk.pipeline.steps import FUSED, Run


@dataclass(frozen=True)
class StagePlan:
    """A stage: its name, whether its result is stored, and about how many seconds it takes otherwise."""

    name: str
    stored: bool
    seconds: float

    @property
    def cost(self) -> str:
        """For people."""
        return "" if self.stored else f"about {self.seconds:,.0f} s on two cores"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def plan_stages(run: Run) -> list[StagePlan]:
    """The stages in order, verification counted to the fusion that needs it.

    Costs are for two CPU cores, by what runs in the workspace took where there are any; features stored by an earlier
    run make them less.
    """
    rates, gpu = MEASURED, GPUS["t4"]
    factors = measured_factors(run.workspace, rates, gpu)
    seconds: dict[str, float] = {}
    for cost in forecast(size_of(run.competition), run.settings, rates, gpu, factors=factors):
        stage = FUSED if timed_as(cost.stage) == "verification" else cost.stage
        seconds[stage] = seconds.get(stage, 0.0) + cost.seconds
    return [
        StagePlan(stage, run.is_stored(stage, key), round(seconds[stage])) for stage, key in stage_keys(run).items()
    ]
