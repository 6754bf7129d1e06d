"""Settings that fit a budget: fewer pairs verified where there are many queries, smaller features where disk is
short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from lmk.data.sizes import Size
from lmk.local.kinds import kinds_of
from lmk.models.recipe import HEAD_ONLY, Recipe
from lmk.pipeline.amounts import dev_queries, stored_bytes
from lmk.pipeline.config import Config
from lmk.pipeline.forecast import forecast
from lmk.pipeline.rates import GPUS, MEASURED

PROJECTED = 256
"""Numbers of a network's descriptor where disk is short; retrieval whitens all networks' together to 512."""
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
    return within_disk(within_pairs(config, size), size, disk)


def changes(asked: Config, config: Config) -> list[str]:
    """One line for people for each thing that `within_budget` changed."""
    lines = []
    if (asked.candidates, asked.gallery) != (config.candidates, config.gallery):
        lines.append(
            f"Verification compares {config.candidates} landmarks a query and {config.gallery} photos of each, not "
            f"{asked.candidates} and {asked.gallery}, so that {asked.pairs:,} pairs suffice (--pairs)."
        )
    if config.most_features != asked.most_features:
        lines.append(f"Photos have {config.most_features} local features at the most: more exceed --disk.")
    if config.descriptor_width != asked.descriptor_width:
        lines.append(f"Descriptors are projected to {config.descriptor_width} numbers a network: more exceed --disk.")
    for wanted, recipe in zip(asked.recipes, config.recipes, strict=True):
        if recipe.stages != wanted.stages:
            lines.append(f"{recipe.name} stores no features and reads photos in each epoch: they exceed --disk.")
        if recipe.views != wanted.views:
            lines.append(f"{recipe.name} stores 1 view a photo in place of {wanted.views}: more exceed --disk.")
    return lines


def within_pairs(config: Config, size: Size) -> Config:
    """The configuration with as many photos of a landmark, then landmarks of a query, as `Config.pairs` allows.

    Dev and test are verified alike, since the fusion that dev learns has to hold for test.
    """
    if config.like is not None or not config.ensemble:  # a published system verifies as published
        return config
    queries = len(kinds_of(config.local_features)) * (dev_queries(config, size) + size.test)

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


def within_disk(config: Config, size: Size, disk: float) -> Config:
    """The configuration that fits the disk, changed as little as it takes, in the order of what it loses.

    Descriptors are projected to fewer numbers; recipes that tune their backbone store no features for their first
    stage; photos have fewer local features and landmarks smaller galleries; frozen recipes store one view a photo, and
    at last nothing either.

    Args:
        config: What is asked for.
        size: Counts of the competition.
        disk: Bytes for all that the run stores.
    """
    for smaller in _ladder(config, size):
        if disk_needed(config, size) <= disk:
            break
        config = smaller(config)
    return config


def disk_needed(config: Config, size: Size) -> float:
    """Bytes that a run stores, and those that it needs beside them for a while; photos that are fetched apart."""
    costs = forecast(size, config, MEASURED, GPUS["t4"], jobs=1)
    return sum(cost.disk for cost in costs) + max(cost.scratch for cost in costs)


def _ladder(config: Config, size: Size) -> Iterator[Callable[[Config], Config]]:
    """Ways to need less disk, each from a configuration to a smaller one or the same."""

    def changed(change: Callable[[Recipe], Recipe], place: int) -> Callable[[Config], Config]:
        def smaller(config: Config) -> Config:
            recipes = list(config.recipes)
            recipes[place] = change(recipes[place])
            return replace(config, recipes=tuple(recipes))

        return smaller

    # The recipe with the largest features first: the others keep their views as long as they can.
    order = sorted(range(len(config.recipes)), key=lambda place: -stored_bytes(config.recipes[place], size.photos))
    if config.like is None:
        yield lambda config: replace(config, descriptor_width=min(PROJECTED, config.descriptor_width or PROJECTED))
    yield from (changed(streamed, place) for place in order if not config.recipes[place].frozen)
    if config.ensemble and config.like is None:
        yield from (partial(_with_most_features, most=most) for most in (400, 200))
        yield from (partial(_with_gallery, most=most) for most in (16, 8, 4))
    for change in (one_view, streamed):
        yield from (changed(change, place) for place in order if config.recipes[place].frozen)


def _with_most_features(config: Config, most: int) -> Config:
    return replace(config, most_features=min(most, config.most_features or most))


def _with_gallery(config: Config, most: int) -> Config:
    return replace(config, gallery=min(most, config.gallery))


def one_view(recipe: Recipe) -> Recipe:
    """A recipe that sees each photo once, whole."""
    return replace(recipe, views=1, dense=False)


def streamed(recipe: Recipe) -> Recipe:
    """A recipe whose first stage reads photos anew in each epoch in place of stored features."""
    first, *others = recipe.stages
    if first.train_from is not None:
        return recipe
    return replace(recipe, stages=(replace(first, train_from=HEAD_ONLY), *others))
