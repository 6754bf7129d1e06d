"""What fits a budget: fewer pairs verified where there are many queries, smaller features where disk is short."""

from __future__ import annotations

from dataclasses import replace

from lmk.data.sizes import Size
from lmk.local.kinds import KINDS
from lmk.models.backbones.catalogue import backbone_named
from lmk.models.recipes import HEAD_ONLY, Recipe
from lmk.pipeline.config import Config

LEAST_GALLERY, LEAST_CANDIDATES = 8, 3
"""Photos of a landmark, and landmarks of a query, below which the other of the two is lowered first."""


def within_budget(config: Config, size: Size, disk: float) -> Config:
    """The configuration whose verified pairs are at most `Config.pairs` and whose stored features fit the disk.

    What is within both already stays as it is.

    Args:
        config: What is asked for.
        size: Counts of the competition.
        disk: Bytes for features.
    """
    return within_disk(within_pairs(config, size), size.photos, disk)


def changes(asked: Config, config: Config) -> list[str]:
    """One line for people for each thing that `within_budget` changed."""
    lines = []
    if (asked.candidates, asked.gallery) != (config.candidates, config.gallery):
        lines.append(
            f"Verification compares {config.candidates} landmarks a query and {config.gallery} photos of each, not "
            f"{asked.candidates} and {asked.gallery}, so that {asked.pairs:,} pairs suffice (--pairs)."
        )
    for wanted, recipe in zip(asked.recipes, config.recipes, strict=True):
        if recipe.stages != wanted.stages:
            lines.append(f"{recipe.name} stores no features and reads photos in each epoch: they exceed --disk.")
        elif recipe.views != wanted.views:
            lines.append(f"{recipe.name} stores 1 view a photo in place of {wanted.views}: more exceed --disk.")
    return lines


def dev_queries(config: Config, size: Size) -> int:
    """About how many dev queries the configuration asks."""
    if config.holds_out(size.train):
        return size.holdout_queries(config.share_without_landmark, config.dev_queries)
    return size.queries(config.share_without_landmark)


def within_pairs(config: Config, size: Size) -> Config:
    """The configuration with as many photos of a landmark, then landmarks of a query, as `Config.pairs` allows.

    Dev and test are verified alike, since the fusion that dev learns has to hold for test.
    """
    if config.like is not None or not config.ensemble:  # a published system verifies as published
        return config
    queries = len(KINDS[config.local_features]) * (dev_queries(config, size) + size.test)

    def pairs(candidates: int, gallery: int) -> float:
        return queries * candidates * size.compared(gallery)

    candidates, gallery = config.candidates, config.gallery
    while pairs(candidates, gallery) > config.pairs and (candidates, gallery) != (1, 1):
        if gallery > LEAST_GALLERY or candidates == 1:
            gallery -= 1
        elif candidates > LEAST_CANDIDATES or gallery == 1:
            candidates -= 1
        else:  # both are at the least that pays: they fall in turn
            candidates, gallery = (candidates - 1, gallery) if 3 * candidates >= gallery else (candidates, gallery - 1)
    return replace(config, candidates=candidates, gallery=gallery)


def within_disk(config: Config, photos: int, disk: float) -> Config:
    """The configuration whose stored features fit the disk: one view a photo, then none stored at all.

    Args:
        config: What is asked for.
        photos: All photos of the competition.
        disk: Bytes for features.
    """
    recipes = list(config.recipes)
    for smaller in (one_view, streamed):
        # The recipe with the largest features first: the others keep their views as long as they can.
        for place in sorted(range(len(recipes)), key=lambda place: -stored_bytes(recipes[place], photos)):
            if sum(stored_bytes(recipe, photos) for recipe in recipes) > disk:
                recipes[place] = smaller(recipes[place])
    return replace(config, recipes=tuple(recipes))


def stored_bytes(recipe: Recipe, photos: int) -> float:
    """Bytes of the features of so many photos that a recipe stores, in half precision."""
    if recipe.stages[0].train_from is not None:
        return 2.0 * photos * feature_width(recipe)
    return 2.0 * photos * recipe.views * feature_width(recipe)


def one_view(recipe: Recipe) -> Recipe:
    """A recipe that sees each photo once, whole."""
    return replace(recipe, views=1, dense=False)


def streamed(recipe: Recipe) -> Recipe:
    """A recipe whose first stage reads photos anew in each epoch in place of stored features."""
    first, *others = recipe.stages
    if first.train_from is not None:
        return recipe
    return replace(recipe, stages=(replace(first, train_from=HEAD_ONLY), *others))


def feature_width(recipe: Recipe) -> int:
    """Numbers of a view that the head gets."""
    backbone = backbone_named(recipe.backbone)
    cells = (recipe.image_size // backbone.stride) ** 2 if recipe.pooling == "flatten" else 1
    return backbone.channels * cells
