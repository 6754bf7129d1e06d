"""Files from Kaggle: resumed after a break, whole or not there, and never a web page under a data file's name."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from lmk.kaggle.faults import FAILURES, LONGEST_WAIT, call, explain, is_of_the_disk, retry_after
from lmk.kaggle.http import WHOLE, opened
from lmk.util.deadline import Deadline, deadline
from lmk.util.errors import LmkError, RemoteError
from lmk.util.files import alone_with, atomic_path, write_json
from lmk.util.progress import Progress, silent

CHUNK = 1 << 20
MEGABYTE = 1_000_000
BREAKS = 5
"""Breaks in a row that bring nothing new before a download is given up; what came stays for the next call."""
WRONG_KINDS = {"text/html": "a web page", "application/json": "a message", "application/xml": "a message"}
"""Types of content that are not a file's, and what they are."""


class _Break(Exception):
    """Nothing came for now; the next try may bring more. `pause` is how long the storage asks to wait, in seconds."""

    def __init__(self, why: str, pause: float = 0.0):
        super().__init__(why)
        self.pause = pause


@dataclass(frozen=True)
class _Identity:
    """Which file a part is of: its ETag and its bytes, None where the storage does not say."""

    etag: str | None
    size: int | None

    @property
    def is_known(self) -> bool:
        return bool(self.etag) and self.size is not None


def download(
    doing: str,
    start: Callable[[], requests.Response],
    path: Path,
    seconds: float,
    progress: Progress = silent,
) -> None:
    """Bring a large file to `path`, going on where an earlier call was broken off.

    What came is kept, whatever the storage answers; it is given up only where the storage has another file by now (its
    ETag or size differs, or it answers 416).

    Args:
        doing: For errors: "download provence".
        start: Opens the download anew, streamed; where it leads is asked for the missing part by Range.
        path: The file; beside it `NAME.part` grows and `NAME.part.json` says of which file it is a part.
        seconds: Longest silence.
        progress: Called with megabytes.

    Raises:
        RemoteError: The connection broke too often, or what came is not what was promised.
        LmkError: Another process brings the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone_with(path):
        part = path.with_name(path.name + ".part")
        breaks = 0
        while True:
            had = _size(part)
            try:
                _bring_more(doing, start, part, seconds, progress)
                break
            except _Break as failure:
                breaks = breaks + 1 if _size(part) <= had else 0
                if breaks >= BREAKS or failure.pause > LONGEST_WAIT:
                    raise RemoteError(f"{failure} {_size(part):,} bytes are kept.") from failure
                time.sleep(max(0.5 * 2**breaks, failure.pause))
        part.replace(path)
        _marker(part).unlink(missing_ok=True)


def small(doing: str, url: str, path: Path, seconds: float) -> None:
    """Bring a file of modest size to `path`, whole or not at all.

    Raises:
        LmkError: Or one of its kinds, as `faults.call`; the file is a web page or came in half.
    """

    def request() -> None:
        with deadline(WHOLE * seconds) as limit, opened(url, seconds) as response:
            response.raise_for_status()
            if "text/html" in response.headers.get("Content-Type", ""):
                raise RemoteError(_wrong_kind(doing, "a web page"))
            with atomic_path(path) as draft, draft.open("wb") as file:
                for chunk in response.iter_content(CHUNK):
                    limit.extend(WHOLE * seconds)
                    file.write(chunk)
            if limit.passed:
                raise requests.ConnectionError("cut off")

    call(doing, request, tries=3)


def _bring_more(
    doing: str, start: Callable[[], requests.Response], part: Path, seconds: float, progress: Progress
) -> None:
    """One try to bring what `part` lacks; returns when it is whole.

    Raises:
        _Break: It is not whole yet.
        RemoteError: What came is no file.
    """
    with deadline(WHOLE * seconds) as limit:  # extended with each piece that comes
        try:
            with closing(start()) as whole:
                limit.extend(WHOLE * seconds)
                _check_kind(doing, whole)
                identity = _identity_of(whole)
                had = _size(part)
                if not had or _identity(part) != identity or had > (identity.size or 0):
                    part.unlink(missing_ok=True)
                    write_json(_marker(part), asdict(identity))
                    _write(doing, whole, part, 0, identity.size, progress, limit, seconds)
                    return
                url = whole.url
            if had < (identity.size or 0):
                with _rest(doing, url, part, identity, seconds) as (response, begin):
                    _write(doing, response, part, begin, identity.size, progress, limit, seconds)
        except FAILURES as error:
            if is_of_the_disk(error) and not limit.passed:
                raise
            raise _Break(str(explain(doing, error))) from error


@contextmanager
def _rest(
    doing: str, url: str, part: Path, identity: _Identity, seconds: float
) -> Iterator[tuple[requests.Response, int]]:
    """The answer to a request for what `part` lacks, and the byte that it begins with."""
    had = _size(part)
    asked = {"Range": f"bytes={had}-", "If-Range": identity.etag or ""}
    with opened(url, seconds, asked) as response:
        if response.status_code == 416:  # the storage has no such bytes
            part.unlink()
            raise _Break(f"Kaggle's storage has another file by now; lmk wanted to {doing}. Run it again.")
        if response.status_code not in (200, 206):  # busy, or the signed address is spent: the next try gets a new one
            raise _Break(
                f"Kaggle's storage answered {response.status_code} in place of the rest of the file; lmk wanted to "
                f"{doing}. Run it again later.",
                retry_after(response) or 0.0,
            )
        _check_kind(doing, response)
        begin = had if response.status_code == 206 else 0
        if begin and _range_of(response) != (had, identity.size):
            raise _Break(f"Kaggle's storage sent other bytes than the missing ones; lmk wanted to {doing}.")
        if not begin and _identity_of(response) != identity:
            part.unlink()
            raise _Break(f"Kaggle's storage has another file by now; lmk wanted to {doing}. Run it again.")
        yield response, begin


def _range_of(response: requests.Response) -> tuple[int, int | None] | None:
    """First byte and whole size that Content-Range names, None where it says nothing of the kind."""
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})", response.headers.get("Content-Range", ""))
    return (int(match[1]), int(match[2])) if match else None


def _wrong_kind(doing: str, what: str) -> str:
    return f"Kaggle sent {what} in place of the file; lmk wanted to {doing}. Run it again later."


def _check_kind(doing: str, response: requests.Response) -> None:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in WRONG_KINDS:
        raise RemoteError(_wrong_kind(doing, WRONG_KINDS[kind]))


def _write(
    doing: str,
    response: requests.Response,
    part: Path,
    begin: int,
    size: int | None,
    progress: Progress,
    limit: Deadline,
    seconds: float,
) -> None:
    """Write what comes into `part` from the byte `begin` on; what lies behind stays until it is overwritten."""
    with (
        progress(doing.capitalize(), (size or 0) // MEGABYTE, "MB") as advance,
        part.open("r+b" if part.exists() else "wb") as file,
    ):
        file.seek(begin)
        done = begin
        advance(done // MEGABYTE)
        for chunk in response.iter_content(CHUNK):
            limit.extend(WHOLE * seconds)
            file.write(chunk)
            advance((done + len(chunk)) // MEGABYTE - done // MEGABYTE)
            done += len(chunk)
    if limit.passed or (size is not None and done < size):
        raise requests.ConnectionError("cut off")
    if size is not None and done > size:
        part.unlink()
        raise _Break(f"Kaggle sent more bytes than it had announced; lmk wanted to {doing}. Run it again later.")
    if not done:
        raise _Break(f"Kaggle sent an empty file; lmk wanted to {doing}. Run it again later.")


def length_of(response: requests.Response) -> int | None:
    """The bytes that an answer's body announces to have; None where it does not, or nonsense, or packs them."""
    text = response.headers.get("Content-Length", "")
    packed = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) and not packed else None


def _identity_of(response: requests.Response) -> _Identity:
    return _Identity(response.headers.get("ETag"), length_of(response))


def _marker(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _identity(part: Path) -> _Identity | None:
    """Identity of the file that the part belongs to; None where that is not known for sure."""
    try:
        values = json.loads(_marker(part).read_text(encoding="utf-8"))
        known = _Identity(str(values["etag"]), int(values["size"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if known.is_known else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def check_space(folder: Path, needed: int, free: int) -> None:
    """Raise `LmkError` if `folder` lies on a disk with fewer than `needed` bytes `free`."""
    if needed > free:
        raise LmkError(
            f"{folder} needs {needed / 1e9:.1f} GB (the archive and what it holds), but {free / 1e9:.1f} GB are free. "
            "Make room, or name another disk by --workspace."
        )
