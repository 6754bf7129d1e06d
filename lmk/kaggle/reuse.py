"""The command that takes at home what a kernel computed: the kernel's own, with the paths of this machine."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from lmk.kaggle.kernels import DEFAULT_ROOT
from lmk.kaggle.pull import Manifest
from lmk.kaggle.weights import Published

WEIGHTS_FOLDER = "FOLDER-OF-WEIGHTS"
"""Stands in the command where this machine does not know the files of a dataset."""
OF_THE_KERNEL = ("--workspace", "-w", "--out")
"""Options of the kernel's own folders, which mean nothing here."""


def reuse_command(
    manifest: Manifest, known: Sequence[Published], workspace: Path | None = None, kernels: Path = DEFAULT_ROOT
) -> str | None:
    """The whole command, ready for a shell; None for a kernel that left no commands.

    Args:
        manifest: What the kernel left.
        known: Datasets that were sent from here, with the folders of their files.
        workspace: Where the files were pulled to, if not the default.
        kernels: Folder of kernels, whose own recipe files the command names.
    """
    ran = [command for command in manifest.commands if command]
    chosen = next((command for command in ran if command[0] == "make-submission"), None)
    if chosen is not None:
        words, rest = ["lmk", "make-submission"], chosen[1:]
    elif ran and ran[0][0] == "delf":
        words, rest = ["lmk", "make-submission", "--local-features", "delf"], ran[0][2:]
    elif ran:
        words, rest = ["lmk", ran[0][0]], ran[0][1:]
    else:
        return None
    place = 0
    while place < len(rest):
        word, following = rest[place], rest[place + 1] if place + 1 < len(rest) else ""
        place += 1
        if word in OF_THE_KERNEL:
            place += 1
        elif following.startswith("input:"):
            words += [word, _here(word, following.removeprefix("input:"), manifest, known)]
            place += 1
        else:
            words.append(recipe_here(word, kernels / manifest.kernel))
    if workspace is not None:
        words += ["--workspace", str(workspace)]
    return shlex.join(words)


def recipe_here(word: str, kernel: Path) -> str:
    """A recipe as this machine names it: of `recipe:FILE` the file in the kernel's folder; other words as they are."""
    return str(kernel / word.removeprefix("recipe:")) if word.startswith("recipe:") else word


def _here(option: str, place: str, manifest: Manifest, known: Sequence[Published]) -> str:
    """Path on this machine for a path below /kaggle/input."""
    if option in ("--competition", "-c"):
        return manifest.competition
    slugs = place.split("/")
    found = next((entry for entry in known if entry.ref.split("/")[1] in slugs), None)
    return found.folder if found else WEIGHTS_FOLDER
