"""The largest settings of a run that fit a time and a disk: image size, views, epochs, dev queries and gallery.

Each setting is a ladder. While the run does not fit, the step down is taken that loses the least GAP for the time and
disk that it saves; then every setting goes up again as far as it still fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2

from lmk.data.sizes import Size
from lmk.models.backbones.catalogue import backbone_named
from lmk.pipeline.budget import within_budget
from lmk.pipeline.config import Config, adapted_recipe
from lmk.pipeline.costs import Cost
from lmk.pipeline.forecast import Factors, forecast
from lmk.pipeline.rates import Gpu, Rates
from lmk.util.errors import LmkError

Choices = Mapping[str, int]
"""Value by name of the option, `image_size` and so on."""

SIZES = (96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 448, 512)
EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 20)
QUERIES = (1000, 2000, 5000, 10_000)
GALLERIES = (4, 8, 16, 32)

SIZE_GAP = 0.009
"""GAP lost by 32 pixels less, of 352 to 224: a quarter of 0.035 of kNN on dev of provence (docs/journal, views)."""
VIEWS_GAP = {(22, 12): 0.014, (12, 1): 0.112, (22, 1): 0.126}
"""GAP lost by fewer crops, of a head on dev of provence (docs/journal/ideas.md, views)."""
GALLERY_GAP = 0.012
"""GAP lost by half the gallery, of 16 to 8, on a part of dev of world (docs/journal/local-features.md)."""
EPOCHS_GAP = 0.002
"""GAP lost by half the epochs: 20 to 11 on provence lost 0.001 of a frozen network's; a tuned one was not measured."""
QUERIES_GAP = 0.0005
"""Loss that halving the dev queries counts as, so that they are not free: GAP stays, but its interval is 1.4 times as
wide."""


@dataclass(frozen=True)
class Fit:
    """Settings that fit.

    Attributes:
        config: The run, within its pairs and the disk.
        asked: The same before `within_budget`.
        options: What `make-submission` is given for it beside what was asked.
        costs: Its forecast.
        lost: For each option that was lowered: what it was, and GAP that this loses, about.
    """

    config: Config
    asked: Config
    options: Choices
    costs: list[Cost]
    lost: Mapping[str, tuple[int, float]]


@dataclass(frozen=True)
class Limits:
    """Limits of a run: seconds with the GPU or without one, and bytes of disk."""

    seconds: float
    disk: float
    gpu: Gpu | None
    jobs: int

    def over(self, costs: Sequence[Cost]) -> float:
        """Share by which the larger of time and disk exceeds its limit, as a share of it; at most 0 where both fit."""
        stored = sum(cost.disk for cost in costs) + max(cost.scratch for cost in costs)
        return max(self.time(costs) / self.seconds, stored / self.disk) - 1

    def time(self, costs: Sequence[Cost]) -> float:
        """Seconds: on the GPU what it helps, beside it the rest."""
        return sum(cost.gpu_seconds or cost.seconds if self.gpu else cost.seconds for cost in costs)


def fit(size: Size, config: Config, options: Choices, limits: Limits, rates: Rates, gpu: Gpu, factors: Factors) -> Fit:
    """The largest settings that fit.

    Args:
        size: Counts of the competition.
        config: The run as it is asked for, with its recipes as shipped but for what `options` hold.
        options: Settings that the user fixed by an option; they stay.
        limits: Time and disk.
        rates, gpu, factors: As for `forecast`.

    Raises:
        LmkError: Not even the smallest settings fit.
    """
    ladders = _ladders(config, options)
    start = {name: len(values) - 1 for name, values in ladders.items()}

    def costs_at(places: Mapping[str, int]) -> list[Cost]:
        within = within_budget(with_choices(config, _values(ladders, places)), size, limits.disk)
        return forecast(size, within, rates, gpu, limits.jobs, True, factors)

    places, costs = dict(start), costs_at(start)
    while limits.over(costs) > 0:
        steps = []
        for name, place in places.items():
            if place:
                lower = places | {name: place - 1}
                found = costs_at(lower)
                saved = limits.over(costs) - limits.over(found)
                steps.append(
                    (_lost(name, ladders[name][place], ladders[name][place - 1]) / max(saved, 1e-12), lower, found)
                )
        if not steps:
            raise LmkError(_too_little(limits, costs))
        _, places, costs = min(steps, key=lambda step: step[0])
    for name in places:  # what was lowered before a larger saving was found may go up again
        while places[name] < start[name] and limits.over(found := costs_at(places | {name: places[name] + 1})) <= 0:
            places, costs = places | {name: places[name] + 1}, found
    chosen = _values(ladders, places)
    lowered = {name: ladders[name][start[name]] for name in places if places[name] < start[name]}
    asked = with_choices(config, chosen)
    return Fit(
        within_budget(asked, size, limits.disk),
        asked,
        {name: value for name, value in chosen.items() if name in lowered},
        costs,
        {name: (was, _lost(name, was, chosen[name])) for name, was in lowered.items()},
    )


def with_choices(config: Config, values: Choices) -> Config:
    """The configuration with such settings."""
    recipes = tuple(
        adapted_recipe(
            recipe, min(values["image_size"], recipe.image_size), values.get("views", recipe.views), values["epochs"]
        )
        for recipe in config.recipes
    )
    return replace(config, recipes=recipes, dev_queries=values["dev_queries"], gallery=values["gallery"])


def _ladders(config: Config, fixed: Choices) -> dict[str, tuple[int, ...]]:
    """Values of each setting from the smallest to what is asked for; one value of what is fixed."""
    recipes = config.recipes
    views = {tuple(sorted({12, 22} if recipe.dense else {1, 12, 22})) for recipe in recipes}
    allowed = tuple(sorted(set.intersection(*map(set, views))))
    most_views = max(recipe.views for recipe in recipes)
    epochs = max(stage.epochs for recipe in recipes for stage in recipe.stages)
    ladders = {
        "image_size": tuple(
            side
            for side in _up_to(SIZES, max(recipe.image_size for recipe in recipes))
            if not any(backbone_named(recipe.backbone).side_problem(min(side, recipe.image_size)) for recipe in recipes)
        ),
        "views": tuple(value for value in allowed if value <= most_views),
        "epochs": _up_to(EPOCHS, epochs),
        "dev_queries": _up_to(QUERIES, config.dev_queries),
        "gallery": _up_to(GALLERIES, config.gallery),
    }
    if len({recipe.views for recipe in recipes}) > 1:
        del ladders["views"]  # one number for all would change what some of them are
    return {name: (values[-1:] if name in fixed else values) for name, values in ladders.items() if values}


def _up_to(values: Sequence[int], most: int) -> tuple[int, ...]:
    return (*(value for value in values if value < most), most)


def _values(ladders: Mapping[str, Sequence[int]], places: Mapping[str, int]) -> dict[str, int]:
    return {name: ladders[name][place] for name, place in places.items()}


def _lost(name: str, high: int, low: int) -> float:
    """GAP that a lower value of a setting loses, about."""
    if name == "image_size":
        return SIZE_GAP * (high - low) / 32
    if name == "views":
        return VIEWS_GAP[high, low]
    halvings = log2(high / low)
    return halvings * {"epochs": EPOCHS_GAP, "dev_queries": QUERIES_GAP, "gallery": GALLERY_GAP}[name]


def _too_little(limits: Limits, costs: Sequence[Cost]) -> str:
    stored = sum(cost.disk for cost in costs) + max(cost.scratch for cost in costs)
    hours, gigabytes = limits.time(costs) / 3600, stored / 1e9
    return (
        f"The smallest settings of these recipes take {hours:,.1f} hours and {gigabytes:,.1f} GB: allow more by --fit "
        "and --disk, or name a smaller recipe."
    )
