"""What a Parquet file declares: read from its footer and the headers of its pages before a library decodes any of them.

Arrow allocates what these headers ask for, and its C++ ends the process at some damaged footers, where no `except`
helps. This reads the few fields that amounts follow from, and asks that they agree with each other: the pages that
are counted here are those that Arrow will read. The format is https://parquet.apache.org/docs/file-format/, its headers
are in Thrift's compact protocol.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MARK = b"PAR1"
MOST_FOOTER = 1 << 20
"""Bytes of a footer; that of stored predictions has about 2,000, and 1,500 more for each million of queries."""
MOST_DEPTH = 12
"""Structures within structures; the format has 7."""
DATA_PAGES = {0: 5, 3: 8}
"""Field of a page's header that holds the header of its kind, by type of page, for pages that hold values."""
DICTIONARY_PAGE, DICTIONARY_HEADER = 2, 7

Fields = dict[int, Any]
"""A structure: its values by number of the field."""


@dataclass(frozen=True)
class Declared:
    """Amounts that a file declares: rows; values of the column that has most; bytes of all pages once unpacked."""

    rows: int
    values: int
    unpacked: int


def declared_by(data: bytes) -> Declared:
    """Amounts of a whole file.

    Raises:
        ValueError: It is no Parquet file, or its headers contradict each other.
    """
    footer = _footer(data)
    leaves = sum(not element.get(5) for element in _structs(footer, 2))
    rows, unpacked, groups = _count(footer, 3), 0, _structs(footer, 4)
    values: Counter[int] = Counter()
    for group in groups:
        columns = _structs(group, 1)
        if len(columns) != leaves:
            raise ValueError(f"a group of rows has {len(columns)} columns, the file {leaves}")
        for number, column in enumerate(columns):
            counted, size = _pages(data, _struct(column, 3))
            values[number] += counted
            unpacked += size
    if rows != sum(_count(group, 3) for group in groups):
        raise ValueError("its groups of rows have not the rows of the file")
    return Declared(rows, max(values.values(), default=0), unpacked)


def _footer(data: bytes) -> Fields:
    if len(data) < 12 or not data.startswith(MARK) or not data.endswith(MARK):
        raise ValueError("no Parquet file, or one that is cut")
    length = int.from_bytes(data[-8:-4], "little")
    if not 0 < length <= min(MOST_FOOTER, len(data) - 12):
        raise ValueError(f"a footer of {length:,} bytes in a file of {len(data):,}")
    return _Thrift(data, len(data) - 8 - length, len(data) - 8).struct()


def _pages(data: bytes, column: Fields) -> tuple[int, int]:
    """Values, and bytes once unpacked, of the pages of a column within a group of rows, as their own headers say."""
    if not _count(column, 5):
        return 0, 0  # no page is read, and none may be there
    place = _count(column, 9)
    if 0 < column.get(11, 0) < place:  # the dictionary's page comes first
        place = _count(column, 11)
    end, wanted = place + _count(column, 7), _count(column, 5)
    if not 0 < place <= end <= len(data):
        raise ValueError("a column's pages lie outside of the file")
    found = unpacked = 0
    while found < wanted:
        reader = _Thrift(data, place, end)
        page = reader.struct()
        place = reader.place + _count(page, 3)
        if place > end:
            raise ValueError("a page goes beyond its column")
        kind = page.get(1)
        unpacked += _count(page, 2)
        if kind in DATA_PAGES:
            found += _count(_struct(page, DATA_PAGES[kind]), 1)
        elif kind == DICTIONARY_PAGE:
            unpacked += 8 * _count(_struct(page, DICTIONARY_HEADER), 1)  # a text of no bytes takes room, too
    if found != wanted:
        raise ValueError(f"a column's pages hold {found:,} values, its header says {wanted:,}")
    return found, unpacked


def _count(fields: Fields, number: int) -> int:
    value = fields.get(number)
    if type(value) is not int or value < 0:
        raise ValueError(f"field {number} is no count")
    return value


def _struct(fields: Fields, number: int) -> Fields:
    value = fields.get(number)
    if not isinstance(value, dict):
        raise ValueError(f"field {number} is no structure")
    return value


def _structs(fields: Fields, number: int) -> list[Fields]:
    value = fields.get(number)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"field {number} is no list of structures")
    return value


class _Thrift:
    """Reader of values in the compact protocol between two places of some bytes; ValueError for what is none."""

    def __init__(self, data: bytes, place: int, end: int):
        self.data, self.place, self.end = data, place, end

    def struct(self, depth: int = 0) -> Fields:
        """Values by field; no field twice, as readers do not agree on which one holds."""
        found: Fields = {}
        for number, kind in self._heads():
            if number in found:
                raise ValueError(f"field {number} stands twice")
            found[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth + 1)
        return found

    def _heads(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field, up to the structure's end; the caller reads the value in between."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            yield number, head & 15

    def _value(self, kind: int, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise ValueError("structures too deep")
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self.struct(depth)
        raise ValueError(f"a value of type {kind}")  # the format has no maps

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        length = head >> 4 if head >> 4 < 15 else self._varint()
        if length > self.end - self.place:  # each element has a byte at least
            raise ValueError(f"a list of {length:,} values")
        return [self._value(head & 15, depth + 1) for _ in range(length)]

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        start = self.place
        if count > self.end - start:
            raise ValueError("a header is cut")
        self.place += count
        return self.data[start : self.place]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number of more than 64 bits")

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
