"""Errors between here and Kaggle as lmk's errors: what happened, and what to do.

No text of an exception of requests, urllib3 or http.client goes into an error or a log: it may hold an address with a
signature, a proxy's password or a header with a token. Exceptions are named by their kind.
"""

import email.utils
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

import requests
import urllib3

from lmk.util.deadline import deadline
from lmk.util.errors import CredentialsError, LimitError, LmkError, RemoteError, quoted

T = TypeVar("T")

READ_TRIES = 4
"""How often a request that only reads is sent at the most."""
LONGEST_WAIT = 60.0
"""Seconds that a command waits because Kaggle asks it to; a longer wait is left to the person."""
FAILURES = (
    OSError,  # a RequestException is one
    ValueError,
    http.client.HTTPException,
    urllib3.exceptions.HTTPError,
    KeyError,  # these are what the package kaggle raises on an answer of another shape than it expects
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
)
"""Errors that a request may raise."""


class NoAnswer(RemoteError):
    """Kaggle did not answer, or not in a way that can be read: what was asked of it may have been done or not."""


class Refused(LmkError):
    """Kaggle answered 403: what was asked was not done."""


class ServerFault(RemoteError):
    """Kaggle answered that it failed (5xx)."""


def call(doing: str, request: Callable[[], T], tries: int = 1, seconds: float | None = None) -> T:
    """The answer to a request; a request that only reads may be tried several times.

    Args:
        doing: What the request does, for the error's text: "list the submissions of provence".
        request: Sends it; raises what `requests` raises.
        tries: How often it may be sent; waits grow from half a second, or are as long as Kaggle asks (Retry-After).
        seconds: Longest time of one try, from its beginning to its end, however busily the other side sends.

    Raises:
        LmkError: Or one of its kinds, by what went wrong.
    """
    for left in reversed(range(tries)):
        with deadline(seconds) as limit:
            try:
                return request()
            except FAILURES as error:
                if limit.passed:
                    raise NoAnswer(
                        f"Kaggle's answer did not end within {seconds:.0f} s; it was asked to {doing}. Run it again."
                    ) from error
                wait = _wait(error, 0.5 * 2 ** (tries - 1 - left))
                if not left or wait is None:
                    raise explain(doing, error) from error
        time.sleep(wait)
    raise ValueError("tries must be at least 1")


def explain(doing: str, error: Exception) -> LmkError:
    """The `LmkError` that says what `error` means for a person, without the exception's own text."""
    answer = _answer(error)
    if answer is not None and answer.status_code >= 400:
        return _refusal(doing, answer, error)
    if isinstance(error, (requests.Timeout, TimeoutError)) or "timed out" in str(error):
        return NoAnswer(f"Kaggle did not answer in time; it was asked to {doing}. Run the command again.")
    for kinds, kind, words in _KINDS:
        if isinstance(error, kinds):
            return kind(words.format(doing=doing))
    if isinstance(error, KeyError):
        return NoAnswer(
            f"Kaggle answered with a word that the package kaggle does not know ({quoted(error.args)}); lmk wanted to "
            f"{doing}. Run `pip install --upgrade kaggle`."
        )
    if is_of_the_disk(error):
        return LmkError(f"{getattr(error, 'filename', None) or 'input or output'}: {getattr(error, 'strerror', '')}.")
    return NoAnswer(
        f"Kaggle's answer cannot be read ({type(error).__name__}); it was asked to {doing}. Run it again later, or "
        "run `pip install --upgrade kaggle`."
    )


_KINDS: list[tuple[type[Exception] | tuple[type[Exception], ...], type[LmkError], str]] = [
    (
        requests.exceptions.ProxyError,
        RemoteError,
        "The proxy that HTTPS_PROXY or HTTP_PROXY names does not answer or refuses, so lmk did not {doing}.",
    ),
    (
        requests.exceptions.InvalidProxyURL,
        LmkError,
        "HTTPS_PROXY or HTTP_PROXY is not the address of a proxy, so lmk did not {doing}. Set it right, or remove it.",
    ),
    (
        requests.exceptions.SSLError,
        RemoteError,
        "Kaggle's certificate is not trusted here, so lmk did not {doing}.",
    ),
    (
        (json.JSONDecodeError, requests.exceptions.InvalidJSONError),
        NoAnswer,
        "Kaggle answered with a page in place of data; it was asked to {doing}. Run it again later.",
    ),
    (
        requests.TooManyRedirects,
        NoAnswer,
        "Kaggle redirected in a circle; it was asked to {doing}. Run it again later.",
    ),
    (
        (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL, requests.exceptions.MissingSchema),
        NoAnswer,
        "Kaggle redirected to what is not the address of a web page; it was asked to {doing}. Run it again later.",
    ),
    (
        (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, http.client.HTTPException),
        NoAnswer,
        "The connection to Kaggle failed or broke while it was asked to {doing}. Run it again.",
    ),
]
"""Kinds of failure, the narrow ones first, with the error of each and its words."""


def is_of_the_disk(error: Exception) -> bool:
    """Whether an error of the operating system comes from a file of this machine, not from a connection."""
    of_a_connection = (requests.RequestException, ConnectionError, TimeoutError, ssl.SSLError, socket.gaierror)
    return isinstance(error, OSError) and not isinstance(error, of_a_connection)


def retry_after(answer: requests.Response) -> float | None:
    """Seconds that the answer asks to wait, from a number or a date; None where it asks nothing."""
    asked = answer.headers.get("Retry-After")
    if asked is None:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _answer(error: BaseException | None) -> requests.Response | None:
    """The response behind an error; the official client hides some behind a ValueError of its own."""
    for _ in range(10):  # causes may lead in a circle
        if error is None:
            break
        response = getattr(error, "response", None)
        if isinstance(response, requests.Response):
            return response
        error = error.__cause__ or error.__context__
    return None


def _wait(error: Exception, default: float) -> float | None:
    """Seconds until the request may be sent again; None where that is of no use."""
    answer = _answer(error)
    if answer is None or answer.status_code < 400:
        broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        return default if isinstance(error, broken) else None
    if answer.status_code == 429 or answer.status_code >= 500:
        asked = retry_after(answer)
        wait = default if asked is None else asked
        return wait if wait <= LONGEST_WAIT else None
    return None


def _refusal(doing: str, answer: requests.Response, error: Exception) -> LmkError:
    status, said = answer.status_code, _said(answer)
    if status == 401:
        return CredentialsError(
            f"Kaggle does not take the credentials (401); it was asked to {doing}. They may be expired or revoked: "
            "make a new token at https://www.kaggle.com/settings."
        )
    if status == 403:
        return Refused(f"Kaggle does not let this account {doing} (403{said}).")
    if status == 404:
        return LmkError(f"Kaggle knows nothing of that name (404{said}); it was asked to {doing}.")
    if status == 429:
        asked = retry_after(answer)
        when = "later" if asked is None else f"in {asked:.0f} s"
        return LimitError(f"Kaggle asks for fewer requests (429); it was asked to {doing}. Run it again {when}.")
    if status >= 500:
        return ServerFault(f"Kaggle failed ({status}{said}); it was asked to {doing}. Run it again later.")
    return LmkError(f"Kaggle refused to {doing} ({status}{said}).")


def _said(answer: requests.Response) -> str:
    """Kaggle's own words, where it gave some as data."""
    if "json" not in answer.headers.get("Content-Type", ""):
        return ""
    try:
        message = answer.json().get("message")
    except (ValueError, AttributeError):
        return ""
    return f": {str(message).strip().rstrip('.')[:300]}" if message else ""
