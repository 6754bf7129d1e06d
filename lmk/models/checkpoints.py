"""Checkpoints of training: one npz file each, sealed in itself, as each takes the place of the one before."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lmk.util.checked import is_whole_inside, seal_inside
from lmk.util.errors import is_of_the_machine
from lmk.util.files import NPZ_DAMAGE, atomic_path

log = logging.getLogger(__name__)


def write_checkpoint(
    path: Path, facts: Mapping[str, object], model: Iterable[np.ndarray], best: Iterable[np.ndarray]
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file, an npz.
        facts: Where training stands, as JSON values.
        model: Values of all variables of what learns.
        best: Weights that were best on dev; empty where there are none yet.
    """
    arrays = {f"model{place:04d}": values for place, values in enumerate(model)}
    arrays |= {f"best{place:04d}": values for place, values in enumerate(best)}
    with atomic_path(path) as draft:
        with draft.open("wb") as file:
            np.savez(file, allow_pickle=False, said=np.array(json.dumps(facts)), **arrays)
        seal_inside(draft)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """What `write_checkpoint` wrote: the facts, and lists of arrays `model` and `best_weights`.

    Returns:
        None where no checkpoint is there; a damaged one is named and removed, so that training begins anew.

    Raises:
        OSError, MemoryError: The machine failed, which says nothing about the file.
    """
    if not path.exists():
        return None
    try:
        if is_whole_inside(path):
            return _read(path)
    except NPZ_DAMAGE as error:
        if is_of_the_machine(error):
            raise
    log.warning("%s is damaged; its network is trained from the beginning.", path)
    path.unlink()
    return None


def _read(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        found: dict[str, Any] = json.loads(str(file["said"]))
        names = sorted(file.files)
        found["model"] = [file[name] for name in names if name.startswith("model")]
        found["best_weights"] = [file[name] for name in names if name.startswith("best")]
    return found
