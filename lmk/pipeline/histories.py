"""Histories of training beside trained networks: sealed, read with checks, and set aside with what they belong to."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from lmk.util.checked import DamagedFile, discard, is_sealed, is_whole, read_regular, read_sealed, seal_of, sealed_path
from lmk.util.errors import LmkError, quoted

log = logging.getLogger(__name__)

Record = dict[str, float]
"""Figures of one epoch by name."""


def write_history(path: Path, records: list[Record]) -> None:
    """Write the epochs, the first one first, and seal the file."""
    with sealed_path(path) as draft:
        draft.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_history(path: Path) -> list[Record]:
    """The epochs in a file, the first one first. A file without a seal is one of an earlier version.

    Raises:
        LmkError: The file is absent, damaged, or holds what is no history.
        OSError: The machine failed, which says nothing about the file.
    """
    try:
        content = read_sealed(path) if seal_of(path).exists() else read_regular(path)
        found = json.loads(content.decode("utf-8"))
        if not (isinstance(found, list) and all(map(_is_record, found))):
            raise ValueError("no list of epochs with numbers")
    except DamagedFile as damage:
        raise LmkError(f"{path} is no history of training ({damage.reason}).") from damage
    except (ValueError, RecursionError) as error:
        raise LmkError(f"{path} is no history of training ({quoted(str(error))}).") from error
    return found


def is_history(path: Path) -> bool:
    """Whether the file holds a history."""
    try:
        read_history(path)
    except LmkError:
        return False
    return True


def history_of_whole(weights: Path, history: Path) -> list[Record] | None:
    """The history of a trained network; None where network or history is not whole, which is named and removed."""
    discard_damaged(weights, history)
    return read_history(history) if is_whole(weights) else None


def discard_damaged(weights: Path, history: Path) -> None:
    """Remove trained weights whose history is damaged or gone, and name it.

    Later networks train as long as the earlier histories say, so weights without one are as good as none.
    """
    if is_sealed(weights) and not is_history(history):
        log.warning("%s is damaged or gone; its network is trained again, from a checkpoint if there is one.", history)
        discard(weights)
        discard(history)


def _is_record(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(number, (int, float)) for number in value.values())
