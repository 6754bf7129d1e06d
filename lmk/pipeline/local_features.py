"""The kinds of local features that verify, by name, and their tables for a run's photos."""

from __future__ import annotations

import numpy as np
from joblib import parallel_config

from lmk.local.features import Extractor, FeatureTable, LocalFeatures, extract
from lmk.local.kinds import DELF, KINDS, ROOTSIFT, ROOTSIFT_AND_DELF
from lmk.local.rootsift import RootSift
from lmk.models.backbones.catalogue import backbone_named, weights_file
from lmk.pipeline.delf import DelfOf, default_recipe, stored_key
from lmk.pipeline.steps import Run
from lmk.util.errors import LmkError
from lmk.util.store import ArrayStore


def default_local_features(weights: str, delf: str | None = None) -> str:
    """One of `KINDS`: both where DELF is named or its backbone's weights come from real photos, else RootSIFT.

    Args:
        weights: As of `Settings`.
        delf: As of `Settings`.
    """
    if delf is not None:
        return ROOTSIFT_AND_DELF
    if weights in ("none", "tiny"):
        return ROOTSIFT
    if weights == "imagenet":
        return ROOTSIFT_AND_DELF
    backbone = default_recipe(weights).backbone
    try:
        file = weights_file(backbone, weights)
    except LmkError:
        return ROOTSIFT
    own = file.name in backbone_named(backbone).weights_files  # a file may be of another backbone
    return ROOTSIFT_AND_DELF if own else ROOTSIFT


def chosen_local_features(asked: str | None, weights: str, delf: str | None = None) -> str:
    """One of `KINDS`: what is asked for, or the default.

    Raises:
        LmkError: Nothing is called so.
    """
    if asked is not None and asked not in KINDS:
        raise LmkError(f"No local features are named '{asked}'; there are {', '.join(KINDS)}.")
    return asked or default_local_features(weights, delf)


def kinds_of(run: Run) -> tuple[str, ...]:
    """The kinds of evidence of a run."""
    return KINDS[run.settings.local_features]


def extractor_of(run: Run, kind: str) -> Extractor:
    """What computes a kind of local features; a DELF loads Keras with its first photo only."""
    return DelfOf.of(run) if kind == DELF else RootSift()


def features_key(run: Run, kind: str) -> dict[str, object]:
    """All that a kind of local features depends on."""
    return stored_key(run.competition.digest, extractor_of(run, kind).key())


def store_of(run: Run, kind: str) -> ArrayStore:
    """Where a run's local features lie."""
    return ArrayStore(run.workspace.stores, kind, features_key(run, kind))


def local_features(run: Run, kind: str, ids: np.ndarray) -> FeatureTable:
    """Features of photos (n,) str, from the store or computed now."""
    store = store_of(run, kind)
    extractor = extractor_of(run, kind)
    if isinstance(extractor, DelfOf):
        if len(store.missing(ids)):
            extractor.train()
        with parallel_config(backend="threading"):  # its network is on this machine's device, not on a cluster
            return extract(run.read, ids, store, extractor, run.settings.jobs, run.progress)
    return extract(run.read, ids, store, extractor, run.settings.jobs, run.progress)


def features_of(run: Run, kind: str, names: list[str]) -> list[LocalFeatures]:
    """Features of a few photos as the store would give them; nothing is put there."""
    store, ids = store_of(run, kind), np.array(names)
    if not len(store.missing(ids)):
        table = FeatureTable(ids, **store.load(ids))
    else:
        extractor = extractor_of(run, kind)
        table = FeatureTable.pack(ids, extractor([run.read(name) for name in names]), extractor)
    return [table.row(row) for row in range(len(names))]
