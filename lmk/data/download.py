"""Photos of the editions that give addresses: fetched by many threads, resumable, each there or with its reason.

A journal beside the photos gets a line for each address that is settled; a photo is written whole before its line. So a
run that is killed loses the requests in flight and nothing else, and the next one asks for no photo that is there.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import queue
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import urllib3
from PIL import Image

from lmk.data.address import Limits, NoPhoto, get, host_of, photo_pool
from lmk.data.hosts import Turns
from lmk.data.images import decode_photo
from lmk.util.errors import LmkError, quoted
from lmk.util.files import atomic_path, write_json
from lmk.util.progress import Progress, silent

QUALITY = 92
"""Quality, in [0, 100], of JPEGs that are written anew because they were larger than asked for."""
CHECK_SIDE = 64
"""A photo that is kept as it came is decoded at this size, to know that it can be."""
THREADS, TRIES = 64, 3
EACH_HOST = 2
"""Requests at once to one host: what Wikimedia, whose photos the editions list, asks of robots that load media."""
LONGEST_PAUSE = 300.0
"""Seconds that a host may ask to be left alone; what asks for more has failed."""
LOCKS = 256
"""Photos that may be written at once: more than there are threads."""
FLUSH = 64
"""Settled addresses between two writes of the journal while more are waiting."""
COLUMNS = ("id", "outcome", "bytes", "width", "height", "digest")
STORED = "stored"
"""The outcome of a photo that is there; every other outcome is a reason."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one photo: `outcome` is `STORED` or the reason why it is not there."""

    photo_id: str
    outcome: str
    size: int = 0
    width: int = 0
    height: int = 0
    digest: str = ""

    def row(self) -> list[str | int]:
        """The values in the order of `COLUMNS`."""
        return [self.photo_id, self.outcome, self.size, self.width, self.height, self.digest]


@dataclass(frozen=True)
class Downloaded:
    """Result of a download: photos there, photos that this call brought, and reasons with their counts."""

    stored: int
    new: int
    reasons: Mapping[str, int]
    table: Path


@dataclass(frozen=True)
class Way:
    """How to download.

    Attributes:
        side: Longest side in pixels; larger photos are scaled down as they come. None: as they are.
        threads: Requests at once.
        each_host: Requests at once to one host.
        tries: How often an address is asked whose failure may pass.
        backoff: Seconds before the second try; each further one waits twice as long.
        limits: Limits on one request.
        allow_private: Whether hosts of this machine and of private networks may be asked.
        contact: Where an operator of a host can reach the user; goes into the User-Agent.
    """

    side: int | None = None
    threads: int = THREADS
    each_host: int = EACH_HOST
    tries: int = TRIES
    backoff: float = 1.0
    limits: Limits = field(default_factory=Limits)
    allow_private: bool = False
    contact: str = ""


def download(
    ids: np.ndarray, urls: np.ndarray, folder: Path, way: Way, progress: Progress = silent, retry: bool = False
) -> Downloaded:
    """Bring every photo into `folder/a/b/c/abc....jpg`; what an earlier call settled is not asked again.

    An address that stands at several ids is asked once, and photos with the same bytes share them on the disk.

    Args:
        ids: (n,) str, each once.
        urls: (n,) str or `StringDType`, the address of each.
        folder: Where photos go; beside it `FOLDER.journal.csv` records what became of each, and at the end
            `FOLDER.downloads.csv` in the order of `ids`.
        way: How.
        progress: Called with each settled photo.
        retry: Whether photos that an earlier call failed to bring are tried again.

    Raises:
        LmkError: An earlier call scaled to another side, a file beside the folder is damaged, or the contact is no
            text for a header.
        OSError: The disk is full.
    """
    pool = photo_pool(way.each_host, way.allow_private, way.contact)
    folder.mkdir(parents=True, exist_ok=True)
    _same_way(folder, way)
    journal = folder.with_name(f"{folder.name}.journal.csv")
    asked = set(ids.tolist())
    settled = {name: found for name, found in _read_journal(journal).items() if name in asked}
    settled = {name: found for name, found in settled.items() if found.outcome != STORED or _is_there(folder, found)}
    if retry:
        settled = {name: found for name, found in settled.items() if found.outcome == STORED}
    places: dict[str, list[int]] = {}
    for row, (name, url) in enumerate(zip(ids.tolist(), urls.tolist(), strict=True)):
        if name not in settled:
            places.setdefault(url, []).append(row)
    keeper = _Keeper(folder, way.side, {found.digest: found.photo_id for found in settled.values() if found.digest})
    before = sum(found.outcome == STORED for found in settled.values())
    lacking = sum(map(len, places.values()))
    with progress(f"Download {folder.name}/", lacking, "photos") as advance, _appending(journal) as write:
        for found in _settle(places, ids, keeper, way, pool):
            write(found)
            settled[found.photo_id] = found
            advance(1)
    table = _write_table(folder, ids, settled)
    reasons: dict[str, int] = {}
    for name in ids.tolist():
        if settled[name].outcome != STORED:
            reasons[settled[name].outcome] = reasons.get(settled[name].outcome, 0) + 1
    stored = len(ids) - sum(reasons.values())
    return Downloaded(stored, stored - before, reasons, table)


def _is_there(folder: Path, found: Outcome) -> bool:
    """Whether the disk holds what the journal says: a folder may be removed, or a copy of it cut short."""
    try:
        return photo_path(folder, found.photo_id).stat().st_size == found.size
    except OSError:
        return False


def photo_path(folder: Path, photo_id: str) -> Path:
    """Where a photo goes: in folders by its first three letters, as in the editions of 2020 and 2021."""
    name = f"{photo_id}.jpg"
    return folder.joinpath(*photo_id[:3], name) if len(photo_id) > 3 and photo_id[:3].isalnum() else folder / name


class _Keeper:
    """Writes photos, each whole; the same bytes once."""

    def __init__(self, folder: Path, side: int | None, known: dict[str, str]):
        """known: digests to the ids of photos that are there."""
        self.folder, self.side, self._known = folder, side, known
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def keep(self, photo_id: str, data: bytes) -> Outcome:
        """Check, scale down if asked, and write a photo.

        Raises:
            NoPhoto: It cannot be decoded.
        """
        digest = hashlib.blake2b(data, digest_size=12).hexdigest()
        path = photo_path(self.folder, photo_id)
        with self._locks[int(digest, 16) % LOCKS]:  # the same bytes come one after the other
            kept, width, height = self._fitted(data)
            first = self._known.setdefault(digest, photo_id)
            with atomic_path(path) as draft:
                if first == photo_id or not _link(photo_path(self.folder, first), draft, len(kept)):
                    draft.write_bytes(kept)
        return Outcome(photo_id, STORED, len(kept), width, height, digest)

    def there(self, photo_id: str) -> Outcome | None:
        """A photo that lies there without a line of the journal: a kill came between, or the journal was removed."""
        try:
            data = photo_path(self.folder, photo_id).read_bytes()
            decode_photo(data, CHECK_SIDE)
            return Outcome(photo_id, STORED, len(data), *_size(data))
        except (OSError, LmkError):
            return None

    def _fitted(self, data: bytes) -> tuple[bytes, int, int]:
        """The bytes to write, and their width and height: those that came if they are small enough."""
        try:
            photo = decode_photo(data, self.side or CHECK_SIDE)
        except LmkError as error:
            raise NoPhoto(str(error)) from error
        width, height = _size(data)
        if self.side is None or max(width, height) <= self.side:
            return data, width, height
        bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        return encoded.tobytes(), photo.shape[1], photo.shape[0]


def _link(there: Path, draft: Path, size: int) -> bool:
    """Give the photo of `there` a second name; False where it is gone or changed, or the disk knows no links."""
    try:
        os.link(there, draft)
    except OSError:
        return False
    if draft.stat().st_size == size:
        return True
    draft.unlink()
    return False


def _settle(
    places: dict[str, list[int]], ids: np.ndarray, keeper: _Keeper, way: Way, pool: urllib3.PoolManager
) -> Iterator[Outcome]:
    """Outcome of each photo, as it is settled."""
    urls = list(places)
    turns = Turns(range(len(urls)), lambda task: host_of(urls[task]), way.each_host)
    found: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()
    tries: Counter[int] = Counter()

    def work() -> None:
        try:
            while (task := turns.take()) is not None:
                _attempt(task)
        except Exception as error:  # a full disk, a mistake in lmk: it ends the download, and the caller raises it
            found.put(error)

    def _attempt(task: int) -> None:
        names = [str(ids[row]) for row in places[urls[task]]]
        kept = {name: keeper.there(name) for name in names}
        lacking = [name for name in names if kept[name] is None]
        try:
            data = get(pool, urls[task], way.limits) if lacking else b""
            for name in names:
                found.put(kept[name] or keeper.keep(name, data))
        except NoPhoto as failure:
            tries[task] += 1
            if failure.passing and tries[task] < way.tries and failure.pause <= LONGEST_PAUSE:
                wait = way.backoff * 2 ** (tries[task] - 1) * random.uniform(0.75, 1.25)
                turns.again(task, max(wait, failure.pause), failure.pause)
                return
            for name in names:
                found.put(kept[name] or Outcome(name, failure.reason))
        turns.done(task)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(way.threads, max(1, len(urls))))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(sum(map(len, places.values()))):
            outcome = found.get()
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
    finally:
        turns.stop()
        pool.clear()


def _size(data: bytes) -> tuple[int, int]:
    """Width and height as the header gives them."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def _same_way(folder: Path, way: Way) -> None:
    """Photos of one folder have one side."""
    marker = folder.with_name(f"{folder.name}.download.json")
    if not marker.exists():
        write_json(marker, {"side": way.side})
        return
    try:
        side = json.loads(marker.read_text(encoding="utf-8"))["side"]
        if not (side is None or isinstance(side, int)):
            raise ValueError(f"the side {side!r} is no number")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LmkError(
            f"{marker} is damaged ({quoted(str(error))}). Remove it together with {folder}, then run the command again."
        ) from error
    if side != way.side:
        raise LmkError(
            f"{folder} was begun with {_told(side)}, not {_told(way.side)}. Say the same again, or remove {folder} and "
            f"{marker}."
        )


def _told(side: int | None) -> str:
    return "no --side" if side is None else f"--side {side}"


def _read_journal(path: Path) -> dict[str, Outcome]:
    """The settled photos by id; a line that a kill cut short is none."""
    settled = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="", errors="replace") as file:
            for line in file:
                row = []
                with suppress(csv.Error):  # a longer cell than any of ours
                    row = next(csv.reader([line]), [])
                if line.endswith("\n") and len(row) == len(COLUMNS) and all(map(_is_count, row[2:5])):
                    settled[row[0]] = Outcome(row[0], row[1], int(row[2]), int(row[3]), int(row[4]), row[5])
    return settled


def _is_count(cell: str) -> bool:
    return cell.isdecimal() and len(cell) < 16


@contextmanager
def _appending(path: Path) -> Iterator[Callable[[Outcome], None]]:
    """A function that adds a line; lines reach the disk a few at a time, and all at the end."""
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write("\n" if file.tell() and not path.read_bytes().endswith(b"\n") else "")
        writer, waiting = csv.writer(file, lineterminator="\n"), 0

        def write(found: Outcome) -> None:
            nonlocal waiting
            writer.writerow(found.row())
            waiting += 1
            if waiting >= FLUSH:
                file.flush()
                waiting = 0

        yield write


def _write_table(folder: Path, ids: np.ndarray, settled: Mapping[str, Outcome]) -> Path:
    """Outcome of every photo, in the order of `ids`."""
    path = folder.with_name(f"{folder.name}.downloads.csv")
    with atomic_path(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(settled[name].row() for name in ids.tolist())
    return path
