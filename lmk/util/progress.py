"""How a long stage tells how far it is, without knowing who listens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """`with progress("Reading photos", 1200, "photos") as advance: ... advance(32)`."""

    def __call__(self, label: str, total: int, unit: str) -> AbstractContextManager[Advance]: ...


@contextmanager
def silent(label: str, total: int, unit: str) -> Iterator[Advance]:
    """The `Progress` that tells nobody."""
    yield lambda count: None
