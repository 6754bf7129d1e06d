"""Deadlines on whole requests: one that has not ended in time is cut off, whatever the server still sends.

The time-outs of sockets limit the silence between two bytes. A server that sends one byte a second, or `100 Continue`
for ever, is never silent; so a timer shuts down the sockets of a request whose time is up, and the read that waits on
one of them returns at once.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class Deadline:
    """The time limit of what one thread asks for; `passed` tells whether it was cut off."""

    def __init__(self) -> None:
        self.passed = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def watch(self, sock: socket.socket) -> None:
        """Cut off this socket, too, when the time is up."""
        with self._lock:
            self._sockets.append(sock)
            if self.passed:
                _shut(sock)

    def expire(self) -> None:
        """Cut off all sockets, and those that are still to come."""
        with self._lock:
            self.passed = True
            for sock in self._sockets:
                _shut(sock)

    def end(self) -> None:
        """Let go of the sockets: the connections may serve other requests."""
        with self._lock:
            self._sockets.clear()


_of_thread = threading.local()


@contextmanager
def deadline(seconds: float | None) -> Iterator[Deadline]:
    """Limit to `seconds` what this thread asks for inside the block; None sets no limit.

    Only connections of pools that went through `watch_connections` are cut off. Looking up a host's address is left to
    the time limits of the system's resolver.
    """
    limit, before = Deadline(), getattr(_of_thread, "limit", None)
    timer = threading.Timer(seconds, limit.expire) if seconds is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    _of_thread.limit = limit
    try:
        yield limit
    finally:
        _of_thread.limit = before
        if timer is not None:
            timer.cancel()
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


class WatchedHTTPSConnection(HTTPSConnection):
    """As `WatchedHTTPConnection`, with TLS; the handshake is watched, too."""

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        _watch(sock)
        return sock

    def putrequest(self, *args, **options) -> None:
        """Begin a request, on a connection that an earlier one may have left open."""
        _watch(self.sock)
        super().putrequest(*args, **options)


class WatchedHTTPPool(urllib3.HTTPConnectionPool):
    """A pool of `WatchedHTTPConnection`."""

    ConnectionCls = WatchedHTTPConnection


class WatchedHTTPSPool(urllib3.HTTPSConnectionPool):
    """A pool of `WatchedHTTPSConnection`."""

    ConnectionCls = WatchedHTTPSConnection
