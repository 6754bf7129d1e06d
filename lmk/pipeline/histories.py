"""Histories of training beside trained networks: read with checks, and set aside with what they belong to."""

from __future__ import annotations

import json
import logging
import os
import struct
from pathlib import Path

import numpy as np

from lmk.util.checked import discard, is_sealed
from lmk.util.errors import LmkError, is_of_the_machine, quoted
from lmk.util.files import NPZ_DAMAGE

log = logging.getLogger(__name__)

_END = struct.Struct("<4s6xH10x")
"""The end of a zip file without a comment: its mark, and the number of members."""
_MARK = b"PK\5\6"

Record = dict[str, float]
"""Figures of one epoch by name."""


def read_history(path: Path) -> list[Record]:
    """The epochs in a file, the first one first.

    Raises:
        LmkError: The file is absent, damaged, or holds what is no history.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(found, list) and all(map(_is_record, found))):
            raise ValueError("no list of epochs with numbers")
    except (OSError, ValueError, RecursionError) as error:
        raise LmkError(f"{path} is no history of training ({quoted(str(error))}).") from error
    return found


def is_history(path: Path) -> bool:
    """Whether the file holds a history."""
    try:
        read_history(path)
    except LmkError:
        return False
    return True


def discard_damaged(weights: Path, history: Path) -> None:
    """Remove trained weights whose history is damaged or gone, and a damaged checkpoint, and name them.

    Later networks train as long as the earlier histories say, so weights without one are as good as none.
    """
    if is_sealed(weights) and not is_history(history):
        log.warning("%s is damaged or gone; its network is trained again, from a checkpoint if there is one.", history)
        discard(weights)
        history.unlink(missing_ok=True)
    checkpoint = weights.with_name(weights.name.replace(".weights.h5", ".checkpoint.npz"))
    if checkpoint.exists() and not _is_whole(checkpoint):
        log.warning("%s is damaged; its network is trained from the beginning.", checkpoint)
        checkpoint.unlink()


def _is_record(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(number, (int, float)) for number in value.values())


def _is_whole(checkpoint: Path) -> bool:
    """Whether every array of an NPZ file can be read; the format has checksums of each, and their number."""
    try:
        with checkpoint.open("rb") as file:
            file.seek(-_END.size, os.SEEK_END)
            mark, count = _END.unpack(file.read())
        with np.load(checkpoint, allow_pickle=False) as arrays:
            for name in arrays.files:
                arrays[name]
            json.loads(str(arrays["said"]))
            return mark == _MARK and count == len(set(arrays.files))  # a wrong length or name in the list hides some
    except NPZ_DAMAGE as error:
        if is_of_the_machine(error):
            raise
        return False
