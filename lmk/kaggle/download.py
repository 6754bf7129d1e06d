"""Files from Kaggle: resumed after a break, whole or not there, and never a web page under a data file's name."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import requests

from lmk.kaggle.faults import call, explain
from lmk.util.errors import LmkError, RemoteError
from lmk.util.files import atomic_path, write_json
from lmk.util.progress import Progress, silent

CHUNK = 1 << 20
MEGABYTE = 1_000_000
BREAKS = 5
"""Breaks in a row that bring nothing new before a download is given up; what came stays for the next call."""

BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def download(
    doing: str,
    start: Callable[[], requests.Response],
    path: Path,
    seconds: float,
    progress: Progress = silent,
) -> None:
    """Bring a large file to `path`, going on where an earlier call was broken off.

    Args:
        doing: For errors: "download provence".
        start: Opens the download anew, streamed; where it leads is asked for the missing part by Range.
        path: The file; beside it `NAME.part` grows and `NAME.part.json` says of which file it is a part.
        seconds: Longest silence.
        progress: Told of megabytes.

    Raises:
        RemoteError: The connection broke too often, or what came is not what was promised.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    breaks = 0
    while True:
        had = _size(part)
        try:
            with closing(_open(start(), part, seconds)) as response:
                _check(doing, response)
                _write(doing, response, part, progress)
            break
        except BROKEN as error:
            breaks = breaks + 1 if _size(part) <= had else 0
            if breaks >= BREAKS:
                raise RemoteError(f"{explain(doing, error)} {_size(part):,} bytes are kept.") from error
            time.sleep(0.5 * 2**breaks)
    part.replace(path)
    _marker(part).unlink(missing_ok=True)


def small(doing: str, url: str, path: Path, seconds: float) -> None:
    """Bring a file of modest size to `path`, whole or not at all.

    Raises:
        LmkError: Or one of its kinds, as `faults.call`; the file is a web page or came in half.
    """

    def request() -> None:
        with closing(requests.get(url, stream=True, timeout=seconds)) as response:
            response.raise_for_status()
            _check(doing, response)
            with atomic_path(path) as draft, draft.open("wb") as file:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)

    call(doing, request, tries=3)


def _open(response: requests.Response, part: Path, seconds: float) -> requests.Response:
    """The response that brings what `part` lacks; `part` is emptied if it is of another file."""
    identity = {"etag": response.headers.get("ETag"), "size": response.headers.get("Content-Length")}
    had = _size(part)
    if had and identity["etag"] and _identity(part) == identity and had <= int(identity["size"] or 0):
        response.close()
        asked = {"Range": f"bytes={had}-", "If-Range": identity["etag"]}
        if had == int(identity["size"] or 0):
            asked["Range"] = f"bytes={had - 1}-"  # nothing is lacking; a range needs a byte
        rest = requests.get(response.url, headers=asked, stream=True, timeout=seconds)
        if rest.status_code == 206:
            return rest
        rest.close()
        response = requests.get(response.url, stream=True, timeout=seconds)
        response.raise_for_status()
    part.unlink(missing_ok=True)
    write_json(_marker(part), identity)
    return response


def _check(doing: str, response: requests.Response) -> None:
    if "text/html" in response.headers.get("Content-Type", ""):
        raise RemoteError(f"Kaggle sent a web page in place of the file; lmk wanted to {doing}. Run it again later.")


def _write(doing: str, response: requests.Response, part: Path, progress: Progress) -> None:
    length = int(response.headers.get("Content-Length") or 0)
    begin = 0
    if response.status_code == 206:
        begin = int(response.headers["Content-Range"].removeprefix("bytes ").split("-")[0])
    total = begin + length
    with progress(doing.capitalize(), total // MEGABYTE, "MB") as advance, part.open("r+b" if begin else "wb") as file:
        file.seek(begin)
        done = begin
        advance(done // MEGABYTE)
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            advance((done + len(chunk)) // MEGABYTE - done // MEGABYTE)
            done += len(chunk)
    if length and done != total:
        raise requests.ConnectionError("The connection ended early.")


def _marker(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _identity(part: Path) -> object:
    try:
        return json.loads(_marker(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def check_space(folder: Path, needed: int, free: int) -> None:
    """Raise `LmkError` if `folder` lies on a disk with fewer than `needed` bytes `free`."""
    if needed > free:
        raise LmkError(
            f"{folder} needs {needed / 1e9:.1f} GB (the archive and what it holds), but {free / 1e9:.1f} GB are free. "
            "Make room, or name another disk by --workspace."
        )
