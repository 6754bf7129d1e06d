"""Tensors of PyTorch files (`.pt`, `.pth`), read without PyTorch and without running anything that a file says.

Both formats are read: a zip archive of one pickle and a file a storage (PyTorch 1.6 and later), and the older one of
five pickles with the storages after them. A pickle is a program. Here its opcodes are decoded by `pickletools`, which
executes none, and the few that a dictionary of tensors needs are carried out on plain dicts, lists and tuples; a global
name is looked up in a table of this file, never imported. All else is an error.

A file is mapped into memory and its sizes are checked against its length before anything is allocated, so a false
header costs nothing.
"""

from __future__ import annotations

import math
import mmap
import pickletools
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from lmk.util.errors import LmkError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The number in the first pickle of the older format."""
LEGACY_PROTOCOL = 1001

MOST_OPCODES = 1_000_000
"""Opcodes of one pickle, at the most; a large network has some ten thousand."""
MOST_DEPTH = 32
"""Containers inside one another, at the most."""
MOST_PARTS = 100_000
"""Entries of all containers, at the most: one container inside itself, twice, doubles with every level."""
MOST_VIEWS = 4
"""Elements of all tensors together, as a multiple of those stored, at the most: tensors may share storages."""

STORAGES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype("<u2"),  # widened to float32 at the end: numpy has no such type
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
"""Element types by PyTorch's names of storages, little-endian."""

ORDERED_DICT = "collections OrderedDict"
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
REBUILD_PARAMETER = "torch._utils _rebuild_parameter"


@dataclass(frozen=True)
class _Global:
    """A name that a pickle mentions: one of those above, or a storage's type."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """A run of elements in the file: its element type's name, its key, and how many elements it has."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A strided view of a storage; offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """The place on the stack where a tuple, list or dict begins."""


class _NotRead(Exception):
    """Content of a file that is damaged or beyond this reader."""


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch file by name, those of dictionaries in dictionaries with the names joined by dots.

    What is stored beside them (numbers, strings, None) is left out. bfloat16 comes as float32.

    Raises:
        LmkError: The file cannot be opened, is damaged, or holds more than dictionaries and lists of dense tensors.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _read_zip(path, content) if content[:4] == b"PK\x03\x04" else _read_legacy(content)
    except _NotRead as error:
        raise LmkError(
            f"{path} is not read: {_line(error)}. lmk reads PyTorch files that hold dictionaries of dense tensors "
            "alone; save the network's `state_dict()`."
        ) from error
    except DAMAGED as error:
        raise LmkError(f"{path} cannot be read as a PyTorch file ({_line(error)}). Fetch or copy it again.") from error
    if not found:
        raise LmkError(f"{path} holds no tensors. Give a file of a network's `state_dict()`.")
    return found


DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, struct.error)
"""Errors that `mmap`, `zipfile` and `pickletools` raise on files that are empty, cut off or not what they say;
zipfile's `NotImplementedError` is a `RuntimeError`."""


def _line(error: Exception) -> str:
    """The error's text on one line of moderate length; a file may give any name to its parts."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def _read_zip(path: Path, content: mmap.mmap) -> dict[str, np.ndarray]:
    """The tensors of the zip format: `NAME/data.pkl` and a member `NAME/data/KEY` a storage."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _NotRead(f"the archive has {len(pickles)} members named data.pkl, not one")
        folder = pickles[0].removesuffix("data.pkl")

        def member(name: str) -> bytes:
            if name not in members:
                raise _NotRead(f"the archive lacks '{name}'")
            # PyTorch compresses nothing; what is stored plainly cannot be larger than the file.
            if members[name].compress_type != zipfile.ZIP_STORED or members[name].file_size > len(content):
                raise _NotRead(f"'{name}' is compressed")
            if members[name].flag_bits & 1:
                raise _NotRead(f"'{name}' is encrypted")
            return archive.read(name)

        if f"{folder}byteorder" in members and member(f"{folder}byteorder") != b"little":
            raise _NotRead("its numbers are big-endian")
        pickled = _Pickle(member(pickles[0]))
        tensors = _checked(pickled)
        storages = {
            key: _elements(memoryview(member(f"{folder}data/{key}")), storage)
            for key, storage in pickled.storages.items()
        }
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _read_legacy(content: mmap.mmap) -> dict[str, np.ndarray]:
    """The tensors of the older format.

    Five pickles (magic number, protocol, facts of the system, the object, keys of storages), then for each key an
    8-byte number of elements and the elements.
    """
    magic, protocol, system = (_Pickle(content).value for _ in range(3))
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
        raise _NotRead("it does not begin as PyTorch's files do")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _NotRead("its numbers are big-endian")
    pickled = _Pickle(content)
    tensors = _checked(pickled)
    keys = _Pickle(content).value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _NotRead("its list of storages is damaged")
    arrays: dict[str, np.ndarray] = {}
    with memoryview(content) as whole:
        for key in keys:
            storage = pickled.storages.get(key)
            start = content.tell() + 8
            if storage is None or start > len(content):
                raise _NotRead(f"storage '{key}' is cut off or unknown")
            (count,) = struct.unpack("<q", content.read(8))
            size = count * STORAGES[storage.kind].itemsize
            if count != storage.count or start + size > len(content):
                raise _NotRead(f"storage '{key}' is cut off")
            arrays[key] = _elements(whole[start : start + size], storage).copy()
            content.seek(start + size)
    return {name: _array(tensor, arrays) for name, tensor in tensors.items()}


def _elements(data: memoryview, storage: _Storage) -> np.ndarray:
    """A storage's elements (n,)."""
    dtype = STORAGES[storage.kind]
    if len(data) != storage.count * dtype.itemsize:
        raise _NotRead(f"storage '{storage.key}' has {len(data)} bytes, not {storage.count * dtype.itemsize}")
    return np.frombuffer(data, dtype)


def _array(tensor: _Tensor, storages: Mapping[str, np.ndarray]) -> np.ndarray:
    """The tensor as an array of its own."""
    elements = storages.get(tensor.storage.key)
    if elements is None:
        raise _NotRead(f"storage '{tensor.storage.key}' is absent")
    steps = [stride * elements.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, steps, writeable=False)
    if tensor.storage.kind == "BFloat16Storage":  # the upper half of a float32
        return (view.astype("<u4") << 16).view("<f4")
    return np.array(view, order="C")


def _checked(pickled: _Pickle) -> dict[str, _Tensor]:
    """The tensors of a pickle's value by name, which together are not much larger than what is stored."""
    tensors = dict(_tensors(pickled.value))
    elements = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if elements > MOST_VIEWS * sum(storage.count for storage in pickled.storages.values()):
        raise _NotRead(f"its tensors are more than {MOST_VIEWS} times as large as what it stores")
    return tensors


def _tensors(value: object) -> Iterator[tuple[str, _Tensor]]:
    """The tensors in a value with their names, in its order; a list's are numbered."""
    waiting: list[tuple[str, int, object]] = [("", 0, value)]
    parts = 0
    while waiting:
        name, depth, part = waiting.pop()
        parts += 1
        if depth > MOST_DEPTH or parts > MOST_PARTS:
            raise _NotRead("its dictionaries hold too many others")
        if isinstance(part, _Tensor):
            yield name, part
        elif isinstance(part, (dict, list, tuple)):
            inner = part.items() if isinstance(part, dict) else enumerate(part)
            entries = [(f"{name}.{key}" if name else str(key), depth + 1, entry) for key, entry in inner]
            waiting += reversed(entries)


class _Pickle:
    """The value of a pickle, and the storages that it mentions by key.

    source: The pickle's bytes, or a file that stands at its beginning and is left standing behind its end.
    """

    def __init__(self, source: bytes | mmap.mmap):
        self.storages: dict[str, _Storage] = {}
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.value = self._run(source)

    def _run(self, source: bytes | mmap.mmap) -> object:
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", source))):
                if count > MOST_OPCODES:
                    raise _NotRead(f"its pickle has more than {MOST_OPCODES} opcodes")
                if opcode.name == "STOP":
                    return self.stack.pop()
                self._carry_out(opcode.name, argument)
        except (IndexError, KeyError, TypeError) as error:  # an empty stack, no such memo, no such key
            raise _NotRead(f"its pickle is damaged ({type(error).__name__})") from error
        raise _NotRead("its pickle has no end")

    def _carry_out(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in LITERALS:
            stack.append(argument)
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_Mark)
        elif name in TUPLES:
            self._push_tuple(TUPLES[name])
        elif name == "TUPLE":
            stack.append(tuple(self._from_mark()))
        elif name in ("APPEND", "APPENDS"):
            self._append([stack.pop()] if name == "APPEND" else self._from_mark())
        elif name in ("SETITEM", "SETITEMS"):
            self._set_items(stack[-2:] if name == "SETITEM" else self._from_mark(), pop=name == "SETITEM")
        elif name == "GLOBAL":
            stack.append(_global(argument))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            if not isinstance(attribute, str) or not isinstance(module, str):
                raise _NotRead("its pickle is damaged (a name)")
            stack.append(_global(f"{module} {attribute}"))
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, arguments))
        elif name == "BUILD":  # attributes of an ordered dictionary, such as versions of modules: left out
            stack.pop()
            if not isinstance(stack[-1], dict):
                raise _NotRead("it sets the state of an object")
        else:
            raise _NotRead(f"its pickle has the opcode {name}")

    def _push_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise _NotRead("its pickle is damaged (a tuple)")
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def _from_mark(self) -> list[Any]:
        """The values above the last mark; both leave the stack."""
        above: list[Any] = []
        while (value := self.stack.pop()) is not _Mark:
            above.append(value)
        return above[::-1]

    def _append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _NotRead("its pickle is damaged (a list)")
        self.stack[-1].extend(values)

    def _set_items(self, values: list[Any], pop: bool) -> None:
        if pop:
            del self.stack[-2:]
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise _NotRead("its pickle is damaged (a dictionary)")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, (str, int)):
                raise _NotRead("a key of a dictionary is neither text nor a number")
            target[key] = value

    def _storage(self, identity: Any) -> _Storage:
        """The storage of a persistent id: ('storage', type, key, device, elements), in the older format with a view."""
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            raise _NotRead("it refers to something other than a storage")
        _, kind, key, _, count, *view = identity
        if not isinstance(kind, _Global) or kind.name not in STORAGES or not isinstance(key, str):
            raise _NotRead("it refers to a storage of an unknown type")
        if not _is_size(count) or any(part is not None for part in view):
            raise _NotRead(f"storage '{key}' has no size, or is a part of another")
        storage = _Storage(kind.name, key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise _NotRead(f"storage '{key}' is described in two ways")
        return storage


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _global(name: str) -> _Global:
    """A global name of the form `module attribute`, if it is one of those that are known."""
    module, _, attribute = name.partition(" ")
    if module == "torch" and attribute in STORAGES:
        return _Global(attribute)
    if name in (ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER):
        return _Global(name)
    raise _NotRead(f"it names '{name.replace(' ', '.')}', which is code")


def _call(function: Any, arguments: Any) -> object:
    """The result of one of the three known functions."""
    if not isinstance(function, _Global) or not isinstance(arguments, tuple):
        raise _NotRead("its pickle is damaged (a call)")
    if function.name == ORDERED_DICT and arguments == ():
        return {}
    if function.name == REBUILD_TENSOR and len(arguments) in (6, 7):
        return _tensor(*arguments[:4])
    if function.name == REBUILD_PARAMETER and len(arguments) == 3 and isinstance(arguments[0], _Tensor):
        return arguments[0]
    raise _NotRead(f"it calls '{function.name.replace(' ', '.')}' in an unknown way")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    """A view that lies inside its storage and is no larger than it: a stride of 0 could ask for any size."""
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise _NotRead("a tensor is damaged")
    if len(shape) != len(strides) or len(shape) > 32 or not all(map(_is_size, (offset, *shape, *strides))):
        raise _NotRead("a tensor has no proper shape")
    elements, last = 1, offset
    for length, stride in zip(shape, strides, strict=True):
        elements *= length
        last += (length - 1) * stride
    if elements > storage.count or (elements and last >= storage.count) or offset > storage.count:
        raise _NotRead(f"a tensor reaches beyond its storage '{storage.key}'")
    return _Tensor(storage, offset, shape, strides)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
