"""Keys of results: a digest of everything that a result depends on, computed once and forwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lmk.pipeline.code import code_digests
from lmk.util.files import digest_of


@dataclass(frozen=True, eq=False)
class Key:
    """Everything that a result depends on.

    Attributes:
        name: What is computed.
        facts: Settings, constants, and digests of files, as JSON values.
        needs: Digests of the keys of the results that it is computed from.
        code: Digest of each module that makes its numbers, by dotted name.
        identity: Digest of the same without any code: two keys of one identity differ in code alone, so that one is
            what an upgrade made stale of the other.
    """

    name: str
    facts: Mapping[str, object]
    needs: tuple[str, ...]
    code: Mapping[str, str]
    identity: str

    @classmethod
    def of(cls, name: str, facts: Mapping[str, object], needs: Sequence[Key] = (), code: Sequence[str] = ()) -> Key:
        """The key of a result computed from results with the keys `needs` by the modules `code`."""
        identity = digest_of({"name": name, "facts": dict(facts), "needs": [key.identity for key in needs]})
        return cls(name, facts, tuple(key.digest for key in needs), code_digests(code), identity)

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Key:
        """The key that `to_dict` gave.

        Raises:
            KeyError, TypeError: It is none.
        """
        return cls(
            str(values["name"]),
            dict(values["facts"]),
            tuple(map(str, values["needs"])),
            {str(module): str(digest) for module, digest in values["code"].items()},
            str(values["identity"]),
        )

    def to_dict(self) -> dict[str, object]:
        """JSON values, as they lie beside the result."""
        return {
            "name": self.name,
            "facts": dict(self.facts),
            "needs": list(self.needs),
            "code": dict(self.code),
            "identity": self.identity,
        }

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits that name the result."""
        return digest_of(self.to_dict())

    def part(self, name: object) -> Key:
        """The key of one part of the result, such as the network of one fold."""
        return Key(
            self.name,
            {**self.facts, "part": name},
            self.needs,
            self.code,
            digest_of({"identity": self.identity, "part": name}),
        )
