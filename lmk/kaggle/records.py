"""The record of submissions: one folder each, with the CSV as sent and what made it; read without the network."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

from filelock import FileLock, Timeout

from lmk.util.errors import LmkError, quoted
from lmk.util.files import atomic_path, write_json

FOLDER = Path("submissions")
"""Where records lie unless said otherwise: `records_folder` says which folder of that name."""

PATIENCE = 1.0
"""Seconds after which a command that waits for another one says so."""

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
        """Mark of this file in the description that Kaggle keeps."""
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
        self.damaged: list[str] = []
        """Faults of the records that the last `all` could not read, a line each."""

    @contextmanager
    def locked(self, tell: Callable[[str], None] = lambda line: None) -> Iterator[None]:
        """One command at a time that changes records: another one waits for this one, and says so by `tell`."""
        self.root.mkdir(parents=True, exist_ok=True)
        with waiting_lock(self.root / ".lock", tell):
            yield

    def all(self, competition: str | None = None) -> list[Record]:
        """The records that can be read, oldest first; `damaged` names the others."""
        found, self.damaged = [], []
        for path in sorted(self.root.glob("*/record.json")):
            try:
                found.append(_read(path))
            except LmkError as error:
                self.damaged.append(str(error))
        chosen = [record for record in found if competition in (None, record.competition)]
        return sorted(chosen, key=lambda record: moment(record.sent))

    def folder(self, record: Record) -> Path:
        """Where a record lies: competition, time and digest."""
        return self.root / f"{record.competition}-{moment(record.sent):%Y%m%d-%H%M%S}-{record.digest[:10]}"

    def reserve(self, record: Record) -> None:
        """Give a new record a folder of its own: two of one file within a second get seconds of their own."""
        while self.folder(record).exists():
            record.sent = _text(moment(record.sent) + timedelta(seconds=1))

    def save(self, record: Record, csv: Path | None = None) -> None:
        """Write a record, and beside it the CSV if one is given; each whole or not at all.

        Raises:
            LmkError: The folder cannot be written; says whether the file was sent by then.
        """
        folder = self.folder(record)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if csv is not None:
                with atomic_path(folder / "submission.csv") as draft:
                    shutil.copyfile(csv, draft)
            write_json(folder / "record.json", asdict(record))
        except OSError as error:
            sent = f"was sent as submission {record.ref}" if record.ref else "is not sent"
            raise LmkError(f"{folder} cannot be written ({error.strerror}); {record.file} {sent}.") from error

    def remove(self, record: Record) -> None:
        """Forget a submission that Kaggle refused."""
        shutil.rmtree(self.folder(record), ignore_errors=True)


@contextmanager
def waiting_lock(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the file `path` while the block runs; who has to wait for it says so after `PATIENCE`.

    Raises:
        OSError: The file cannot be made.
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        tell("Another lmk submits; waiting until it has ended.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _read(path: Path) -> Record:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {entry.name for entry in fields(Record)}
        record = Record(**{name: values[name] for name in values if name in known})
        _check(record)
        return record
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise LmkError(f"{path} is no record of a submission ({quoted(str(error))}). Fix or remove it.") from error


def _check(record: Record) -> None:
    """Refuse a record with values that no record has.

    Raises:
        ValueError: Names the field.
    """
    moment(record.sent)
    for entry in fields(Record):
        value, kind = getattr(record, entry.name), str(entry.type)
        if kind == "float | None" and value is not None and not _is_number(value):
            raise ValueError(f"`{entry.name}` is no number")
        if kind == "str" and not isinstance(value, str):
            raise ValueError(f"`{entry.name}` is no text")
        if kind.startswith("int") and type(value) is not int and not (value is None and kind == "int | None"):
            raise ValueError(f"`{entry.name}` is no integer")
        if kind.startswith("list") and not (isinstance(value, list) and all(isinstance(word, str) for word in value)):
            raise ValueError(f"`{entry.name}` is no list of texts")
        if kind.startswith("dict") and not isinstance(value, dict):
            raise ValueError(f"`{entry.name}` is no object")
    if not all(map(_is_number, record.dev.values())):
        raise ValueError("`dev` holds what is no number")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def moment(text: str) -> datetime:
    """A time of a record; one without a time zone is in UTC.

    Raises:
        ValueError: It is no time in ISO 8601.
        TypeError: It is no text.
    """
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


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


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a submission depends on."""
    found = {"python": platform.python_version()}
    for name in ("lmk", "kaggle", "keras", "numpy", "tensorflow", "opencv-python-headless"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


GIT = (
    *("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "safe.bareRepository=explicit", "-c", "protocol.allow=never"),
)
"""git without the programs that a repository's own settings may name: the folder may have come from elsewhere."""


def git_state(folder: Path | None = None) -> dict[str, str | bool]:
    """Commit, branch and whether tracked files were changed, of the folder's repository; empty where there is none.

    Whether files were changed is left out where the repository's own settings name filters, which `git status` runs.
    """

    def git(*words: str, check: bool = True) -> str:
        command = [*GIT, "-C", str(folder or Path.cwd()), *words]
        environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run(
            command, capture_output=True, check=check, timeout=20, env=environment, stdin=subprocess.DEVNULL
        )
        return done.stdout.decode(errors="replace").strip()

    try:
        found: dict[str, str | bool] = {
            "commit": git("rev-parse", "HEAD"),
            "branch": git("rev-parse", "--abbrev-ref", "HEAD"),
        }
        own = [
            git("config", f"--{place}", "--includes", "--name-only", "--get-regexp", "^filter", check=False)
            for place in ("local", "worktree")
        ]
        if not any(own):
            status = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
            found["changed"] = bool(git(*status))
        return found
    except (OSError, subprocess.SubprocessError):
        return {}
