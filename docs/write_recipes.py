"""Write the tables of fields in docs/recipes.md from the classes of recipes: `python docs/write_recipes.py`."""

from pathlib import Path

from lmk.models.recipe import Recipe, Stage
from lmk.util.schema import field_help

PAGE = Path(__file__).parent / "recipes.md"
BEGIN, END = "<!-- fields: written by docs/write_recipes.py -->\n", "<!-- end of fields -->\n"


def table(cls: type) -> str:
    """A table of a class' fields in Markdown."""
    lines = ["| field | takes | default | meaning |", "|---|---|---|---|"]
    for one in field_help(cls):
        default = "" if one.default is None else f"`{one.default}`"
        lines.append(f"| `{one.name}` | {one.takes} | {default} | {one.about} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with its tables of fields written anew."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    stages = "\nEach stage, a table `[[stages]]`:\n\n"
    return f"{before}{BEGIN}\n{table(Recipe)}{stages}{table(Stage)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
