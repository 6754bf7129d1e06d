"""One photo from one address: its bytes, or why there are none, in a few words; bounded in bytes, hops and time."""

import email.utils
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import urllib3

from lmk import __version__

AGENT = f"lmk/{__version__} (landmark recognition; downloads the photos of a published list)"
CHUNK = 1 << 16
MOST_REDIRECTS = 5
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Answers of a server that may answer otherwise later."""


class NoPhoto(Exception):
    """Why an address gave nothing.

    Attributes:
        reason: In a few words.
        passing: Whether another try may help.
        pause: Seconds that the server asked to be left alone.
    """

    def __init__(self, reason: str, passing: bool = False, pause: float = 0.0):
        super().__init__(reason)
        self.reason, self.passing, self.pause = reason, passing, pause


@dataclass(frozen=True)
class Limits:
    """Of one request: seconds of silence, seconds in all, and bytes."""

    silence: float = 20.0
    seconds: float = 120.0
    megabytes: float = 64.0


def host_of(url: str) -> str:
    """The host that an address names, "" if it is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def get(pool: urllib3.PoolManager, url: str, limits: Limits) -> bytes:
    """What an address holds.

    Raises:
        NoPhoto: Whatever stood in the way.
    """
    end = time.monotonic() + limits.seconds
    if not _is_address(url):
        raise NoPhoto("no address of http or https")
    try:
        response = pool.request(
            "GET",
            url,
            headers={"User-Agent": AGENT, "Accept": "image/*"},
            preload_content=False,
            timeout=urllib3.Timeout(connect=limits.silence, read=limits.silence),
            retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=MOST_REDIRECTS),
        )
        try:
            return _body(response, limits, end)
        except BaseException:
            response.close()  # what is left of the body is not waited for
            raise
        finally:
            response.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise _reason(error) from error
    except (UnicodeError, ValueError) as error:  # of addresses that only look like some
        raise NoPhoto("no address of http or https") from error


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _body(response: urllib3.BaseHTTPResponse, limits: Limits, end: float) -> bytes:
    if response.status != 200:
        pause = _retry_after(response.headers.get("Retry-After", ""))
        raise NoPhoto(f"{response.status} {response.reason or ''}".strip(), response.status in PASSING, pause)
    most = int(limits.megabytes * 1e6)
    parts, size = [], 0
    for part in response.stream(CHUNK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise NoPhoto(f"more than {limits.megabytes:g} MB")
        if time.monotonic() > end:
            raise NoPhoto(f"too slow: {limits.seconds:g} s were not enough", passing=True)
    return b"".join(parts)


def _retry_after(text: str) -> float:
    """Seconds from now, of a number or a date; 0 where it is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _reason(error: urllib3.exceptions.HTTPError) -> NoPhoto:
    """urllib3's kinds of failure in words."""
    kinds: list[tuple[type[Exception], str, bool]] = [
        (urllib3.exceptions.NameResolutionError, "no such host", False),
        (urllib3.exceptions.NewConnectionError, "connection refused", True),  # which is a ConnectTimeoutError
        (urllib3.exceptions.ConnectTimeoutError, "no connection in time", True),
        (urllib3.exceptions.TimeoutError, "no answer in time", True),
        (urllib3.exceptions.SSLError, "no valid certificate", False),
        (urllib3.exceptions.LocationValueError, "no address of http or https", False),
        (urllib3.exceptions.IncompleteRead, "cut short", True),
        (urllib3.exceptions.ProtocolError, "connection broken", True),
    ]
    if isinstance(error, urllib3.exceptions.MaxRetryError):
        if isinstance(error.reason, urllib3.exceptions.ResponseError):
            return NoPhoto("redirected too often")
        if isinstance(error.reason, urllib3.exceptions.HTTPError):
            return _reason(error.reason)
    if isinstance(error, urllib3.exceptions.ProtocolError) and any(
        isinstance(cause, urllib3.exceptions.IncompleteRead) for cause in (error, *error.args)
    ):
        return NoPhoto("cut short", passing=True)
    for kind, words, passing in kinds:
        if isinstance(error, kind):
            return NoPhoto(words, passing)
    return NoPhoto(f"no answer ({type(error).__name__})")
