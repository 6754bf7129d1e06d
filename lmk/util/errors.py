"""Errors that a user can correct: one line that names the thing, what was found, and what to do."""

import difflib
from collections.abc import Iterable


class LmkError(Exception):
    """A mistake or a bad file; the command line shows its text as one line and exits with `exit_code`."""

    exit_code = 1


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The question that follows a sentence about an unknown word, with a space before it; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def quoted(value: object, letters: int = 80) -> str:
    """A value from a file on one line of a message, cut where it is long: files from others may hold anything."""
    text = repr(value)
    return text if len(text) <= letters else f"{text[: letters - 4]}...{text[-1]}"
