"""Identity of photos by their content: each is read once, hashed and decoded, and remembered by its file's stamp.

A photo that is replaced, repaired or filled with zeros at the same size is another photo. What a file holds is
remembered by device, inode, size and the times of the last change of content and status (mtime, ctime), which no
replacement leaves as they were; names are no part of it. What was read is not read again, but for photos that could not
be decoded: they are tried each time. Where the machine failed (memory, disk), nothing is remembered.

Cost: one reading of all photos, which finding the unreadable ones needs anyway, and SHA-256 of their bytes. A million
photos take 72 MB to remember and seconds to look up; `docs/journal/speed.md` has the figures.
"""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from lmk.data.competitions import Competition
from lmk.data.images import decode_photo, read_file
from lmk.data.photos import PhotoFiles
from lmk.util.checked import DamagedFile, discard, read_sealed, sealed_path
from lmk.util.errors import LmkError
from lmk.util.files import digest_of
from lmk.util.progress import Progress, silent

MEMORY = "photos.npy"
"""File of the workspace's folder `photos` that remembers stamps and digests."""
DIGEST_BYTES = 16
"""Bytes kept of a photo's SHA-256: among 10^7 photos two share them with a chance below 10^-24."""
SETTLED_NS = 2_000_000_000
"""A file that changed so shortly before it was read may change again within its stamp's resolution: not remembered."""
WRITE_SECONDS = 60.0
"""Between two writings of what is known: what a kill loses. All of it is written each time."""
_BATCH = 1024  # photos handed to the threads at once
_SIDE = 64  # the smallest size at which decoding still goes over the whole file
_RECORD = np.dtype(
    [
        ("stamp", "<i8", 5),
        ("digest", "u1", DIGEST_BYTES),
        ("good", "u1"),
        ("decoder", "S15"),
    ],  # device, inode, mtime, ctime; size
)


@dataclass(frozen=True, eq=False)
class Identity:
    """Content of a competition's photos.

    Attributes:
        digest: 12 hexadecimal digits that name the competition: its tables, and the photos by id and content.
        ids: (n,) str, ascending, every photo of train, test and distractors.
        digests: (n, 16) uint8, SHA-256 of each file's content, cut; zeros where the machine failed to read it.
        unreadable: Photo id to the reason why it cannot be decoded, or could not this time.
    """

    digest: str
    ids: np.ndarray
    digests: np.ndarray
    unreadable: dict[str, str]

    def of(self, ids: np.ndarray) -> np.ndarray:
        """(m,) str, 32 hexadecimal digits that name the content of each photo; KeyError for an id without a photo."""
        ids = np.asarray(ids, dtype=str)
        rows = np.searchsorted(self.ids, ids).clip(max=max(0, len(self.ids) - 1))
        if len(ids) and (not len(self.ids) or (self.ids[rows] != ids).any()):
            raise KeyError("Some ids have no photo.")
        return np.array([self.digests[row].tobytes().hex() for row in rows.tolist()], dtype=f"<U{2 * DIGEST_BYTES}")


def identify(competition: Competition, folder: Path, jobs: int = 2, progress: Progress = silent) -> Identity:
    """Hash and decode the photos that `folder` does not remember, and name the competition by what they hold.

    Args:
        competition: As it was listed just now: its stamps are compared.
        folder: The workspace's `photos`, where stamps and digests are remembered between runs.
        jobs: Threads that read and decode.
        progress: Reports each photo that is read.

    Raises:
        OSError: What is known cannot be written.
    """
    listed = _Listed.of(competition.files)
    known = _Memory(folder / MEMORY)
    digests, _, good = known.look_up(listed.stamps)
    unreadable: dict[str, str] = {}
    todo = np.flatnonzero(~good)
    written = time.monotonic()
    with progress("Reading photos", len(todo), "photos") as advance, ThreadPoolExecutor(jobs) as pool:
        for start in range(0, len(todo), _BATCH):
            rows, begun = todo[start : start + _BATCH], time.time_ns()
            found = []
            for photo in pool.map(_examine, [listed.path(row) for row in rows.tolist()]):
                # What failed beside others, perhaps for want of memory, is tried again.
                found.append(_examine(photo.path) if photo.failed else photo)
                advance(1)
            digests[rows] = np.frombuffer(b"".join(photo.digest for photo in found), np.uint8).reshape(len(rows), -1)
            reasons = zip(listed.ids[rows].tolist(), (photo.reason for photo in found), strict=True)
            unreadable |= {name: reason for name, reason in reasons if reason}
            settled = listed.stamps[rows, 2:4].max(axis=1) < begun - SETTLED_NS
            kept = settled & ~np.array([photo.failed for photo in found])
            decoded = np.array([not photo.reason for photo in found])
            known.add(listed.stamps[rows[kept]], digests[rows[kept]], decoded[kept])
            if time.monotonic() - written > WRITE_SECONDS:
                known.write()
                written = time.monotonic()
    if len(todo):
        known.write()
    return Identity(_digest_of(competition, listed.ids, digests), listed.ids, digests, unreadable)


def remembered(competition: Competition, folder: Path) -> Identity | None:
    """The identity where `folder` remembers every photo, without reading one; None where some must be read."""
    listed = _Listed.of(competition.files)
    digests, known, good = _Memory(folder / MEMORY).look_up(listed.stamps)
    if not known.all():
        return None
    unreadable = dict.fromkeys(listed.ids[~good].tolist(), "it could not be decoded when it was read last")
    return Identity(_digest_of(competition, listed.ids, digests), listed.ids, digests, unreadable)


@dataclass(frozen=True)
class _Photo:
    """One file that was read; `reason` is empty where it can be decoded, `failed` where the machine could not."""

    path: Path
    digest: bytes
    reason: str = ""
    failed: bool = False


def _examine(path: Path) -> _Photo:
    """Read a file once: its digest, and whether it can be decoded."""
    digest = bytes(DIGEST_BYTES)
    try:
        data = read_file(path)
        digest = hashlib.sha256(data).digest()[:DIGEST_BYTES]
        decode_photo(data, _SIDE)
    except LmkError as error:
        return _Photo(path, digest, str(error), not getattr(error, "damaged", True))
    return _Photo(path, digest)


@dataclass(frozen=True, eq=False)
class _Listed:
    """All photos of a competition, by ascending id."""

    files: Sequence[PhotoFiles]
    ids: np.ndarray
    stamps: np.ndarray
    part: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, files: Sequence[PhotoFiles]) -> "_Listed":
        ids = np.concatenate([part.ids for part in files])
        stamps = np.concatenate([np.column_stack([part.stamps, part.sizes]) for part in files])
        part = np.repeat(np.arange(len(files)), [len(part) for part in files])
        row = np.concatenate([np.arange(len(part)) for part in files])
        order = np.argsort(ids, kind="stable")
        return cls(files, ids[order], stamps[order].astype(np.int64), part[order], row[order])

    def path(self, row: int) -> Path:
        """Where a photo lies."""
        part, inner = self.files[self.part[row]], self.row[row]
        return part.folders[part.places[inner]] / f"{part.ids[inner]}{part.suffixes[inner]}"


class _Memory:
    """Digests by stamp in one sealed file; where it is damaged or absent nothing is known."""

    def __init__(self, path: Path):
        self.path, self.decoder = path, f"1 {PIL.__version__}"[:15].encode()
        self.records = np.empty(0, _RECORD)
        self._new: list[np.ndarray] = []
        try:
            data = read_sealed(path)
        except DamagedFile:
            discard(path)
        else:
            if len(data) % _RECORD.itemsize == 0:  # else another version's
                self.records = np.frombuffer(data, _RECORD)

    def look_up(self, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Digests (n, 16) uint8 of stamps (n, 5), zeros where they are not known; (n,) bool, whether they are; and
        (n,) bool, whether the photo could be decoded, by this version of the decoder."""
        digests = np.zeros((len(stamps), DIGEST_BYTES), np.uint8)
        usable = self.records[self.records["decoder"] == self.decoder]
        if not len(usable) or not len(stamps):
            return digests, np.zeros(len(stamps), bool), np.zeros(len(stamps), bool)
        stored, asked = _mixed(usable["stamp"]), _mixed(stamps)
        order = np.argsort(stored)
        place = order[np.searchsorted(stored, asked, sorter=order).clip(max=len(order) - 1)]
        known = (usable["stamp"][place] == stamps).all(axis=1)
        digests[known] = usable["digest"][place[known]]
        return digests, known, known & (usable["good"][place] == 1)

    def add(self, stamps: np.ndarray, digests: np.ndarray, good: np.ndarray) -> None:
        """Remember digests (m, 16) of stamps (m, 5), and whether each could be decoded (m,)."""
        new = np.zeros(len(stamps), _RECORD)
        new["stamp"], new["digest"], new["good"], new["decoder"] = stamps, digests, good, self.decoder
        self._new.append(new)

    def write(self) -> None:
        """Write all that is known; stamps of files that were changed since go."""
        new = np.concatenate([np.empty(0, _RECORD), *self._new])
        again = np.isin(_mixed(self.records["stamp"][:, :2]), _mixed(new["stamp"][:, :2]))
        self.records = np.concatenate([self.records[~again], new])
        self._new.clear()
        with sealed_path(self.path) as draft:
            draft.write_bytes(self.records.tobytes())


def _mixed(rows: np.ndarray) -> np.ndarray:
    """Rows (n, m) int64 as (n,) uint64 to sort by, which takes a tenth of the time; unequal rows seldom have one value,
    and then are taken for unknown: the photo is read again."""
    mixed = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)  # wraps
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _digest_of(competition: Competition, ids: np.ndarray, digests: np.ndarray) -> str:
    """Names the tables, the photos by id and content, and which of them lie in distractors/, which no table lists."""

    def hashed(names: np.ndarray, *more: np.ndarray) -> str:
        width = max(1, np.strings.str_len(names).max(initial=0))
        state = hashlib.sha256(f"{width} {len(names)}".encode())
        for values in (names.astype(f"<U{width}").view(np.uint8), *more):
            state.update(np.ascontiguousarray(values).data)
        return state.hexdigest()

    distractors = hashed(competition.files[-1].ids)
    return digest_of({"tables": dict(competition.tables), "photos": hashed(ids, digests), "distractors": distractors})
