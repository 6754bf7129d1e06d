"""The cache of results: one file or folder a result, named by its key, whole or absent, checked when it is read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from lmk.local.evidence import Evidence
from lmk.pipeline.key import Key
from lmk.pipeline.results import Answers, Verified
from lmk.predictions import Predictions
from lmk.util.arrays import narrow
from lmk.util.checked import DamagedFile, seal, verify
from lmk.util.errors import LmkError
from lmk.util.files import NPZ_DAMAGE, atomic_path, digest_of_file, write_json
from lmk.util.workspace import Workspace

log = logging.getLogger(__name__)

Result = TypeVar("Result")
AnswersType = TypeVar("AnswersType", bound=Answers)


class Slot(Protocol[Result]):
    """Where one step's result is kept."""

    def missing(self) -> float:
        """Share of the result that is not stored: 0 where nothing has to be computed, 1 where nothing is there."""

    def load(self) -> Result:
        """The stored result.

        Raises:
            DamagedResult: A file is damaged; it has been removed, so that the step computes it anew.
        """

    def save(self, result: Result) -> None:
        """Keep a result, whole or not at all."""


class DamagedResult(LmkError):
    """A stored result that cannot be read; its files are removed."""


@dataclass(frozen=True)
class Files:
    """The sealed files of a result, and the record that names them: it is written last and makes the result stored."""

    folder: Path
    key: Key

    @property
    def base(self) -> str:
        """The beginning of the files' names: step and digest."""
        return f"{self.key.name.replace('/', '-')}-{self.key.digest}"

    @property
    def record(self) -> Path:
        """Key and endings of the files, as JSON."""
        return self.folder / f"{self.base}.json"

    def path(self, end: str) -> Path:
        """The file of that ending."""
        return self.folder / f"{self.base}.{end}"

    def seal(self, ends: Sequence[str]) -> None:
        """Seal files that are complete, and write the record last."""
        for end in ends:
            seal(self.path(end))
        write_json(self.record, {**self.key.to_dict(), "files": list(ends)})

    def verified(self) -> list[str]:
        """The endings of the files, each of which is as it was sealed.

        Raises:
            DamagedResult: A file is absent or changed.
            OSError: The machine failed, which says nothing about the files.
        """
        try:
            names = json.loads(self.record.read_text("utf-8"))["files"]
            ends = [str(end) for end in names]
            if isinstance(names, dict):
                self._adopt(names)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self.damaged(self.record, error) from error
        for end in ends:
            try:
                verify(self.path(end))
            except DamagedFile as damage:
                raise self.damaged(damage.path, damage.reason) from damage
        return ends

    def _adopt(self, sums: Mapping[str, str]) -> None:
        """Seal files whose digests stand in their record, as earlier versions left them.

        Raises:
            OSError, ValueError: A file is absent or not what the record says.
        """
        for end, known in sums.items():
            if digest_of_file(self.path(end)) != known:
                raise ValueError(f"{self.path(end).name} changed")
        self.seal(list(sums))

    def damaged(self, path: Path, why: object) -> DamagedResult:
        """Remove the record, so that the result counts as absent, and name the damage."""
        self.record.unlink(missing_ok=True)
        return DamagedResult(f"{path} was damaged ({why}); it is computed anew.")


@dataclass(frozen=True)
class AnswersSlot(Generic[AnswersType]):
    """Answers as two tables of predictions and one file of further arrays."""

    files: Files
    kind: type[AnswersType]

    def missing(self) -> float:
        """0 or 1."""
        return 0.0 if self.files.record.is_file() else 1.0

    def load(self) -> AnswersType:
        """The stored answers; raises as `Slot.load`."""
        self.files.verified()
        try:
            with np.load(self.files.path("npz"), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            dev, test = (Predictions.load(self.files.path(f"{part}.parquet")) for part in ("dev", "test"))
            return self.kind.of(dev, test, arrays)  # type: ignore[return-value]
        except (LmkError, *NPZ_DAMAGE) as error:
            raise self.files.damaged(self.files.path("npz"), error) from error

    def save(self, result: AnswersType) -> None:
        """Keep them; the record is written last."""
        result.dev.save(self.files.path("dev.parquet"))
        result.test.save(self.files.path("test.parquet"))
        with atomic_path(self.files.path("npz")) as draft, draft.open("wb") as file:
            np.savez(file, allow_pickle=False, **result.arrays())
        self.files.seal(["dev.parquet", "test.parquet", "npz"])


@dataclass(frozen=True)
class EvidenceSlot:
    """Evidence as one file a kind and part."""

    files: Files
    kinds: tuple[str, ...]

    def missing(self) -> float:
        """0 or 1."""
        return 0.0 if self.files.record.is_file() else 1.0

    def load(self) -> Verified:
        """The stored evidence; raises as `Slot.load`."""
        ends = self.files.verified()
        parts = dict.fromkeys(end.removesuffix(".npz").rpartition(".")[2] for end in ends)
        try:
            found = {
                part: {kind: Evidence.load(self.files.path(f"{kind}.{part}.npz")) for kind in self.kinds}
                for part in parts
            }
            context = tuple(found[f"context{place}"] for place in range(len(found) - 2))
            return Verified(found["dev"], found["test"], context)
        except (LmkError, KeyError) as error:
            raise self.files.damaged(self.files.record, error) from error

    def save(self, result: Verified) -> None:
        """Keep it; the record is written last. What is written does not tell which parts of a run came from a store."""
        ends = []
        for part, kinds in result.parts().items():
            for kind, evidence in kinds.items():
                ends.append(f"{kind}.{part}.npz")
                replace(evidence, ids=narrow(evidence.ids)).save(self.files.path(ends[-1]))
        self.files.seal(ends)


@dataclass(frozen=True)
class Cache:
    """The results in a workspace."""

    workspace: Workspace

    def answers(self, key: Key, kind: type[AnswersType]) -> AnswersSlot[AnswersType]:
        """Where answers are kept."""
        return AnswersSlot(Files(self.workspace.predictions, key), kind)

    def evidence(self, key: Key, kinds: tuple[str, ...]) -> EvidenceSlot:
        """Where evidence is kept."""
        return EvidenceSlot(Files(self.workspace.predictions, key), kinds)

    def stale(self, key: Key) -> Key | None:
        """The newest stored key that differs from `key` in its code alone; None if there is none."""
        found = [
            (path.stat().st_mtime, stored)
            for path, stored in self._stored(key.name)
            if stored.identity == key.identity and stored.digest != key.digest
        ]
        return max(found, key=lambda one: one[0])[1] if found else None

    def _stored(self, name: str) -> Iterator[tuple[Path, Key]]:
        """The keys of stored results of a step, with the files that hold them."""
        base = name.replace("/", "-")
        for path in (
            *self.workspace.predictions.glob(f"{base}-????????????.json"),
            *self.workspace.stores.glob(f"{base}-????????????/key.json"),
            *self.workspace.weights.glob(f"{base}-????????????.key.json"),
        ):
            key = read_key(path)
            if key is not None and key.name == name:
                yield path, key


def read_key(path: Path) -> Key | None:
    """The key in a file; None where it holds none, as those of earlier versions do."""
    try:
        values: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Key.of_dict(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.info("%s holds no key: %r.", path, error)
        return None
