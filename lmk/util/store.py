"""ArrayStore: arrays by image id, keyed by all they depend on, in whole shards, resumable.

A shard is an npz file without objects; its members carry CRC-32 sums, so a shard that was cut
short or changed is found when it is read, named, removed and computed anew.
"""

import errno
import itertools
import json
import logging
import os
import struct
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lmk.util.arrays import positions
from lmk.util.errors import LmkError, quoted
from lmk.util.files import NPZ_DAMAGE, atomic_path, digest_of, remove_drafts, write_json
from lmk.util.progress import Progress, piece, silent

Arrays = dict[str, np.ndarray]
log = logging.getLogger(__name__)

IN_MEMORY = 2 << 30
"""Bytes of an array from which on it lies in a file that is mapped to memory."""

_numbers = itertools.count()
"""Suffix of the files of large arrays."""


def make_room(shape: Sequence[int], dtype: np.dtype | type, folder: Path) -> np.ndarray:
    """An array to fill: in memory, or if it is large in a file in `folder`, which goes when the array does.

    The file is named as drafts are, so that what a killed process left is removed like those, and processes that are
    handed the array map the same file.

    Raises:
        OSError: The disk is full.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    remove_drafts(folder)
    path = folder / f".{os.getpid()}.tmp.{next(_numbers)}.rows"
    with path.open("w+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a hole that cannot be filled later would end the process
            room = np.memmap(file, dtype, "r+", shape=tuple(shape))
        except OSError:
            path.unlink()
            raise
    weakref.finalize(room.base, path.unlink, missing_ok=True)  # views of the array keep the map, not the array
    return room


_END = struct.Struct("<4s6xH10x")
"""The end of a zip file without a comment: its mark, and the number of members."""


class UnfitShard(LmkError, ValueError):
    """Shards that are whole, but not of one store."""


_ANEW = "Remove the folder, and it is computed anew."


class DamagedShard(LmkError):
    """A shard that cannot be read; it has been removed, so that the next run computes it anew."""


class ArrayStore:
    """Arrays by image id under one key: another key is another folder, so nothing stored is ever stale."""

    def __init__(self, root: Path, kind: str, key: Mapping[str, object]):
        """The store `root/KIND-DIGEST`, made with its first shard; `key` names everything that its arrays depend on."""
        self.kind, self.key = kind, dict(key)
        self.folder = root / f"{kind}-{digest_of(key)}"
        remove_drafts(self.folder)

    @classmethod
    def at(cls, folder: Path) -> "ArrayStore":
        """The store that lies in a folder, whatever its key.

        Raises:
            OSError, ValueError: The folder holds no store.
        """
        key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
        store = cls.__new__(cls)
        store.kind, store.key, store.folder = folder.name.rpartition("-")[0], key, folder
        remove_drafts(folder)
        if not isinstance(key, dict):
            raise ValueError(f"{folder}/key.json holds no key.")
        return store

    def ids(self) -> np.ndarray:
        """(n,) str, the images whose arrays are stored."""
        stored = [self._read(shard, ["ids"])["ids"] for shard in self._shards()]
        return np.concatenate(stored) if stored else np.empty(0, dtype=str)

    def missing(self, ids: np.ndarray) -> np.ndarray:
        """The ids whose arrays are not stored, in the order given."""
        ids = np.asarray(ids, dtype=str)
        return ids[positions(self.ids(), ids) < 0]

    def append(self, ids: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Add a shard: ids (n,) str and arrays of n rows each, by name; an interrupted run resumes after the last.

        Raises:
            LmkError: An array holds numbers that are not finite.
        """
        if any(len(values) != len(ids) for values in arrays.values()):
            raise ValueError(f"Each array needs {len(ids)} rows: {[values.shape for values in arrays.values()]}.")
        for name, values in arrays.items():
            if not _is_finite(name, values):  # reading would find it damaged, for ever
                raise LmkError(
                    f"{self.kind}: '{name}' as computed holds numbers that are not finite. A network that was trained "
                    "with too high a rate gives such, and weights that are damaged; nothing is stored."
                )
        if not (self.folder / "key.json").exists():
            write_json(self.folder / "key.json", self.key)
        number = max((int(shard.stem) for shard in self._shards()), default=-1) + 1
        with atomic_path(self.folder / f"{number:06d}.npz") as draft, draft.open("wb") as file:
            np.savez(file, allow_pickle=False, ids=np.asarray(ids, dtype=str), **arrays)

    def load(self, ids: np.ndarray) -> Arrays:
        """The arrays by name, their rows in the order of `ids`; large ones are mapped files, not memory.

        Raises:
            KeyError: An id is not stored.
            DamagedShard: A shard cannot be read.
        """
        ids, shards = np.asarray(ids, dtype=str), self._shards()
        stored = [self._read(shard, ["ids"])["ids"] for shard in shards]
        place = positions(np.concatenate(stored), ids) if stored else np.full(len(ids), -1)
        if (place < 0).any():
            raise KeyError(f"{(place < 0).sum()} ids are not in {self.folder}; first: '{ids[place < 0][0]}'.")
        starts = np.cumsum([0, *map(len, stored)])
        number = np.searchsorted(starts, place, side="right") - 1
        order = np.argsort(number, kind="stable")
        ends = np.cumsum(np.bincount(number, minlength=len(shards)))
        found: Arrays = {}
        for shard, rows in enumerate(np.split(order, ends[:-1])):
            if len(rows):
                self._fill(found, len(ids), rows, shards[shard], place[rows] - starts[shard])
        return found

    def _fill(self, found: Arrays, count: int, rows: np.ndarray, shard: Path, taken: np.ndarray) -> None:
        """Put rows of a shard into `rows` of the arrays of `count` rows, which are made where they are not there."""
        arrays = {name: values[taken] for name, values in self._read(shard).items() if name != "ids"}
        for name, values in arrays.items():
            if name not in found:
                found[name] = make_room((count, *values.shape[1:]), values.dtype, self.folder)
            elif (wider := np.promote_types(found[name].dtype, values.dtype)) != found[name].dtype:
                found[name] = found[name].astype(wider)  # longer texts
            if values.shape[1:] != found[name].shape[1:]:
                raise UnfitShard(f"{shard} holds '{name}' of another shape than the shards before it. {_ANEW}")
            found[name][rows] = values
        if arrays.keys() != found.keys():
            raise UnfitShard(f"{shard} holds other arrays than the shards before it. {_ANEW}")

    def collect(
        self,
        ids: np.ndarray,
        compute: Callable[[np.ndarray], Mapping[str, np.ndarray]],
        shard_size: int,
        label: str = "",
        progress: Progress = silent,
        unit: str = "photos",
    ) -> Arrays:
        """The arrays of `ids`; what is not stored is computed and stored, a shard at a time.

        Args:
            ids: (n,) str; one that stands twice is computed once.
            compute: Arrays by name for at most `shard_size` ids.
            shard_size: Images a shard: what a kill loses at the most.
            label: What is computed, for `progress`.
            progress: Reports each finished shard, and within one of what `compute` reports by `advance_within`.
            unit: What an id is, for `progress`.
        """
        return self.collect_stream(ids, lambda shards: map(compute, shards), shard_size, label, progress, unit)

    def collect_stream(
        self,
        ids: np.ndarray,
        compute: Callable[[Sequence[np.ndarray]], Iterator[Mapping[str, np.ndarray]]],
        shard_size: int,
        label: str = "",
        progress: Progress = silent,
        unit: str = "photos",
    ) -> Arrays:
        """As `collect`, where what computes may be ahead of what is stored: workers go on while a shard is written.

        Args:
            compute: Function from all shards that are missing to the arrays of each, in their order. The others are as
                for `collect`.
        """
        while True:
            try:
                missing = np.array(list(dict.fromkeys(self.missing(ids).tolist())), dtype=str)
                log.info("%s: %d of %d are stored.", self.folder, len(ids) - len(missing), len(ids))
                shards = [missing[start : start + shard_size] for start in range(0, len(missing), shard_size)]
                if shards:
                    with progress(label, len(missing), unit) as advance:
                        stream = compute(shards)
                        for shard in shards:
                            with piece(advance, len(shard)):
                                computed = next(stream)
                            self.append(shard, computed)
                return self.load(ids)
            except DamagedShard as damage:
                log.warning("%s", damage)

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.npz"))

    def _read(self, shard: Path, names: list[str] | None = None) -> Arrays:
        try:
            with np.load(shard, allow_pickle=False) as file:
                _check_list(shard, file.files)
                found = {name: file[name] for name in (names or file.files)}
            _check_rows(found)
            return found
        except NPZ_DAMAGE as error:
            if not _is_damage(shard, error):
                raise
            shard.unlink(missing_ok=True)
            raise DamagedShard(
                f"{shard} was damaged ({quoted(str(error))}) and is removed; it is computed anew."
            ) from error


def _check_list(shard: Path, names: Sequence[str]) -> None:
    """Refuse a shard whose list of arrays is not as long as its end says: a wrong length in the list hides some.

    Raises:
        ValueError, struct.error: It is not.
    """
    with shard.open("rb") as file:
        file.seek(-_END.size, os.SEEK_END)
        mark, count = _END.unpack(file.read())
    if mark != b"PK\5\6" or count != len(set(names)):
        raise ValueError("its list of arrays is damaged")


def _check_rows(arrays: Arrays) -> None:
    """Refuse arrays that are not those of a shard, whatever checksums they have.

    Raises:
        KeyError, ValueError: There are no ids, they are no texts, or an array has other rows than they, or numbers
            that are not finite.
    """
    for name, values in arrays.items():
        if not isinstance(values, np.ndarray):  # numpy gives a member that does not begin as an array as bytes
            raise ValueError(f"'{name}' is no array")
    ids = arrays["ids"]
    if ids.ndim != 1 or ids.dtype.kind != "U":
        raise ValueError(f"its ids are {ids.dtype} of shape {ids.shape}")
    for name, values in arrays.items():
        if values.shape[:1] != ids.shape:
            raise ValueError(f"'{name}' has shape {values.shape}, for {len(ids)} ids")
        if not _is_finite(name, values):
            raise ValueError(f"'{name}' holds numbers that are not finite")


def _is_finite(name: str, values: np.ndarray) -> bool:
    """Whether an array has neither NaN nor infinity; -inf is the score of a candidate that is not there."""
    if values.dtype.kind != "f":
        return True
    sound = np.isfinite(values)
    return bool((sound | np.isneginf(values) if name == "scores" else sound).all())


def _is_damage(shard: Path, error: BaseException) -> bool:
    """Whether it is the shard's fault: a disk that fails and too little memory are no reason to remove a good one."""
    if isinstance(error, OSError):
        return error.errno in (None, errno.EINVAL)  # a place before the file's beginning
    if isinstance(error, MemoryError):
        with zipfile.ZipFile(shard) as file:
            return file.testzip() is not None
    return True
