"""Local features of photos by kind: which kinds a run uses, and their tables from the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from joblib import parallel_config

from lmk.local.features import Extractor, FeatureTable, LocalFeatures, extract
from lmk.local.kinds import LOCAL_FEATURES, ROOTSIFT, ROOTSIFT_AND_DELF, ROOTSIFT_AND_XFEAT, XFEAT, choices
from lmk.models.backbones.catalogue import backbone_named, weights_file
from lmk.pipeline.delf import DelfExtractor, default_recipe
from lmk.util.errors import LmkError, UsageError, did_you_mean
from lmk.util.progress import Progress
from lmk.util.store import ArrayStore


def default_local_features(weights: str, delf: str | None = None) -> str:
    """The kinds that verify where none is asked for, by the weights that are at hand.

    RootSIFT verifies everywhere, and DELF beside it where it is named or its backbone's weights come from real photos.
    Where DELF has none, XFeat takes its place if its own are there: it is extracted in a fifth of DELF's time, and no
    worse on dev, but no better either (docs/journal/local-features.md).

    Args:
        weights, delf: As in `Config`.
    """
    if delf is None and weights in ("none", "tiny"):
        return ROOTSIFT
    if delf is not None or weights == "imagenet" or _has_backbone(weights):
        return ROOTSIFT_AND_DELF
    return ROOTSIFT_AND_XFEAT if LOCAL_FEATURES[XFEAT].has_weights(weights) else ROOTSIFT


def _has_backbone(weights: str) -> bool:
    """Whether a file or a folder of weights holds those of DELF's default backbone."""
    backbone = default_recipe(weights).backbone
    try:
        file = weights_file(backbone, weights)
    except LmkError:
        return False
    return file.name in backbone_named(backbone).weights_files  # a file may be of another backbone


def chosen_local_features(asked: str | None, weights: str, delf: str | None = None) -> str:
    """One of `choices()` or several with commas between: what is asked for, or the default.

    Raises:
        UsageError: Nothing has such a name.
    """
    if asked is None:
        return default_local_features(weights, delf)
    names = [name.strip() for name in asked.split(",")]
    known = choices()
    for name in names:
        if name not in known:
            guess = did_you_mean(name, known)
            raise UsageError(f"No local features are named '{name}'; there are {', '.join(known)}.{guess}")
    return ",".join(names)


@dataclass(frozen=True)
class LocalSource:
    """One kind of local features of a dataset's photos.

    Attributes:
        kind: Its name.
        extractor: What computes it.
        store: Where it lies.
        read: A photo's id to RGB (h, w, 3) uint8.
        jobs: Threads that read and extract.
        progress: Reports each shard.
    """

    kind: str
    extractor: Extractor
    store: ArrayStore
    read: Callable[[str], np.ndarray]
    jobs: int
    progress: Progress

    def table(self, ids: np.ndarray) -> FeatureTable:
        """Features of photos (n,) str, from the store or computed now."""
        if isinstance(self.extractor, DelfExtractor) and len(self.store.missing(ids)):
            self.extractor.train()
        if self.kind != ROOTSIFT:
            with parallel_config(backend="threading"):  # its network is on this machine's device, not on a cluster
                return extract(self.read, ids, self.store, self.extractor, self.jobs, self.progress)
        return extract(self.read, ids, self.store, self.extractor, self.jobs, self.progress)

    def of(self, names: list[str]) -> list[LocalFeatures]:
        """Features of a few photos as the store would give them; nothing is put there."""
        ids = np.array(names)
        if not len(self.store.missing(ids)):
            table = FeatureTable(ids, **self.store.load(ids))
        else:
            photos = [self.read(name) for name in names]
            table = FeatureTable.pack(ids, self.extractor(photos), self.extractor)
        return [table.row(row) for row in range(len(names))]
