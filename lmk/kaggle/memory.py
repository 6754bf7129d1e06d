"""Submissions of one user from this machine, whatever the folder of records; and one submission at a time.

Records lie beside the code, so a second folder or terminal knows nothing of the first one's. Kaggle's own list shows a
submission only after a while, and a lost answer leaves it in doubt; so what is sent is also remembered, by its SHA-256,
in the user's folder of state, under a lock that all of the user's commands share.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import platformdirs

from lmk.kaggle.records import moment, waiting_lock
from lmk.util.files import write_json

MOST_ENTRIES = 10_000
"""The newest are kept."""


@dataclass(frozen=True)
class Sent:
    """One file that was sent.

    Attributes:
        account: Whose submission it is: the address of a stand-in for Kaggle, if any, and the user's name.
        digest: SHA-256 of the file.
        sent: When, ISO 8601 in UTC.
        ref: Kaggle's number; None while it is not known whether the file arrived.
        records: The folder of records of the command that sent it.
    """

    account: str
    competition: str
    digest: str
    file: str
    size: int
    sent: str
    ref: int | None
    records: str


def state_folder() -> Path:
    """The user's folder of lmk's state (`XDG_STATE_HOME`, else ~/.local/state on Linux)."""
    return platformdirs.user_state_path("lmk", appauthor=False)


class Memory:
    """The user's memory of what was sent; call its methods under `locked`.

    Where the folder cannot be written (a home that is read-only), nothing is remembered, and `tell` is called with a
    line that says so: Kaggle's list and the folder of records still guard against sending twice.
    """

    def __init__(self, tell: Callable[[str], None], folder: Path | None = None):
        self._path = (folder or state_folder()) / "sent.json"
        self._tell = tell

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One submission at a time: another command of this user that submits waits for this one."""
        with ExitStack() as held:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(waiting_lock(self._path.with_name("submit.lock"), self._tell))
            except OSError as error:
                self._tell(
                    f"{self._path.parent} cannot be written ({error.strerror}): what is sent is not remembered there."
                )
            yield

    def find(self, account: str, competition: str, digest: str) -> list[Sent]:
        """Submissions of this content, oldest first."""
        wanted = (account, competition, digest)
        return [entry for entry in self._all() if (entry.account, entry.competition, entry.digest) == wanted]

    def put(self, entry: Sent) -> None:
        """Remember a file, in the place of what is known of the same sending."""
        self._write([*(other for other in self._all() if not _same(other, entry)), entry])

    def forget(self, entry: Sent) -> None:
        """Forget a file that did not arrive."""
        self._write([other for other in self._all() if not _same(other, entry)])

    def _all(self) -> list[Sent]:
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            entries = [Sent(**{field.name: value[field.name] for field in fields(Sent)}) for value in values]
            if not all(map(_is_sound, entries)):
                raise ValueError("a value of another type")
            return entries
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            aside = self._path.with_name(f"sent-damaged-{int(time.time())}.json")
            try:
                self._path.replace(aside)
                self._tell(
                    f"{self._path} was damaged and lies now in {aside.name}; Kaggle's own list is asked all the same."
                )
            except OSError:
                self._tell(f"{self._path} cannot be read; Kaggle's own list is asked all the same.")
            return []

    def _write(self, entries: list[Sent]) -> None:
        try:
            write_json(self._path, [asdict(entry) for entry in entries[-MOST_ENTRIES:]])
        except OSError as error:
            self._tell(f"{self._path} cannot be written ({error.strerror}): this submission is not remembered there.")


def _same(one: Sent, other: Sent) -> bool:
    return (one.account, one.competition, one.digest, one.sent) == (
        other.account,
        other.competition,
        other.digest,
        other.sent,
    )


def _is_sound(entry: Sent) -> bool:
    """Whether all values are of their types; raises what `moment` raises."""
    moment(entry.sent)
    texts = (entry.account, entry.competition, entry.digest, entry.file, entry.sent, entry.records)
    numbers = (entry.size, 0 if entry.ref is None else entry.ref)
    return all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
