"""The stage that verifies: local features of all photos, galleries, and evidence for what the ensemble proposes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from lmk.data.splits import choose_galleries, photo_of
from lmk.local.compare import SETTINGS, Settings, compare
from lmk.local.draw import draw_matches
from lmk.local.evidence import Evidence
from lmk.local.features import FeatureTable
from lmk.local.verify import verify
from lmk.pipeline.local_features import features_key, features_of, kinds_of, local_features
from lmk.pipeline.steps import Run, Source
from lmk.predictions import Predictions
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path, digest_of
from lmk.util.store import ArrayStore


@dataclass(frozen=True, eq=False)
class Verified:
    """Evidence by its kind, in line with the ensemble's predictions of dev and of test.

    Attributes:
        key: Names all that it depends on.
        dev, test: By kind, the one that pictures and the published rules take first.
    """

    key: str
    dev: dict[str, Evidence]
    test: dict[str, Evidence]


def verify_proposals(run: Run, source: Source) -> Verified:
    """Compare every query with the gallery photos of the landmarks proposed for it.

    The gallery holds all training photos but the query's own: features and comparisons serve dev and test, every
    fold and every later run with the same photos.
    """
    gallery = galleries(run)
    ids = np.unique(np.concatenate([*gallery.values(), photo_of(source.dev.ids), source.test.ids]))
    dev, test = {}, {}
    for kind in kinds_of(run):
        features = local_features(run, kind, ids)
        store = ArrayStore(run.workspace.stores, "verification", pairs_key(run, kind))
        settings = comparison_settings(run, kind)
        dev[kind], test[kind] = (
            _verified(run, found, gallery, features, store, settings) for found in (source.dev, source.test)
        )
    return Verified(evidence_key(run), dev, test)


def _verified(
    run: Run,
    found: Predictions,
    gallery: dict[int, list[str]],
    features: FeatureTable,
    store: ArrayStore,
    settings: Settings,
) -> Evidence:
    nearest = run.settings.gallery if run.settings.nearest else None
    jobs, progress = run.settings.jobs, run.progress
    return verify(found, gallery, features, features, store, settings, nearest=nearest, jobs=jobs, progress=progress)


def evidence_key(run: Run) -> str:
    """Names all that the evidence for a proposal depends on."""
    return digest_of({kind: pairs_key(run, kind) for kind in kinds_of(run)})


def pairs_key(run: Run, kind: str) -> dict[str, object]:
    """All that the comparison of a query with a landmark depends on."""
    settings = run.settings
    return {
        **features_key(run, kind),
        "comparison": comparison_settings(run, kind).key(),
        "gallery": [settings.gallery, "nearest" if settings.nearest else settings.seed],
        "unreadable": sorted(run.unreadable),
    }


def comparison_settings(run: Run, kind: str) -> Settings:
    """How two photos are compared by a kind of local features."""
    return replace(SETTINGS[kind], seed=run.settings.seed, enough=run.settings.enough)


def galleries(run: Run) -> dict[int, list[str]]:
    """At most `Settings.gallery` training photos of each landmark, a seeded choice; all of them where each query takes
    those nearest to it."""
    ids, landmarks, _ = run.training(None)
    return choose_galleries(ids, landmarks, run.settings.gallery, run.settings.seed)


def picture_of(run: Run, query: str, gallery: str, path: Path) -> int:
    """Write the match picture of two of the competition's photos, by the run's first kind of local features.

    Returns:
        The number of inliers.

    Raises:
        LmkError: The competition has no photo of an id, or the file's suffix names no picture format.
    """
    for name in (query, gallery):
        if run.competition.photo(name) is None:
            raise LmkError(f"{run.competition.name} has no photo '{name}'. Ids stand in its CSV files.")
    left, right = run.read(query), run.read(gallery)
    kind = kinds_of(run)[0]
    found, known = features_of(run, kind, [query, gallery])
    comparison = compare(found, known, comparison_settings(run, kind))
    picture = draw_matches(left, right, found, known, comparison)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise LmkError(f"{path} is no picture's name: end it in .png or .jpg.")
    with atomic_path(path) as draft:
        cv2.imwrite(str(draft), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return len(comparison.inliers)
