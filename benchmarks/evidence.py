"""How well evidence tells right proposals from wrong ones, on training photos alone.

Each training photo is compared with the other photos of its own landmark (right) and with three other landmarks
(wrong), each photo of no landmark with four (wrong). Nothing here reads a solution.

    python -m benchmarks.evidence COMPETITION_FOLDER [--kind KIND --weights WEIGHTS] [--queries 150] [--gallery 8]

DELF's attention learns from training photos; with --unseen from those alone that do not ask. Seconds are the
processor's, of all threads: of the photos with their reading, and of the pairs, matching networks included.
"""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.output import parser, show
from lmk.cli.console import note, progress
from lmk.data.splits import make_split
from lmk.local.compare import Settings
from lmk.local.evidence import Evidence
from lmk.local.features import Extractor, extract
from lmk.local.glue import Matcher
from lmk.local.kinds import DELF, LOCAL_FEATURES, ROOTSIFT
from lmk.local.verify import GALLERY, verify
from lmk.models.start import start_keras
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.config import Execution, config_of
from lmk.pipeline.dataset import dataset_of, open_competition, open_dataset
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.store import ArrayStore
from lmk.util.workspace import Workspace

SCORES = ("inliers", "mean_inliers", "inlier_ratio", "coverage", "second_best", "agreeing")
PROPOSALS = 4


def run(
    folder: Path,
    extractor: Extractor,
    settings: Settings,
    matcher: Matcher | None = None,
    jobs: int = 1,
    queries: int | None = None,
    most: int = GALLERY,
) -> dict[str, object]:
    """Verify the proposals and score each column of the evidence.

    Args:
        folder: A competition in the layout of 2020, with `distractors/`.
        extractor: Of local features.
        settings: Of comparisons.
        matcher: Matches in place of descriptors' distances.
        jobs: Processes; of others than this one seconds are not counted.
        queries: A seeded choice of so many photos asks; None for all.
        most: Gallery photos a landmark.

    Returns:
        roc: Area under the ROC curve of each column, right against wrong proposals.
        recall_at_1_percent: Share of right proposals with more inliers than all but 1 % of the wrong ones.
        false_verifications: Wrong proposals with at least 8, 15 and 35 inliers, of `wrong` ones.
        pairs, seconds, pairs_per_second: Of the comparisons, by the clock.
        photo_seconds, pair_seconds: Of the processor.
    """
    files = {path.stem: path for part in ("train", "distractors") for path in (folder / part).rglob("*.jpg")}
    predictions, gallery, right = asked(folder, queries)
    gallery = {landmark: names[:most] for landmark, names in gallery.items()}
    photos = sorted({*predictions.ids.tolist(), *(name for names in gallery.values() for name in names)})

    def read(name: str) -> np.ndarray:
        return cv2.imread(str(files[name]), cv2.IMREAD_COLOR_RGB)

    extractor([read(photos[0])])  # built and compiled, which is no photo's time
    with tempfile.TemporaryDirectory() as stores:
        begun = time.process_time()
        features = extract(read, photos, ArrayStore(Path(stores), "features", {}), extractor, jobs)
        start, compared = time.perf_counter(), time.process_time()
        store = ArrayStore(Path(stores), "pairs", {})
        evidence = verify(predictions, gallery, features, features, store, settings, jobs=jobs, matcher=matcher)
        seconds, ended = time.perf_counter() - start, time.process_time()
    told = (predictions.landmarks != NO_LANDMARK) & (evidence.compared > 0)
    pairs = int(evidence.compared.sum())
    return {
        **_scores(evidence, right, told),
        "pairs": pairs,
        "seconds": seconds,
        "pairs_per_second": pairs / seconds,
        "photo_seconds": (compared - begun) / len(photos),
        "pair_seconds": (ended - compared) / pairs,
    }


def _scores(evidence: Evidence, right: np.ndarray, told: np.ndarray) -> dict[str, object]:
    truth, inliers = right[told], evidence.inliers[told]
    wrong = inliers[~truth]
    return {
        "roc": {name: float(roc_auc_score(truth, getattr(evidence, name)[told])) for name in SCORES},
        "recall_at_1_percent": float((inliers[truth] > np.quantile(wrong, 0.99)).mean()),
        "false_verifications": {str(most): int((wrong >= most).sum()) for most in (8, 15, 35)},
        "right": int(truth.sum()),
        "wrong": len(wrong),
    }


def asked(folder: Path, queries: int | None) -> tuple[Predictions, dict[int, list[str]], np.ndarray]:
    """`_proposals` of a seeded choice of so many photos, None for all."""
    predictions, gallery, right = _proposals(folder)
    if queries is None:
        return predictions, gallery, right
    chosen = np.sort(np.random.default_rng(0).permutation(len(predictions))[:queries])
    return predictions.take(chosen), gallery, right[chosen]


def _proposals(folder: Path) -> tuple[Predictions, dict[int, list[str]], np.ndarray]:
    """Predictions of four landmarks a photo, the galleries, and which proposals are right (n, 4)."""
    rows = [row.split(",") for row in (folder / "train.csv").read_text().split()[1:]]
    shown = {name: int(landmark) for name, landmark in rows}
    gallery: dict[int, list[str]] = {}
    for name, landmark in sorted(shown.items()):
        gallery.setdefault(landmark, []).append(name)
    rng = np.random.default_rng(0)
    ids = [*sorted(shown), *sorted(path.stem for path in (folder / "distractors").rglob("*.jpg"))]
    landmarks = np.array([_four(shown.get(name), sorted(gallery), rng) for name in ids])
    right = landmarks == np.array([shown.get(name, NO_LANDMARK - 1) for name in ids])[:, None]
    return Predictions(np.array(ids), landmarks, np.zeros(landmarks.shape)), gallery, right


def _four(own: int | None, known: Sequence[int], rng: np.random.Generator) -> list[int]:
    others = rng.permutation([landmark for landmark in known if landmark != own]).tolist()
    return others[:PROPOSALS] if own is None else [own, *others[: PROPOSALS - 1]]


def extractor_of(folder: Path, kind: str, weights: str | None, workspace: Path, unseen: np.ndarray) -> Extractor:
    """The extractor of any kind; DELF's learns from the competition's training photos but `unseen` ones."""
    if kind == DELF:
        return delf_of(folder, weights or "imagenet", Workspace.open(workspace), unseen)
    if LOCAL_FEATURES[kind].network is not None:
        start_keras()
    return LOCAL_FEATURES[kind].extractor(weights)


def delf_of(folder: Path, weights: str, workspace: Workspace, unseen: np.ndarray) -> Extractor:
    """A DELF whose attention and PCA learn from the competition's training photos but those that are to stay unseen."""
    competition = open_competition(str(folder), workspace.competitions)
    config = config_of((), weights=weights, local_features=DELF, ensemble=False)
    execution = Execution(workspace, progress=progress, note=note)
    dataset = open_dataset(config, competition, execution)
    split = dataset.split
    seen = ~np.isin(split.train_ids, unseen)
    photos, landmarks = split.train_ids[seen], split.train_landmarks[seen]
    share = config.share_without_landmark
    fewer = make_split(photos, landmarks, split.distractor_ids, split.folds, share, config.seed)
    local = LocalSteps(Shared(config, dataset_of(config, competition, dataset.identity, fewer), execution))
    local.local_features()
    return local.sources[DELF].extractor


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.evidence`."""
    options = parser("evidence", __doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--kind", choices=LOCAL_FEATURES, default=ROOTSIFT)
    options.add_argument("--weights", default="imagenet", help="of DELF's backbone, or of the kind's network")
    options.add_argument("--unseen", action="store_true")
    options.add_argument("--ratio", type=float, help="0: no ratio is asked")
    options.add_argument("--residual", type=float)
    options.add_argument("--keep-captions", action="store_true")
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--queries", type=int)
    options.add_argument("--gallery", type=int, default=GALLERY)
    words = options.parse_args(arguments)
    given = {name: getattr(words, name) for name in ("ratio", "residual") if getattr(words, name) is not None}
    given |= {"ratio": None} if words.ratio == 0 else {}
    settings = dataclasses.replace(LOCAL_FEATURES[words.kind].comparison, captions=not words.keep_captions, **given)
    with tempfile.TemporaryDirectory() as workspace:
        unseen = asked(words.folder, words.queries)[0].ids if words.unseen else np.array([], str)
        extractor = extractor_of(words.folder, words.kind, words.weights, Path(workspace), unseen)
        matcher = LOCAL_FEATURES[words.kind].glue(words.weights)
        show(run(words.folder, extractor, settings, matcher, words.jobs, words.queries, words.gallery), words.json)


if __name__ == "__main__":
    main()
