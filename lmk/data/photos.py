"""Which photos lie in a folder, flat or in folders of folders: arrays, not an object a photo."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lmk.data.images import UnreadablePhoto, read_photo
from lmk.util.errors import LmkError
from lmk.util.progress import Progress, silent
from lmk.util.text import safe

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Endings of photo files, in upper or lower case."""

_MAX_DEPTH = 8
_BATCH = 256  # a pool takes in all that it is given, which may be millions
_THREADS = 8  # listing waits for the disk, not for the processor


@dataclass(frozen=True, eq=False)
class PhotoFiles:
    """Photo files by id, which is the file's name without its suffix.

    Attributes:
        ids: (n,) str, ascending, each once.
        places: (n,) int32, the row of `folders` that holds each photo.
        suffixes: (n,) str, as written (".jpg", ".JPG").
        sizes: (n,) int64, bytes.
        stamps: (n, 4) int64, device, inode, and times of the last change of content and of status in ns.
        folders: The folders that hold photos.
        doubled: Photos whose id another photo has, which comes first by path; they are not among `ids`.
        others: Files that are no photos by their suffix; hidden files are not counted.
        misnamed: Photos whose name is not UTF-8 or holds control characters, so that no table can hold their id.
    """

    ids: np.ndarray
    places: np.ndarray
    suffixes: np.ndarray
    sizes: np.ndarray
    stamps: np.ndarray
    folders: tuple[Path, ...] = ()
    doubled: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    misnamed: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """(m,) int, the row of each id, -1 where it has no photo."""
        found = pc.index_in(_strings(ids), value_set=_strings(self.ids))
        return found.fill_null(-1).to_numpy()

    def keep(self, rows: np.ndarray) -> "PhotoFiles":
        """The photos of `rows` alone."""
        rows = np.sort(rows)
        return PhotoFiles(
            self.ids[rows], self.places[rows], self.suffixes[rows], self.sizes[rows], self.stamps[rows], self.folders
        )

    def path(self, photo_id: str) -> Path | None:
        """Where the photo of an id lies, None if there is none."""
        key = np.array(photo_id, self.ids.dtype)  # another width would make numpy copy all ids
        row = int(np.searchsorted(self.ids, key))
        if row == len(self.ids) or self.ids[row] != photo_id:
            return None
        return self.folders[self.places[row]] / f"{photo_id}{self.suffixes[row]}"

    def paths(self) -> Iterator[Path]:
        """The path of every photo, folder by folder."""
        for row in np.argsort(self.places, kind="stable"):
            yield self.folders[self.places[row]] / f"{self.ids[row]}{self.suffixes[row]}"

    def digest(self) -> str:
        """12 hexadecimal digits that name the ids and sizes of all photos."""
        width = max(1, np.strings.str_len(self.ids).max(initial=0))  # not that of ids which are left out
        state = hashlib.sha256(f"{width} {len(self.ids)}".encode())
        state.update(self.ids.astype(f"<U{width}").view(np.uint8).data)
        state.update(np.ascontiguousarray(self.sizes).data)
        return state.hexdigest()[:12]


def find_photos(folder: Path, nested: bool = True, progress: Progress = silent) -> PhotoFiles:
    """List the photos of a folder and, if `nested`, of the folders in it; none if it does not exist.

    Raises:
        LmkError: A folder cannot be listed, or folders lie too deep in one another.
    """
    level, found = ([folder] if folder.is_dir() else []), []
    for _ in range(_MAX_DEPTH):
        with (
            progress(f"Listing photos in {folder.name}/", len(level), "folders") as advance,
            ThreadPoolExecutor(_THREADS) as pool,
        ):
            inner = []
            for listing in pool.map(_list_folder, level):
                found.append(listing)
                inner += listing.folders
                advance(1)
        level = sorted(inner)
        if not level or not nested:
            return _gather(found)
    raise LmkError(f"{level[0]} lies more than {_MAX_DEPTH} folders deep in {folder}. Does a link lead in a circle?")


def find_unreadable(
    photos: Iterable[Path], total: int, workers: int = 2, progress: Progress = silent
) -> list[UnreadablePhoto]:
    """Decode every photo, at the smallest size that the file allows, and return what could not be read.

    Where the machine failed, the photo is tried again by itself: beside others it may have lacked memory.
    """

    def attempt(path: Path) -> UnreadablePhoto | None:
        try:
            read_photo(path, max_side=64)
        except UnreadablePhoto as flaw:
            return flaw
        return None

    flaws, waiting = [], iter(photos)
    with progress("Reading photos", total, "photos") as advance, ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(waiting, _BATCH)):
            flaws += [flaw for flaw in pool.map(attempt, batch) if flaw is not None]
            advance(len(batch))
    tried = [flaw if flaw.damaged else attempt(flaw.path) for flaw in flaws]
    return [flaw for flaw in tried if flaw is not None]


@dataclass(frozen=True, eq=False)
class _Listing:
    """Entries of one folder, by name."""

    folder: Path
    folders: list[Path]
    ids: np.ndarray
    suffixes: np.ndarray
    sizes: np.ndarray
    stamps: np.ndarray
    others: list[Path]
    misnamed: list[Path]


def _list_folder(folder: Path) -> _Listing:
    folders, photos, others, misnamed = [], [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(folder / entry.name)
                    continue
                stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122, a Path for each of millions is slow
                if suffix.lower() in SUFFIXES and entry.is_file():
                    if safe(stem) != stem:
                        misnamed.append(folder / entry.name)
                        continue
                    status = entry.stat()
                    stamp = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
                    photos.append((stem, suffix, status.st_size, stamp))
                else:
                    others.append(folder / entry.name)
    except OSError as error:
        raise LmkError(f"The folder {folder} cannot be listed: {error.strerror}.") from error
    photos.sort()
    ids, suffixes, sizes, stamps = zip(*photos, strict=True) if photos else ((), (), (), ())
    numbers = np.array(sizes, np.int64), np.array(stamps, np.uint64).view(np.int64).reshape(-1, 4)
    return _Listing(
        folder, folders, np.array(ids, str), np.array(suffixes, str), *numbers, sorted(others), sorted(misnamed)
    )


def _gather(found: list[_Listing]) -> PhotoFiles:
    """One list of all folders' photos; of photos with one id the first stays."""
    folders = tuple(listing.folder for listing in found)
    ids = np.concatenate([np.empty(0, "<U1"), *(listing.ids for listing in found)])
    suffixes = np.concatenate([np.empty(0, "<U1"), *(listing.suffixes for listing in found)])
    sizes = np.concatenate([np.empty(0, np.int64), *(listing.sizes for listing in found)])
    stamps = np.concatenate([np.empty((0, 4), np.int64), *(listing.stamps for listing in found)])
    places = np.repeat(np.arange(len(found), dtype=np.int32), [len(listing.ids) for listing in found])
    order = np.argsort(ids, kind="stable")
    again = np.zeros(len(ids), bool)
    again[1:] = ids[order[1:]] == ids[order[:-1]]
    doubled = tuple(folders[places[row]] / f"{ids[row]}{suffixes[row]}" for row in order[again])
    others = tuple(path for listing in found for path in listing.others)
    order = order[~again]
    misnamed = tuple(path for listing in found for path in listing.misnamed)
    return PhotoFiles(
        ids[order], places[order], suffixes[order], sizes[order], stamps[order], folders, doubled, others, misnamed
    )


def _strings(ids: np.ndarray) -> pa.Array:
    return pa.array(np.asarray(ids, dtype=str), type=pa.string())
