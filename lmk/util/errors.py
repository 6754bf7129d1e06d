"""Errors that a user can fix: one line that names the thing, what was found, and what to do."""

import difflib
import errno
from collections.abc import Iterable


class LmkError(Exception):
    """A mistake or a bad file; the command line shows its text as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(LmkError):
    """Arguments or options that do not go together, or a value that an option does not have."""

    exit_code = 2


class CredentialsError(LmkError):
    """No credentials, or credentials that the other side does not take."""

    exit_code = 3


class LimitError(LmkError):
    """A limit of the other side is reached: submissions a day, accelerator hours, requests."""

    exit_code = 4


class RemoteError(LmkError):
    """The other side failed, answered nonsense or did not answer in time."""

    exit_code = 5


class StoppedEarly(LmkError):
    """The run ended early because that was asked; the same command goes on (75 is EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


_MACHINE = frozenset(
    (
        *(errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EAGAIN, errno.EBUSY),
        *(errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO),
        *(errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET),
    )
)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error is one of the machine (memory, a disk or network that fails, rights), not of what a file holds.

    What cannot be read for such a reason may be read the next time, so it must not be remembered as damaged.
    """
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _MACHINE)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The question that follows a sentence about an unknown word, with a space before it; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def quoted(value: object, letters: int = 80) -> str:
    """A value from a file on one line of a message, cut where it is long: files from others may hold anything."""
    text = repr(value)
    return text if len(text) <= letters else f"{text[: letters - 4]}...{text[-1]}"


MOST_REASON = 200
"""Letters of a reason at the most: what an exception says may be any text of a damaged file."""


def reason_of(error: Exception) -> str:
    """What an exception says, for brackets in a message: on one line, and cut where it is long."""
    text = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return text if len(text) <= MOST_REASON and text.isprintable() else quoted(text, MOST_REASON)
