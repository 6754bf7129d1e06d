"""One photo from one address: its bytes, or why there are none, in a few words; bounded in bytes, redirects and time.

Addresses come from tables that others made. Unless it is allowed, no connection is opened to an address of this
machine or of its private networks, whatever name or redirect leads there: a table must not reach a router's page or a
cloud's credentials. The check is made on the address that is connected to, so that a host cannot change it in between.
"""

import email.utils
import ipaddress
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import urllib3

from lmk import __version__
from lmk.util.deadline import WatchedHTTPConnection, WatchedHTTPSConnection, deadline, watch_connections
from lmk.util.errors import LmkError

CHUNK = 1 << 16
MOST_REDIRECTS = 5
LONGEST_PHRASE = 60
"""Characters of a server's words that are kept."""
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Answers of a server that may answer otherwise later."""
SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""Networks of special use that Python before 3.12.4 takes for public ones (IANA's registries; CVE-2024-4032)."""
UNICAST = ipaddress.ip_network("2000::/3")
"""All that IANA has given out of IPv6 for the internet; what lies outside carries IPv4 addresses or is special."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses whose last four bytes are an IPv4 address (RFC 6052)."""


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
    """Limits on one request: seconds of silence, seconds in all (redirects included), and megabytes of the body."""

    silence: float = 20.0
    seconds: float = 120.0
    megabytes: float = 64.0


def host_of(url: str) -> str:
    """The host that an address names, "" if it is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def agent(contact: str = "") -> str:
    """The User-Agent of all requests; `contact` is where an operator can reach the user.

    Raises:
        LmkError: A header cannot hold the contact.
    """
    if not (contact.isascii() and (contact.isprintable() or not contact)):
        raise LmkError(f"The contact {contact!r} must be printable ASCII: an e-mail address or the address of a page.")
    words = "landmark recognition; downloads the photos of a published list"
    return f"lmk/{__version__} ({words}{'; ' if contact else ''}{contact})"


def photo_pool(each_host: int, allow_private: bool = False, contact: str = "") -> urllib3.PoolManager:
    """Connections for `get`, at most `each_host` kept open to one host.

    allow_private: whether hosts of this machine and of private networks may be asked.
    """
    pool = urllib3.PoolManager(num_pools=256, maxsize=each_host, headers={"User-Agent": agent(contact)})
    if not allow_private:
        pool.pool_classes_by_scheme = {"http": PublicHTTPPool, "https": PublicHTTPSPool}
    return pool


def get(pool: urllib3.PoolManager, url: str, limits: Limits) -> bytes:
    """Content of an address; `pool` decides which hosts may be asked (`photo_pool`).

    Raises:
        NoPhoto: Whatever stood in the way.
    """
    if not _is_address(url):
        raise NoPhoto("no address of http or https")
    watch_connections(pool)
    end = time.monotonic() + limits.seconds
    with deadline(limits.seconds) as limit:
        try:
            data = _request(pool, url, limits, end)
        except urllib3.exceptions.HTTPError as error:
            if not limit.passed:
                raise _reason(error) from error
        except (UnicodeError, ValueError) as error:  # of addresses that only look like some
            raise NoPhoto("no address of http or https") from error
        except OSError as error:  # of a TLS connection that was cut off
            if not limit.passed:
                raise NoPhoto("connection broken", passing=True) from error
        if limit.passed:  # a body without a length seems to end where it was cut off
            raise _too_slow(limits)
    return data


def _request(pool: urllib3.PoolManager, url: str, limits: Limits, end: float) -> bytes:
    response = pool.request(
        "GET",
        url,
        headers={"User-Agent": agent(), "Accept": "image/*", **pool.headers},
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


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _body(response: urllib3.BaseHTTPResponse, limits: Limits, end: float) -> bytes:
    if response.status != 200:
        pause = _retry_after(response.headers.get("Retry-After", ""))
        phrase = "".join(letter if letter.isprintable() else "?" for letter in response.reason or "")
        raise NoPhoto(f"{response.status} {phrase[:LONGEST_PHRASE]}".strip(), response.status in PASSING, pause)
    most = int(limits.megabytes * 1e6)
    parts, size = [], 0
    for part in response.stream(CHUNK):
        parts.append(part)
        size += len(part)
        if size > most:
            raise NoPhoto(f"more than {limits.megabytes:g} MB")
        if time.monotonic() > end:
            raise _too_slow(limits)
    return b"".join(parts)


def _too_slow(limits: Limits) -> NoPhoto:
    return NoPhoto(f"too slow: {limits.seconds:g} s were not enough", passing=True)


def _retry_after(text: str) -> float:
    """Seconds from now, of a number or a date; 0 where it is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def _reason(error: urllib3.exceptions.HTTPError) -> NoPhoto:
    """urllib3's kinds of failure in words."""
    kinds: list[tuple[type[Exception], str, bool]] = [
        (PrivateHost, "address of this machine or a private network (--allow-private)", False),
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


# Which hosts may be asked


class PrivateHost(urllib3.exceptions.HTTPError):
    """A host has no address outside of this machine and its private networks."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet: not loopback, private, link-local, shared, multicast or reserved.

    IPv6 addresses that carry an IPv4 address (mapped, 6to4, Teredo, NAT64) are judged by that one, too.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner: list[ipaddress.IPv4Address | None] = []
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in NAT64:
            inner.append(ipaddress.IPv4Address(parsed.packed[-4:]))
        carried = [found for found in inner if found is not None]
        if carried:
            return all(map(_is_global, carried))
    return _is_global(parsed)


def _is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    special = any(address in network for network in SPECIAL if network.version == address.version)
    given = address.version == 4 or address in UNICAST
    return address.is_global and given and not address.is_multicast and not special


def public_addresses(host: str, port: int) -> list[str]:
    """The public IP addresses of a host.

    Raises:
        PrivateHost: It has none.
        socket.gaierror: There is no such host.
    """
    found = list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    public = [address for address in found if is_public(address)]
    if not public:
        raise PrivateHost(f"{host} is {', '.join(found)}")
    return public


class _Public:
    """A mixin for classes of connections: they go to public addresses alone."""

    _dns_host: str
    port: int

    def _new_conn(self) -> socket.socket:
        host = self._dns_host
        try:
            addresses = public_addresses(host, self.port)
        except UnicodeError as error:  # a label that is too long or empty
            raise urllib3.exceptions.LocationParseError(f"{host!r}, label empty or too long") from error
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(host, self, error) from error  # type: ignore[arg-type]
        try:
            for address in addresses:
                self._dns_host = address  # what is connected to is what was checked: the name is not looked up again
                try:
                    return super()._new_conn()  # type: ignore[misc]
                except urllib3.exceptions.HTTPError:
                    if address == addresses[-1]:
                        raise
        finally:
            self._dns_host = host  # for TLS, which checks the name
        raise ValueError("public_addresses gave none")


class _PublicHTTPConnection(_Public, WatchedHTTPConnection):
    pass


class _PublicHTTPSConnection(_Public, WatchedHTTPSConnection):
    pass


class PublicHTTPPool(urllib3.HTTPConnectionPool):
    """A pool whose connections go to public addresses alone."""

    ConnectionCls = _PublicHTTPConnection


class PublicHTTPSPool(urllib3.HTTPSConnectionPool):
    """As `PublicHTTPPool`, with TLS."""

    ConnectionCls = _PublicHTTPSConnection
