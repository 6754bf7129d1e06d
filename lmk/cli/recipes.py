"""`lmk recipes`: what can be trained."""

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.output import say


@app.command()
def recipes(json: JsonOption = False) -> None:
    """List the recipes: network, size, views, cost of predicting a photo, and what they reach."""
    from lmk.models.recipes import RECIPES

    if json:
        print_json({"recipes": [recipe.key() | {"giga_macs": recipe.giga_macs} for recipe in RECIPES.values()]})
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
