"""What the shell completes: names of recipes, competitions and runs."""

from contextlib import suppress
from pathlib import Path

import typer


def recipe_names(incomplete: str) -> list[tuple[str, str]]:
    """Recipes that begin so, each with its line for people; recipe files (*.toml), and folders on the way to some."""
    from lmk.models.recipes import RECIPES
    from lmk.util.settings import NAME

    named = [(name, recipe.about) for name, recipe in RECIPES.items() if name.startswith(incomplete)]
    folder = incomplete.rpartition("/")[0] + "/" if "/" in incomplete else ""
    files: list[tuple[str, str]] = []
    with suppress(OSError):
        for path in sorted(Path(folder or ".").expanduser().iterdir()):
            word = f"{folder}{path.name}" + "/" * path.is_dir()
            is_file = path.suffix == ".toml" and path.name not in (NAME, "pyproject.toml")
            # Folders only where a path is being typed: a list of recipes is no place for them.
            if word.startswith(incomplete) and (
                is_file or (folder and path.is_dir() and not path.name.startswith("."))
            ):
                files.append((word, "recipe file" if is_file else "folder"))
    return named + files


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


def metric_names(incomplete: str) -> list[str]:
    """Metrics that begin so."""
    from lmk.metrics.registry import FAMILIES, METRICS

    return [name for name in (*METRICS, *(f"{family}@5" for family in FAMILIES)) if name.startswith(incomplete)]


def retrieval_names(incomplete: str) -> list[tuple[str, str]]:
    """Ways to rank landmarks by nearest photos that begin so, with what is told of each."""
    from lmk.retrieval.scores import SCORES

    return [(name, about) for name, about in SCORES.items() if name.startswith(incomplete)]


def like_names(incomplete: str) -> list[tuple[str, str]]:
    """Published systems that begin so, with what is told of each."""
    from lmk.pipeline.systems import SYSTEMS

    return [(name, system.about) for name, system in SYSTEMS.items() if name.startswith(incomplete)]


def local_feature_names(incomplete: str) -> list[str]:
    """Kinds of local features that begin so."""
    from lmk.local.kinds import KINDS

    return [name for name in KINDS if name.startswith(incomplete)]
