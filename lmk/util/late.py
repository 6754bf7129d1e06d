"""Functions named by module and name, which are imported when they are first called."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Late:
    """A function of a module that takes long to import, for registries that help pages and completion read.

    Attributes:
        path: `module:function`.
    """

    path: str

    @property
    def module(self) -> str:
        """Dotted name of the module."""
        return self.path.partition(":")[0]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The function's result."""
        return getattr(import_module(self.module), self.path.partition(":")[2])(*arguments, **named)
