"""Deadlines on whole requests: one that has not ended in time is cut off, whatever the server still sends.

The time-outs of sockets limit the silence between two bytes. A server that sends one byte a second, or `100 Continue`
for ever, is never silent; so a timer shuts down the sockets of a request whose time is up, and the read that waits on
one of them returns at once.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class Deadline:
    """The time limit of what one thread asks for; `passed` says whether it was cut off."""

    def __init__(self, seconds: float | None, outer: "Deadline | None" = None):
        """outer: the limit around this one, which watches the same sockets."""
        self.passed = False
        self._outer = outer
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        if seconds is not None:
            self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """Let the limit pass `seconds` from now, in place of when it would have passed."""
        with self._lock:
            self._until = time.monotonic() + seconds
            if self._timer is None:
                self._start(seconds)

    def watch(self, sock: socket.socket) -> None:
        """Cut off this socket, too, when the time is up."""
        with self._lock:
            self._sockets.append(sock)
            if self.passed:
                _shut(sock)
        if self._outer is not None:
            self._outer.watch(sock)

    def end(self) -> None:
        """Let go of the sockets: their connections may serve other requests."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._sockets.clear()

    def _start(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        with self._lock:
            left = self._until - time.monotonic()
            if left > 0:  # it was extended meanwhile
                self._start(left)
                return
            self.passed = True
            for sock in self._sockets:
                _shut(sock)


_of_thread = threading.local()


@contextmanager
def deadline(seconds: float | None) -> Iterator[Deadline]:
    """Limit to `seconds` what this thread asks for inside the block; None sets no limit.

    Only connections of pools that went through `watch_connections` are cut off. Looking up a host's address is left to
    the time limits of the system's resolver.
    """
    before = getattr(_of_thread, "limit", None)
    limit = Deadline(seconds, before)
    _of_thread.limit = limit
    try:
        yield limit
    finally:
        _of_thread.limit = before
        limit.end()


def watch_connections(pools: urllib3.PoolManager) -> None:
    """Let `deadline` cut off what `pools` connect to from now on; pools with classes of their own keep them."""
    if pools.pool_classes_by_scheme is urllib3.poolmanager.pool_classes_by_scheme:
        pools.pool_classes_by_scheme = {"http": WatchedHTTPPool, "https": WatchedHTTPSPool}


def _watch(sock: socket.socket | None) -> None:
    limit = getattr(_of_thread, "limit", None)
    if limit is not None and sock is not None:
        limit.watch(sock)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # SSLSocket's own would change an object that a read uses


class WatchedHTTPConnection(HTTPConnection):
    """A connection that `deadline` can cut off."""

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        _watch(sock)
        return sock

    def putrequest(self, *args, **options) -> None:
        """Begin a request, on a connection that an earlier one may have left open."""
        _watch(self.sock)
        super().putrequest(*args, **options)


class WatchedHTTPSConnection(WatchedHTTPConnection, HTTPSConnection):
    """As `WatchedHTTPConnection`, with TLS; the handshake is watched, too."""


class WatchedHTTPPool(urllib3.HTTPConnectionPool):
    """A pool of `WatchedHTTPConnection`."""

    ConnectionCls = WatchedHTTPConnection


class WatchedHTTPSPool(urllib3.HTTPSConnectionPool):
    """A pool of `WatchedHTTPSConnection`."""

    ConnectionCls = WatchedHTTPSConnection
