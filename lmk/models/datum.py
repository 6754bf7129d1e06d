"""Arrays in the `.datum` files that published DELF models bring their PCA in.

A file is one protocol buffer, of two fields: 1, the shape, whose field 1 holds the dimensions as packed varints; 2, the
values, whose field 1 holds them as packed 32-bit floats, row by row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lmk.util.errors import LmkError, reason_of

LENGTH = 2
"""The kind of a field that is a run of bytes: the only one that occurs."""


def read_datum(path: Path) -> np.ndarray:
    """The array, float32.

    Raises:
        LmkError: The file is absent or holds no such array.
    """
    try:
        fields = _fields(path.read_bytes())
        shape = _varints(_fields(fields[1])[1])
        values = np.frombuffer(_fields(fields[2])[1], "<f4")
        return values.reshape(shape).copy()
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise LmkError(
            f"{path} cannot be read as an array of DELF's PCA ({reason_of(error)}). Unpack the archive again."
        ) from error


def _fields(data: bytes) -> dict[int, bytes]:
    """Fields of bytes by number."""
    found, place = {}, 0
    while place < len(data):
        tag, place = _varint(data, place)
        if tag & 7 != LENGTH:
            raise ValueError(f"field {tag >> 3} is of kind {tag & 7}")
        length, place = _varint(data, place)
        if place + length > len(data):
            raise ValueError(f"field {tag >> 3} is cut short")
        found[tag >> 3] = data[place : place + length]
        place += length
    return found


def _varints(data: bytes) -> list[int]:
    found, place = [], 0
    while place < len(data):
        value, place = _varint(data, place)
        found.append(value)
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first, and the place after it."""
    value = shift = 0
    while data[place] & 0x80:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | data[place] << shift, place + 1
