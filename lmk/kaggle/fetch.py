"""A competition's files: rules accepted, room on the disk, one archive, unpacked safely, done once."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import requests

from lmk.kaggle.api import Client
from lmk.kaggle.archive import unpack
from lmk.kaggle.download import check_space, download, length_of
from lmk.util.errors import LmkError, quoted
from lmk.util.files import alone_with, write_json
from lmk.util.progress import Progress, silent

MARKER = ".fetched.json"


@dataclass(frozen=True)
class Fetched:
    """A competition on the disk; `new` is whether this call brought it."""

    folder: Path
    files: int
    size: int
    new: bool


def already_fetched(folder: Path) -> Fetched | None:
    """Record of an earlier `fetch` that finished; None where none did, or where a file or folder of the archive's top
    is gone.

    Raises:
        LmkError: The file that says so is damaged.
    """
    try:
        values = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if not all((folder / str(name)).exists() for name in values.get("top", [])):
            return None
        return Fetched(folder, int(values["files"]), int(values["size"]), new=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LmkError(
            f"{folder / MARKER} cannot be read ({quoted(str(error))}). Remove it and fetch again."
        ) from error


def fetch(client: Client, slug: str, folder: Path, seconds: float, progress: Progress = silent) -> Fetched:
    """Bring all files of a competition into `folder`; broken off anywhere, the next call goes on.

    Args:
        client: Kaggle.
        slug: The competition.
        folder: Where its files go.
        seconds: Longest silence of Kaggle.
        progress: Called with megabytes, then with files.

    Raises:
        LmkError: Another process fetches it, the rules are not accepted, the slug is unknown, the disk is too small, or
            the archive is dangerous.
        RemoteError: Kaggle failed, or what it sent is damaged.
    """
    client.competition(slug)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone_with(folder):
        return _fetch(client, slug, folder, seconds, progress)


def _fetch(client: Client, slug: str, folder: Path, seconds: float, progress: Progress) -> Fetched:
    archive = folder.parent / f"{slug}.zip"
    if not archive.exists():

        def start() -> requests.Response:
            response = client.archive(slug)
            size = length_of(response) or 0
            part = archive.with_name(archive.name + ".part")
            had = part.stat().st_size if part.exists() else 0
            check_space(folder, 2 * size - had, shutil.disk_usage(folder.parent).free)
            return response

        download(f"download {slug}", start, archive, seconds, progress)
    size = archive.stat().st_size
    files = unpack(archive, folder, progress)
    top = sorted({name.split("/")[0] for name in files})
    write_json(folder / MARKER, {"slug": slug, "files": len(files), "size": size, "top": top})
    archive.unlink()
    return Fetched(folder, len(files), size, new=True)
