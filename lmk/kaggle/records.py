"""The record of submissions: one folder each, with the CSV as sent and what made it; read without the network."""

from __future__ import annotations

import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

from lmk.util.errors import LmkError
from lmk.util.files import write_json

FOLDER = Path("submissions")
"""Where records lie unless told otherwise: `records_folder` says which folder of that name."""

UPLOADING = "uploading"
"""Nothing is submitted yet."""
UNCONFIRMED = "unconfirmed"
"""Sent, but Kaggle did not say whether it arrived; the next call looks and never sends blindly."""


@dataclass
class Record:
    """One submission. `status`: uploading, unconfirmed, pending, complete or error.

    Attributes:
        digest: SHA-256 of the CSV, or of `KERNEL/VERSION/OUTPUT` of a code submission.
        sent: When, ISO 8601 in UTC.
        ref: Kaggle's number.
        run: Name of the run that made the CSV, "" if it is not known.
        stage: Whose predictions it holds: `fused`, `ensemble` or a recipe; `models` are the recipes, `parents` what an
            ensemble blends, by stage and digest.
        dev: GAP on dev with its interval: `gap`, `low`, `high`; empty if it is not known.
        kernel: "owner/slug/version" of a code submission.
    """

    competition: str
    message: str
    file: str
    size: int
    digest: str
    sent: str
    status: str = UPLOADING
    ref: int | None = None
    public: float | None = None
    private: float | None = None
    error: str = ""
    run: str = ""
    stage: str = ""
    models: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    dev: dict[str, float] = field(default_factory=dict)
    kernel: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    git: dict[str, str | bool] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """What marks this file in the description that Kaggle keeps."""
        return f"[lmk {self.digest[:10]}]"

    @property
    def description(self) -> str:
        """The message with the file's tag, as Kaggle keeps it."""
        return f"{self.message} {self.tag}".strip()


def records_folder(start: Path | None = None) -> Path:
    """`submissions` of the checkout that holds `start`, the working directory if None, so that records can be committed
    wherever in it one stands: the nearest folder upwards that has a README.md. Outside of a checkout: `submissions`.
    """
    here = Path.cwd() if start is None else start
    for folder in (here, *here.parents):
        if (folder / FOLDER / "README.md").is_file():
            return FOLDER if folder == here else folder / FOLDER
    return FOLDER if start is None else here / FOLDER


class Records:
    """The folder of records."""

    def __init__(self, root: Path = FOLDER):
        """`root`: The folder; `FOLDER` stands for `records_folder()`."""
        self.root = records_folder() if root == FOLDER else root

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One submission at a time: another process that submits waits for this one."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def all(self, competition: str | None = None) -> list[Record]:
        """The records, oldest first.

        Raises:
            LmkError: A record cannot be read.
        """
        found = [_read(path) for path in self.root.glob("*/record.json")]
        chosen = [record for record in found if competition in (None, record.competition)]
        return sorted(chosen, key=lambda record: record.sent)

    def folder(self, record: Record) -> Path:
        """Where a record lies: competition, time and digest."""
        moment = record.sent.replace("-", "").replace(":", "").replace("T", "-")[:15]
        return self.root / f"{record.competition}-{moment}-{record.digest[:10]}"

    def reserve(self, record: Record) -> None:
        """Give a new record a folder of its own: two of one file within a second get seconds of their own."""
        while self.folder(record).exists():
            record.sent = _text(datetime.fromisoformat(record.sent) + timedelta(seconds=1))

    def save(self, record: Record, csv: Path | None = None) -> None:
        """Write a record, and beside it the CSV if one is given; each whole or not at all."""
        folder = self.folder(record)
        folder.mkdir(parents=True, exist_ok=True)
        if csv is not None:
            shutil.copyfile(csv, folder / "submission.csv")
        write_json(folder / "record.json", asdict(record))

    def remove(self, record: Record) -> None:
        """Forget a submission that Kaggle refused."""
        shutil.rmtree(self.folder(record), ignore_errors=True)


def _read(path: Path) -> Record:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {entry.name for entry in fields(Record)}
        return Record(**{name: values[name] for name in values if name in known})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LmkError(f"{path} is no record of a submission ({error}). Mend or remove it.") from error


def digest_of_csv(path: Path) -> str:
    """SHA-256 of a file, all 64 digits."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LmkError(f"{path} cannot be read: {error.strerror}.") from error


def now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return _text(datetime.now(UTC))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a submission depends on."""
    found = {"python": platform.python_version()}
    for name in ("lmk", "kaggle", "keras", "numpy", "tensorflow", "opencv-python-headless"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path | None = None) -> dict[str, str | bool]:
    """Commit, branch and whether tracked files were changed, of the folder's repository; empty where there is none."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder or Path.cwd()), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "branch": git("rev-parse", "--abbrev-ref", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return {}
