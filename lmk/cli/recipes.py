"""`lmk recipes`: what can be trained, the published systems, one recipe in full, and the fields of a recipe file."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.complete import recipe_names
from lmk.cli.output import say, say_text

if TYPE_CHECKING:
    from lmk.models.recipe import Recipe

WIDTH = 100
"""Characters of a line of a field's text."""


@app.command()
def recipes(
    recipe: Annotated[
        str | None,
        typer.Argument(autocompletion=recipe_names, help="Show this recipe or recipe file (TOML) with all its fields."),
    ] = None,
    fields: Annotated[bool, typer.Option("--fields", help="Explain the fields of a recipe file.")] = False,
    json: JsonOption = False,
) -> None:
    """List the recipes (network, size, views, cost of predicting a photo, what they reach) and published systems.

    With a recipe: all its fields as a recipe file has them, and what differs from the recipe that it is based on.
    """
    if fields:
        show_fields(json)
    elif recipe is not None:
        show_recipe(recipe, json)
    else:
        list_recipes(json)


def list_recipes(json: bool) -> None:
    """The table of recipes, a line on each, and the published systems that `--like` follows."""
    from dataclasses import asdict

    from lmk.models.recipes import RECIPES
    from lmk.pipeline.systems import SYSTEMS

    if json:
        print_json(
            {
                "recipes": [recipe.key() | {"giga_macs": recipe.giga_macs} for recipe in RECIPES.values()],
                "likes": [asdict(system) for system in SYSTEMS.values()],
            }
        )
        return
    from lmk.cli.console import next_steps
    from lmk.cli.tables import print_table

    rows = [
        (
            recipe.name,
            f"{recipe.image_size} px",
            f"{recipe.views}{' dense' if recipe.dense else ''}",
            f"{recipe.giga_macs:.3g}",
            "frozen" if recipe.frozen else "tuned",
        )
        for recipe in RECIPES.values()
    ]
    print_table("Recipes", ("recipe", "image", "views", "GMAC a photo", "backbone"), rows)
    for recipe in RECIPES.values():
        say()
        say_text(f"{recipe.name}: {recipe.about}." + (f" Reaches: {recipe.reaches}." if recipe.reaches else ""))
    say()
    say("Published systems, for lmk make-submission --like NAME:")
    for system in SYSTEMS.values():
        say()
        say_text(f"{system.name}: {system.about}. Recipe: {system.recipe}; fusion: {system.rule}.")
    next_steps("lmk recipes NAME  (all its fields)", "lmk make-submission --recipe NAME")


def show_recipe(word: str, json: bool) -> None:
    """A recipe in full: its text is a recipe file again."""
    from pathlib import Path
    from shlex import quote

    from lmk.cli.console import next_steps
    from lmk.models.recipe import differences
    from lmk.models.recipe_files import find_recipe, is_recipe_file, read_recipe

    recipe, base = read_recipe(Path(word)) if is_recipe_file(word) else (find_recipe(word), None)
    differing = differences(recipe, base) if base is not None else []
    if json:
        values = {"recipe": recipe.key(), "about": recipe.about, "giga_macs": recipe.giga_macs}
        print_json(values | {"base": base.name if base else None, "differs": differing})
        return
    if base is not None:
        say(f"# base: {base.name}; {len(differing)} field{'' if len(differing) == 1 else 's'} differ")
    for line in recipe_lines(recipe, base, differing):
        say(line)
    say(f"# {recipe.giga_macs:.3g} GMAC a photo; the backbone is {'frozen' if recipe.frozen else 'tuned'}")
    next_steps(f"lmk make-submission --recipe {quote(word)}", "lmk recipes --fields  (what each field means)")


def recipe_lines(recipe: Recipe, base: Recipe | None, differing: list[str]) -> list[str]:
    """A line of TOML a field; behind a field that differs, the base's value."""
    from dataclasses import fields

    from lmk.util.schema import toml_text

    lines = []
    for one in fields(recipe):
        line = f"{one.name} = {toml_text(getattr(recipe, one.name))}"
        if base is not None and one.name in differing:
            line += f"  # {base.name}: {toml_text(getattr(base, one.name))}"
        lines.append(line)
    return lines


def show_fields(json: bool) -> None:
    """The fields of a recipe and of its stages, from their classes."""
    from dataclasses import asdict

    from lmk.models.recipe import Recipe, Stage
    from lmk.util.schema import field_help

    parts = {"recipe": field_help(Recipe), "stages": field_help(Stage)}
    if json:
        print_json({part: [asdict(one) for one in known] for part, known in parts.items()})
        return
    say('base = "NAME" takes all fields that the file does not give from a recipe of lmk.')
    for part, known in parts.items():
        say()
        say("Fields of a recipe:" if part == "recipe" else "Fields of each of its [[stages]]:")
        for one in known:
            default = "" if one.default is None else f"; default {one.default}"
            say(f"  {one.name}: {one.takes}{default}")
            for line in textwrap.wrap(one.about, WIDTH, break_on_hyphens=False):
                say(f"      {line}")
