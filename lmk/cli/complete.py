"""What the shell completes: names of recipes, competitions and runs."""

from pathlib import Path

import typer


def recipe_names(incomplete: str) -> list[tuple[str, str]]:
    """Recipes that begin so, with what is told of each."""
    from lmk.models.recipes import RECIPES

    return [(name, recipe.about) for name, recipe in RECIPES.items() if name.startswith(incomplete)]


def photos_or_recipes(incomplete: str) -> list[str]:
    """Photos and folders that begin so, and recipes."""
    from lmk.data.photos import SUFFIXES

    start = Path(incomplete)
    folder = start if incomplete.endswith("/") else start.parent
    entries = sorted(folder.glob("*")) if folder.is_dir() else []
    files = [str(path) for path in entries if path.suffix.lower() in SUFFIXES]
    folders = [f"{path}/" for path in entries if path.is_dir() and not path.name.startswith(".")]
    names = [name for name, _ in recipe_names(incomplete)]
    return [name for name in (*files, *folders) if name.startswith(incomplete)] + names


def competition_names(context: typer.Context, incomplete: str) -> list[str]:
    """The demo, the editions, what was fetched, and folders."""
    from lmk.data.competitions import DEMO, SLUGS

    fetched = (path.parent.name for path in _workspace(context).glob("competitions/*/train.csv"))
    parent = Path(incomplete).parent if "/" in incomplete else Path()
    folders = (str(path.parent) for path in parent.glob("*/train.csv"))
    return [name for name in dict.fromkeys([DEMO, *SLUGS, *fetched, *folders]) if name.startswith(incomplete)]


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """Runs of the workspace, the newest first."""
    records = sorted(_workspace(context).glob("runs/*/run.json"), key=lambda path: -path.stat().st_mtime)
    return [path.parent.name for path in records if path.parent.name.startswith(incomplete)]


def _workspace(context: typer.Context) -> Path:
    return Path(context.params.get("workspace") or "workspace")


def fusion_names(incomplete: str) -> list[str]:
    """Fusion rules that begin so."""
    from lmk.ensemble.rules import RULES

    return [name for name in RULES if name.startswith(incomplete)]


def local_feature_names(incomplete: str) -> list[str]:
    """Kinds of local features that begin so."""
    from lmk.local.kinds import KINDS

    return [name for name in KINDS if name.startswith(incomplete)]


def command_names(context: typer.Context, incomplete: str) -> list[str]:
    """Commands below those that were named, for `lmk help`."""
    found = context.find_root().command
    for word in context.params.get("command") or ():
        found = (getattr(found, "commands", None) or {}).get(word)
    return [name for name in (getattr(found, "commands", None) or {}) if name.startswith(incomplete)]
