"""`lmk recipes`: what can be trained, and the published systems that `--like` follows."""

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.output import say


@app.command()
def recipes(json: JsonOption = False) -> None:
    """List the recipes (network, size, views, cost of predicting a photo, what they reach) and published systems."""
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
        say(f"{recipe.name}: {recipe.about}." + (f" Reaches: {recipe.reaches}." if recipe.reaches else ""))
    say()
    systems = [(system.name, system.recipe, system.rule, system.about) for system in SYSTEMS.values()]
    print_table(
        "Published systems: lmk make-submission --like NAME", ("system", "recipe", "fusion", "decision"), systems
    )
