"""Where data, stores, weights, runs and submissions lie."""

import os
from dataclasses import dataclass
from pathlib import Path

from lmk.errors import LmkError


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
