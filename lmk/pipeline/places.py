"""Where a recipe's features and networks lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmk.pipeline.dataset import Part
from lmk.pipeline.histories import discard_damaged, is_history, read_history
from lmk.pipeline.key import Key
from lmk.util.checked import is_sealed
from lmk.util.store import ArrayStore


@dataclass(frozen=True)
class Places:
    """Where networks and their features lie.

    Attributes:
        stores, weights: Folders.
        features, networks: Keys of the extractor's features and of the trained networks.
        descriptor_width: As in `Config`.
    """

    stores: Path
    weights: Path
    features: Key
    networks: Key
    descriptor_width: int | None = None

    def feature_store(self) -> ArrayStore:
        """The store of the pretrained extractor's features."""
        return ArrayStore(self.stores, self.features.name.replace("/", "-"), self.features.to_dict())

    def answer_store(self, part: str) -> ArrayStore:
        """The store of a tuned network's answers to queries, and of their descriptors."""
        return self._tuned_store(part, "answers")

    def descriptor_store(self, part: str) -> ArrayStore:
        """The store of a tuned network's descriptors of photos that it is not asked about."""
        return self._tuned_store(part, "descriptors")

    def _tuned_store(self, part: str, what: str) -> ArrayStore:
        key = self.networks.part(part)
        projected = {} if self.descriptor_width is None else {"descriptor_width": self.descriptor_width}
        return ArrayStore(self.stores, f"{key.name.replace('/', '-')}-{what}", key.to_dict() | projected)

    def directions(self, part: str) -> Path:
        """The file of the directions that a part's descriptors are projected to."""
        name = f"{self.networks.name.replace('/', '-')}-{self.networks.part(part).digest}"
        return self.weights / f"{name}.directions-{self.descriptor_width}.npz"

    def network(self, part: str) -> tuple[Path, Path]:
        """The files of a part's trained weights and of its history."""
        name = f"{self.networks.name.replace('/', '-')}-{self.networks.part(part).digest}"
        return self.weights / f"{name}.weights.h5", self.weights / f"{name}.json"

    def trained(self, parts: Sequence[Part]) -> float:
        """Share of the parts whose network is trained."""
        names = [part.name for part in parts]
        return float(np.mean([is_sealed(path) and is_history(history) for path, history in map(self.network, names)]))

    def discard_damaged(self, parts: Sequence[Part]) -> None:
        """Remove networks of the parts whose history is damaged, so that they are trained again."""
        for part in parts:
            discard_damaged(*self.network(part.name))

    def histories(self, parts: Sequence[Part]) -> dict[str, list[dict[str, float]]]:
        """Histories of training by the name of the part, where they are there; raises as `read_history`."""
        paths = {part.name: self.network(part.name)[1] for part in parts}
        return {name: read_history(path) for name, path in paths.items() if path.exists()}
