"""Recipes by the word that a user types: a name, or a TOML file that says what differs from one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from lmk.models.backbones.catalogue import PROVIDERS, backbone_named
from lmk.models.recipe import Recipe
from lmk.models.recipes import RECIPES
from lmk.util.errors import LmkError, UsageError, did_you_mean, quoted
from lmk.util.schema import WrongSetting, read_table

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def find_recipe(word: str) -> Recipe:
    """The recipe of that name, or the one in that TOML file.

    Raises:
        LmkError: There is none, which names the nearest; or as `read_recipe`.
    """
    if word in RECIPES:
        return RECIPES[word]
    if is_recipe_file(word):
        return read_recipe(Path(word))[0]
    hint = did_you_mean(word, RECIPES)
    raise UsageError(f"No recipe is named '{word}'.{hint} `lmk recipes` lists them; a recipe file ends in .toml.")


def is_recipe_file(word: str) -> bool:
    """Whether a word names a recipe file and not a recipe."""
    return word.endswith(".toml") or "/" in word


def read_recipe(path: Path) -> tuple[Recipe, Recipe | None]:
    """The recipe in a TOML file, and the base that it names, if any.

    `base` names a recipe of lmk, whose fields the file overrides; without it the file gives all that have no default.
    The recipe is called as `name` says, or as the file is.

    Raises:
        LmkError: The file cannot be read, or a field is unknown, missing, or has a value that it does not take.
    """
    table = _table(path)
    base = _base(path, table.pop("base", None))
    table = {"name": path.stem, "about": "", "reaches": ""} | table  # a base's texts describe the base
    try:
        recipe = read_table(Recipe, table, base)
        backbone_named(recipe.backbone)
        recipe.with_views(recipe.views)
    except (WrongSetting, LmkError) as error:
        raise LmkError(f"{path}: {error}") from error
    if recipe.provider is not None and recipe.provider not in PROVIDERS:
        hint = did_you_mean(recipe.provider, PROVIDERS)
        raise LmkError(f"{path}: `provider` is {quoted(recipe.provider)}; it takes {', '.join(PROVIDERS)}.{hint}")
    if not NAME.fullmatch(recipe.name):
        raise LmkError(
            f"{path}: `name` is {quoted(recipe.name)}; it takes up to 64 of a-z, A-Z, 0-9, dot, hyphen and underscore."
        )
    shipped = RECIPES.get(recipe.name)
    if shipped is not None and shipped.key() != recipe.key():
        raise LmkError(f"{path}: `name` is that of a recipe of lmk with other fields, {recipe.name}. Choose another.")
    return recipe, base


def _table(path: Path) -> dict[str, Any]:
    place = path.expanduser()
    try:
        return tomllib.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [str(file) for file in sorted(place.parent.glob("*.toml"))]
        raise LmkError(f"There is no recipe file {path}.{did_you_mean(str(path), there)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise LmkError(f"{path} cannot be read as TOML: {error}. Correct the file.") from error


def _base(path: Path, named: object) -> Recipe | None:
    if named is None:
        return None
    if not isinstance(named, str) or named not in RECIPES:
        hint = did_you_mean(str(named), RECIPES)
        raise LmkError(f"{path}: `base` is {quoted(named)}; it takes the name of a recipe of lmk.{hint}")
    return RECIPES[named]
