"""Slots of results that keep their own arrays, and values that are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Handle:
    """A `Slot` of a result that keeps its own arrays as it computes them, such as a store or trained networks."""

    share_missing: Callable[[], float]
    handle: Callable[[], Any]

    def missing(self) -> float:
        """Share of its arrays that is not stored."""
        return self.share_missing()

    def load(self) -> Any:
        """Reader of the arrays."""
        return self.handle()

    def save(self, result: Any) -> None:
        """Nothing: the arrays were stored as they were computed."""
