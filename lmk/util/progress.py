"""How a long stage reports how far it is, whoever shows it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """`with progress("Reading photos", 1200, "photos") as advance: ... advance(32)`.

    What is counted without a unit takes unlike times: neither a rate nor a time left is shown of it.
    """

    def __call__(self, label: str, total: int, unit: str) -> AbstractContextManager[Advance]: ...


@contextmanager
def silent(label: str, total: int, unit: str) -> Iterator[Advance]:
    """The `Progress` that nobody sees."""
    yield lambda count: None


_pieces: list[Advance] = []
_lock = threading.Lock()


@contextmanager
def piece(advance: Advance, count: int) -> Iterator[None]:
    """Report `count` units while the block computes them as one piece, such as a shard: those that it names by
    `advance_within` as they are done, the rest when it ends well."""
    left = count

    def within(done: int) -> None:
        nonlocal left
        done = min(done, left)
        left -= done
        advance(done)

    _pieces.append(within)
    try:
        yield
    finally:
        _pieces.remove(within)
    advance(left)


def advance_within(count: int) -> None:
    """Report `count` finished units of the piece that is computed now, from any thread; nothing happens outside of one.

    Pieces are stored whole, and one may take minutes: the user should see it move.
    """
    with _lock:
        if _pieces:
            _pieces[-1](count)
