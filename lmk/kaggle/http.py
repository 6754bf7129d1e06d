"""Requests to Kaggle and its storage: each with a limit on silence, and connections that a deadline can cut off."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from requests.adapters import HTTPAdapter

from lmk.util.deadline import watch_connections

WHOLE = 10
"""A request whose answer has not ended after this many times the longest silence is cut off."""
SLOWEST_UPLOAD = 10_000
"""Bytes a second: how long an upload may take grows with the file."""


class TimedAdapter(HTTPAdapter):
    """Requests that name no time limit get one, of `seconds` without a byte."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        super().__init__()

    def init_poolmanager(self, *args, **options) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        watch_connections(self.poolmanager)

    def proxy_manager_for(self, *args, **options):
        """The pools of connections through a proxy."""
        manager = super().proxy_manager_for(*args, **options)
        watch_connections(manager)
        return manager

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        return super().send(request, stream, timeout or self.seconds, verify, cert, proxies)


def mount(session: requests.Session, seconds: float) -> None:
    """Let all requests of a session go through `TimedAdapter`."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, TimedAdapter(seconds))


@contextmanager
def opened(url: str, seconds: float, headers: dict[str, str] | None = None) -> Iterator[requests.Response]:
    """The streamed answer to a GET of bytes as they are stored, without credentials."""
    with requests.Session() as session:
        mount(session, seconds)
        with session.get(url, headers={"Accept-Encoding": "identity", **(headers or {})}, stream=True) as response:
            yield response
