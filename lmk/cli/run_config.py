"""From the options of a run to its configuration: defaults, and what options ask of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from lmk.cli.app import DEFAULT_COMPETITION
from lmk.ensemble.fusion_rules import FUSIONS

if TYPE_CHECKING:
    from lmk.pipeline.config import Config
    from lmk.pipeline.systems import System

DEMO_RECIPES = ("tinymobilenetv2-gem", "tinymobilenet-gem")
CPU_RECIPES = ("mobilenetv2-gem", "mobilenet-gem")
PACKAGED_RECIPES = ("efficientnetlite0-gem", "efficientnetlite2-gem")
"""Default recipes on a CPU where lmk[weights] is installed, whose weights need no download."""
LITE_RECIPES = ("mobilenet-gem", "efficientnetlite0-gem")
"""The same where weights are named, so that MobileNet's are at hand, too: the best pair in docs/journal/networks.md."""
GPU_RECIPES = ("vgg16-bottleneck", "xception-gem", "efficientnet-gem")

AS_GIVEN = (
    *("seed", "dev", "folds", "dev_queries", "refit", "spread", "each_network", "ridge", "retrieval", "precision"),
    *("runtime", "delf_tune", "delf_attention", "like", "passes", "divisor", "gallery", "most_features", "pairs"),
    *("nearest", "enough"),
)
"""Options that are fields of `Config` as they are given."""


def config_from(given: Mapping[str, Any]) -> Config:
    """The configuration that the options of `open_run` describe, by name.

    Raises:
        LmkError: A recipe, rule or system is unknown, or takes no such setting.
    """
    from lmk.local.kinds import DELF, kinds_of
    from lmk.metrics.registry import find_metric
    from lmk.pipeline.config import CANDIDATES, config_of
    from lmk.pipeline.local_features import chosen_local_features

    metric = find_metric(given["metric"])
    _check_names(given)
    system = _system(given)
    if system is not None:
        given = {**given, "recipe": given["recipe"] or [system.recipe], "ensemble": True, "fusion": system.rule}
        given |= {"local_features": DELF, "unreadable": given["unreadable"] or system.unreadable}
    unreadable = _unreadable(given, system)
    recipes, weights = with_defaults(given["competition"], given["recipe"], given["weights"])
    kinds = chosen_local_features(given["local_features"], weights, given["delf"])
    delf = given["delf"] or (packaged_delf(recipes, weights) if system is None and DELF in kinds_of(kinds) else None)
    return config_of(
        recipes,
        given["image_size"],
        given["views"],
        given["epochs"],
        **{name: given[name] for name in AS_GIVEN},
        weights=weights,
        share_without_landmark=given["dev_share"],
        ensemble=given["ensemble"],
        fusion=given["fusion"],
        delf=delf,
        local_features=kinds,
        comparison="default" if system is None and given["comparison"] == "default" else "published",
        metric=metric.name,
        candidates=max(CANDIDATES, metric.depth) if system is None else 1,
        unreadable=unreadable,
        accepted=tuple(given["keep_stale"] or ()),
    )


def _check_names(given: Mapping[str, Any]) -> None:
    """Refuse a fusion, a retrieval or a recipe that is not there."""
    from lmk.models.recipe_files import find_recipe
    from lmk.retrieval.scores import KNN, SCORES
    from lmk.util.errors import UsageError, did_you_mean

    for option, known in (("fusion", FUSIONS), ("retrieval", SCORES)):
        name = given[option]
        if name not in known:
            raise UsageError(f"No {option} is named '{name}'; there are {', '.join(known)}.{did_you_mean(name, known)}")
    if given["each_network"] and given["retrieval"] != KNN:
        raise typer.BadParameter(
            f"--each-network goes with --retrieval {KNN}: {given['retrieval']} joins networks by itself."
        )
    for name in given["recipe"] or ():
        find_recipe(name)


def _system(given: Mapping[str, Any]) -> System | None:
    """The published system that the run follows."""
    from lmk.pipeline.systems import find_system

    if given["like"] is None:
        return None
    system = find_system(given["like"])
    if len(given["recipe"] or ()) > 1:
        raise typer.BadParameter(
            f"{given['like']} has one network: give --recipe once, or not at all for its own, {system.recipe}."
        )
    return system


def _unreadable(given: Mapping[str, Any], system: System | None) -> str:
    """How unreadable photos are answered; options that the rule of fusion does not know are refused."""
    unreadable, rule = given["unreadable"], FUSIONS[given["fusion"]]
    if given["passes"] > 1 and (system is None or not system.sums):
        raise typer.BadParameter("--passes goes with --like xception-delf32.")
    if given["divisor"] != "dev" and not rule.divides:
        divided = " or ".join(name for name, one in FUSIONS.items() if one.divides)
        raise typer.BadParameter(f"--divisor goes with --fusion {divided} and --like xception-delf32.")
    if not rule.answers_unverified and unreadable not in (None, "empty"):
        raise typer.BadParameter(
            f"--unreadable {unreadable} answers what was not verified, which the rule {given['fusion']} does not do."
        )
    return unreadable or ("last" if rule.answers_unverified else "empty")


def with_defaults(competition: str, recipe: list[str] | None, weights: str | None) -> tuple[tuple[str, ...], str]:
    """Recipes and weights as they are asked for, or by default: weights follow the recipes, and the demo downloads
    nothing."""
    from lmk.models.recipe_files import find_recipe

    demo = competition == DEFAULT_COMPETITION and not recipe and not weights
    names = tuple(dict.fromkeys(recipe or (DEMO_RECIPES if demo else default_recipes(weights))))
    tiny = all(find_recipe(name).backbone.startswith("tiny") for name in names)
    return names, weights or ("tiny" if tiny else "imagenet")


def default_recipes(weights: str | None = None) -> tuple[str, ...]:
    """Recipes that suit the device: large networks that are tuned on a GPU, frozen small ones on a CPU; of these the
    ones whose weights an installed package holds where no `weights` are named, and else one of them with MobileNet."""
    from lmk.models.backbones.catalogue import packaged_backbones
    from lmk.models.recipe_files import find_recipe
    from lmk.models.start import sees_gpu

    if sees_gpu():
        return GPU_RECIPES
    packaged = set(packaged_backbones())
    if weights is None and {find_recipe(name).backbone for name in PACKAGED_RECIPES} <= packaged:
        return PACKAGED_RECIPES
    if weights not in (None, "none", "tiny") and "efficientnetlite0" in packaged:
        return LITE_RECIPES
    return CPU_RECIPES


def packaged_delf(recipes: tuple[str, ...], weights: str) -> str | None:
    """DELF's backbone where every recipe's weights are in installed packages, else None."""
    from lmk.models.backbones.catalogue import packaged_backbones
    from lmk.models.delf.recipe import CUTS
    from lmk.models.recipe_files import find_recipe

    backbones = [find_recipe(name).backbone for name in recipes]
    packaged = weights == "imagenet" and set(backbones) <= set(packaged_backbones())
    return backbones[0] if packaged and backbones[0] in CUTS else None
