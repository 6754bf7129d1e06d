"""Which process of how many this is, where several train one network together."""

from __future__ import annotations

from dataclasses import dataclass

from lmk.util.errors import LmkError


@dataclass(frozen=True)
class Team:
    """Processes that train one network, on one machine or on many; each has all photos and a workspace of its own.

    Attributes:
        process: The number of this one, from 0; what the first stores decides for all.
        processes: How many there are.
        coordinator: Address of the first process, `HOST:PORT`, where the others find it.

    Raises:
        LmkError: There is no such process, or nothing says where the first one is.
    """

    process: int = 0
    processes: int = 1
    coordinator: str | None = None

    def __post_init__(self) -> None:
        if self.process >= self.processes:
            raise LmkError(
                f"--process {self.process} of --processes {self.processes}: they count from 0 to {self.processes - 1}."
            )
        if self.processes > 1 and not self.coordinator:
            raise LmkError("--processes needs --coordinator HOST:PORT, the same for all: where the first one is found.")


ALONE = Team()
