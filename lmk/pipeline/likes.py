"""The two published systems of 2018 as wholes: one network, its answers and confidence, DELF, the published decision.

Nothing else takes part: no retrieval, no blend, no second kind of local features. docs/seeds.md says sentence by
sentence what is as published, and what is not and why.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lmk.ensemble.fusion_rules import Divisor
from lmk.local.compare import PUBLISHED, Settings
from lmk.local.delf import PUBLISHED as PUBLISHED_DELF
from lmk.local.delf import DelfOptions
from lmk.local.evidence import Evidence
from lmk.local.published import RandomGallery, over_passes, statistics
from lmk.pipeline.systems import VGG16, XCEPTION, System, find_system
from lmk.util.files import atomic_path


@dataclass(frozen=True)
class Like:
    """A published system, and how it verifies.

    Attributes:
        system: Its name, network and rule.
        delf: Which features are extracted. Its threshold on scores means something to published weights alone: with a
            DELF that lmk trained, `without_threshold` is what to use.
        comparison: How two photos are compared.
        gallery: Which photos of a landmark a query is compared with, and in how many passes.
        divisor: Divisor of the published sum.
    """

    system: System
    delf: DelfOptions
    comparison: Settings
    gallery: RandomGallery
    divisor: Divisor = "dev"

    @property
    def without_threshold(self) -> DelfOptions:
        """The features for a network whose scores have another unit than the published one's."""
        return replace(self.delf, least_score=0.0)

    def as_asked(self, passes: int = 1, divisor: Divisor = "dev", seed: int = 0) -> Like:
        """The system with so many passes, a divisor and a seed of galleries and samples."""
        gallery = replace(self.gallery, passes=passes, seed=seed)
        return replace(self, gallery=gallery, divisor=divisor, comparison=replace(self.comparison, seed=seed))


LIKES: Mapping[str, Like] = {
    like.system.name: like
    for like in (
        Like(
            VGG16,
            delf=PUBLISHED_DELF["delf"],
            comparison=replace(PUBLISHED, frame="pixels", enough=36),
            gallery=RandomGallery(kept=20, compared=20),
        ),
        Like(XCEPTION, delf=PUBLISHED_DELF["19th-place"], comparison=PUBLISHED, gallery=RandomGallery()),
    )
}
"""The systems by name."""


def find_like(name: str) -> Like:
    """The system of that name.

    Raises:
        UsageError: There is none; the text names the nearest.
    """
    return LIKES[find_system(name).name]


def write_statistics(path: Path, parts: Mapping[str, Evidence], compared: int) -> None:
    """Write the statistics of each query's comparisons, the element-wise maximum over all passes, as CSV.

    Args:
        path: The file; columns `part`, `id`, `landmark`, `max`, `mean` and `mean_best`, as `statistics` has them.
        parts: Evidence for one landmark a query, by the name of the part.
        compared: Columns of `Evidence.counts` that are one pass.
    """
    with atomic_path(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["part", "id", "landmark", "max", "mean", "mean_best"])
        for part, evidence in parts.items():
            found = _over_passes(evidence.counts[:, 0], compared)
            columns = (found[name].round(4).tolist() for name in ("max", "mean", "mean_best"))
            rows = zip(evidence.ids.tolist(), evidence.landmarks[:, 0].tolist(), *columns, strict=True)
            table.writerows([part, *row] for row in rows)


def _over_passes(counts: np.ndarray, compared: int) -> dict[str, np.ndarray]:
    """Statistics (n,) of counts (n, passes * compared), one pass after the other."""
    passes = np.split(counts, counts.shape[1] // compared, axis=1)
    return over_passes([statistics(one) for one in passes])
