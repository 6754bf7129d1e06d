"""Which process of how many this is, where several train one network together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from lmk.util.errors import LmkError, quoted

_ADDRESS = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True)
class Team:
    """Processes that train one network, on one machine or on many; each has all photos and a workspace of its own.

    Attributes:
        process: The number of this one, from 0; what the first stores decides for all.
        processes: How many there are.
        coordinator: Address of the first process, `HOST:PORT`, where the others find it.

    Raises:
        LmkError: There is no such process, or nothing says where the first one is, as `HOST:PORT`.
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
        if self.coordinator and not all(map(_ADDRESS.fullmatch, self.coordinator.split(","))):
            raise LmkError(f"--coordinator {quoted(self.coordinator)} is not HOST:PORT, such as 10.0.0.5:1234.")

    @property
    def first(self) -> str:
        """Address of the first process; Keras' variable may list those of all."""
        return (self.coordinator or "").partition(",")[0]

    @property
    def on_this_machine(self) -> bool:
        """Whether the coordinator's address can be reached from this machine alone."""
        host = self.first.rpartition(":")[0].strip("[]")
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False


ALONE = Team()
