"""Where data, stores, weights, runs and submissions lie."""

import json
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lmk.util.errors import LmkError, quoted
from lmk.util.files import alone_in, write_json

Library = tuple[str, str]
"""Library that computed a result of a network: Keras' version, and its backend."""


@dataclass(frozen=True)
class Workspace:
    """One folder for all that lmk computes; every part of it can be removed and is then computed anew."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> "Workspace":
        """Make the folder where it is absent.

        Raises:
            LmkError: The folder cannot be made or written to.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LmkError(
                f"The workspace {root} cannot be made: {error.strerror}. Name another by --workspace."
            ) from error
        if not os.access(root, os.W_OK):
            raise LmkError(f"The workspace {root} cannot be written to. Name another by --workspace.")
        return cls(root)

    def alone(self) -> AbstractContextManager[None]:
        """Hold the workspace while stages compute: two runs in one would compute the same shards twice.

        What only reads needs no hold, and is never locked out.

        Raises:
            LmkError: Another process holds it; the text names it.
        """
        return alone_in(self.root)

    @property
    def competitions(self) -> Path:
        """Competitions that lmk made or fetched, a folder a slug."""
        return self.root / "competitions"

    @property
    def stores(self) -> Path:
        """ArrayStores: descriptors, local features."""
        return self.root / "stores"

    @property
    def weights(self) -> Path:
        """Trained weights."""
        return self.root / "weights"

    @property
    def predictions(self) -> Path:
        """Predictions of each stage, parquet."""
        return self.root / "predictions"

    @property
    def runs(self) -> Path:
        """Records of what was run, a folder a run."""
        return self.root / "runs"

    @property
    def submissions(self) -> Path:
        """Submissions that no --out named."""
        return self.root / "submissions"

    @property
    def libraries_file(self) -> Path:
        """File of the libraries that computed the results from kernels."""
        return self.root / "makers.json"

    def libraries(self) -> list[Library]:
        """Libraries that computed the results from kernels, the last first.

        Raises:
            LmkError: The file that remembers them is damaged.
        """
        try:
            found = json.loads(self.libraries_file.read_text(encoding="utf-8"))
            if not isinstance(found, list) or not all(map(_is_library, found)):
                raise ValueError("no list of Keras' versions and backends")
            return [(keras, backend) for keras, backend in found]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise LmkError(
                f"{self.libraries_file} cannot be read ({quoted(str(error))}). Remove it and pull again."
            ) from error

    def remember_library(self, library: Library) -> None:
        """Put the library that computed results first in the file."""
        write_json(self.libraries_file, [library, *(known for known in self.libraries() if known != library)])


def _is_library(value: object) -> bool:
    return isinstance(value, list) and [type(word) for word in value] == [str, str]
