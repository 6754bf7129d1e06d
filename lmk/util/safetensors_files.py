"""Tensors of safetensors files, the format in which Hugging Face publishes weights; no code is in such a file.

Format (https://huggingface.co/docs/safetensors): the length of the header as 8 bytes, little-endian; the header, a JSON
object of each tensor's dtype, shape and place; the numbers, row by row. Places are checked against the file's length
before anything is allocated, and a tensor's numbers are read from the file only where they are asked for, so that an
image tower costs nothing of the text tower beside it.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lmk.util.errors import LmkError, is_of_the_machine, quoted

DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # widened to float32 where it is read: numpy has no such type
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""Element types by the format's names."""
MOST_HEADER = 100_000_000
"""Bytes of a header at the most, as the format has it."""
MOST_AXES = 8
PREFIX = 8
"""Bytes of the header's length."""


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a file by name, each read when it is asked for; bfloat16 comes as float32.

    Numbers may lie in the mapped file, so arrays are not to be written to.
    """

    def __init__(self, content: mmap.mmap, places: Mapping[str, tuple[str, tuple[int, ...], int]]):
        self._content, self._places = content, places

    def __getitem__(self, name: str) -> np.ndarray:
        kind, shape, start = self._places[name]
        values = np.frombuffer(self._content, DTYPES[kind], math.prod(shape), start).reshape(shape)
        return (values.astype("<u4") << 16).view("<f4") if kind == "BF16" else values

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def read_safetensors(path: Path) -> Tensors:
    """The tensors of a safetensors file by name.

    Raises:
        LmkError: The file cannot be opened, is damaged, or has an element type that is not in `DTYPES`.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return Tensors(content, dict(_places(content)))
    except (OSError, ValueError, RecursionError, struct.error) as error:
        if is_of_the_machine(error):
            raise
        reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        raise LmkError(f"{path} cannot be read as a safetensors file ({reason}). Fetch or copy it again.") from error


def _places(content: mmap.mmap) -> Iterator[tuple[str, tuple[str, tuple[int, ...], int]]]:
    """Name, element type, shape and first byte in the file of each tensor."""
    (length,) = struct.unpack("<Q", content[:PREFIX])
    first = PREFIX + length
    if length > MOST_HEADER or first > len(content):
        raise ValueError("its header is cut off")
    header = json.loads(content[PREFIX:first])
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, _place(name, entry, first, len(content))


def _place(name: str, entry: object, first: int, end: int) -> tuple[str, tuple[int, ...], int]:
    """Element type, shape and first byte of a tensor, whose places count from the byte `first` on."""
    told = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = told.get("dtype"), _counts(told.get("shape")), _counts(told.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2:
        raise ValueError(f"the entry of {quoted(name)} is damaged")
    if not isinstance(kind, str) or kind not in DTYPES:
        raise ValueError(f"{quoted(name)} is of the type {quoted(str(kind))}, not of {', '.join(DTYPES)}")
    start, stop = (first + offset for offset in offsets)
    if stop - start != math.prod(shape) * DTYPES[kind].itemsize or stop > end:
        raise ValueError(f"{quoted(name)} is cut off or has another size than its shape says")
    return kind, shape, start


def _counts(value: object) -> tuple[int, ...] | None:
    """A list of a few whole numbers from zero on; None if the value is none."""
    if not isinstance(value, list) or len(value) > MOST_AXES or not all(type(one) is int and one >= 0 for one in value):
        return None
    return tuple(value)
