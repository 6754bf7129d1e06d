"""Completion in the shell: every set of names that is known, and files of the kind that is asked for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from lmk.kaggle.kernels import Kernel


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


def fusion_names(incomplete: str) -> list[tuple[str, str]]:
    """Fusion rules that begin so, with what each does."""
    from lmk.ensemble.fusion_rules import FUSIONS

    return [(name, rule.about) for name, rule in FUSIONS.items() if name.startswith(incomplete)]


def metric_names(incomplete: str) -> list[str]:
    """Metrics that begin so."""
    from lmk.metrics.registry import FAMILIES, METRICS

    return [name for name in (*METRICS, *(f"{family}@5" for family in FAMILIES)) if name.startswith(incomplete)]


def retrieval_names(incomplete: str) -> list[tuple[str, str]]:
    """Ways to rank landmarks by nearest photos that begin so, with a line on each."""
    from lmk.retrieval.scores import SCORES

    return [(name, about) for name, about in SCORES.items() if name.startswith(incomplete)]


def like_names(incomplete: str) -> list[tuple[str, str]]:
    """Published systems that begin so, with a line on each."""
    from lmk.pipeline.systems import SYSTEMS

    return [(name, system.about) for name, system in SYSTEMS.items() if name.startswith(incomplete)]


def local_feature_names(incomplete: str) -> list[str]:
    """Kinds of local features that begin so, the last of several with commas between."""
    from lmk.local.kinds import choices

    before, comma, begun = incomplete.rpartition(",")
    return [before + comma + name for name in choices() if name.startswith(begun)]


def command_names(context: typer.Context, incomplete: str) -> list[str]:
    """Commands below those that were named, for `lmk help`."""
    found: Any = context.find_root().command
    for word in context.params.get("command") or ():
        found = (getattr(found, "commands", None) or {}).get(word)
    return [name for name in (getattr(found, "commands", None) or {}) if name.startswith(incomplete)]


def all_kernels() -> list[Kernel]:
    """The kernels in kernels/ (LMK_KERNELS)."""
    from lmk.kaggle.kernels import Kernel, kernels_root
    from lmk.kaggle.metadata import FILE_NAME

    return [Kernel(path.parent) for path in sorted(kernels_root().glob(f"*/{FILE_NAME}"))]


def kernel_names(incomplete: str) -> list[str]:
    """Kernels that begin so, for the shell."""
    return [kernel.name for kernel in all_kernels() if kernel.name.startswith(incomplete)]


def weights_names(incomplete: str) -> list[str]:
    """Values of `--weights` besides files, and folders that begin so."""
    folders = [f"{path}/" for path in sorted(Path().glob(f"{incomplete}*")) if path.is_dir()] if incomplete else []
    return [name for name in ("imagenet", "none", "tiny") if name.startswith(incomplete)] + folders


def gpu_names(incomplete: str) -> list[str]:
    """GPUs whose rates are known that begin so."""
    from lmk.pipeline.rates import GPUS

    return [name for name in GPUS if name.startswith(incomplete)]


def delf_names(incomplete: str) -> list[str]:
    """Backbones that DELF can be trained on that begin so."""
    from lmk.models.delf.recipe import CUTS

    return [name for name in CUTS if name.startswith(incomplete)]


def blend_rule_names(incomplete: str) -> list[tuple[str, str]]:
    """Rules of `lmk blend` that begin so, with what each does."""
    from lmk.ensemble.blend_rules import BLENDS

    return [(name, rule.about) for name, rule in BLENDS.items() if name.startswith(incomplete)]


def submissions_or_runs(context: typer.Context, incomplete: str) -> list[str]:
    """CSV files and runs that begin so."""
    parent = Path(incomplete).parent if "/" in incomplete else Path()
    files = (str(path) for path in sorted(parent.glob("*.csv")))
    return [*run_names(context, incomplete), *(name for name in files if name.startswith(incomplete))]


def kernel_kinds(incomplete: str) -> list[str]:
    """Kinds of kernels that begin so."""
    return [name for name in ("train", "delf", "submission") if name.startswith(incomplete)]
