"""Proposals that are verified and fused, and how two photos are compared, as settings determine them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmk.local.compare import Settings
from lmk.local.compare import comparison_settings as settings_by_name
from lmk.pipeline.config import CONTEXT_CANDIDATES, Config
from lmk.pipeline.likes import find_like
from lmk.pipeline.results import Answers
from lmk.pipeline.steps import ENSEMBLE, SPREAD, context_of


def head_steps(config: Config) -> tuple[str, ...]:
    """Steps with the answers of each recipe, by every fold of the test photos, too, where answers are spread."""
    recipes = (recipe.name for recipe in config.recipes)
    return tuple(context_of(name) if config.spreads else name for name in recipes)


def proposing_step(config: Config) -> str:
    """The step whose best landmarks are verified and fused."""
    return SPREAD if config.spreads else ENSEMBLE


def proposals_of(config: Config, results: Mapping[str, Any]) -> Answers:
    """Proposals that are verified and fused: the best landmarks of the ensemble, spread where the run spreads."""
    if not config.spreads:
        found: Answers = results[ENSEMBLE]
        return found
    spread, count = results[SPREAD], config.candidates
    context = tuple(one.top(min(CONTEXT_CANDIDATES, count)) for one in spread.context)
    return Answers(spread.dev.top(count), spread.test.top(count), context=context)


def comparison_settings(kind: str, config: Config) -> Settings:
    """How two photos are compared by a kind of local features."""
    if config.like is not None:
        return replace(find_like(config.like).comparison, seed=config.seed)
    return settings_by_name(kind, config.comparison, config.seed, config.enough)
