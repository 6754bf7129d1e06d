"""How well evidence tells right proposals from wrong ones, on training photos alone.

Each training photo is compared with the other photos of its own landmark (right) and with three other landmarks
(wrong), each photo of no landmark with four (wrong). Nothing here reads a solution.

    lmk bench evidence COMPETITION_FOLDER [--ratio 0.93] [--residual 15] [--queries 150] [--gallery 8]
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
from lmk.local.compare import Settings
from lmk.local.evidence import Evidence
from lmk.local.features import Extractor, extract
from lmk.local.rootsift import RootSift
from lmk.local.verify import GALLERY, verify
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.store import ArrayStore

SCORES = ("inliers", "mean_inliers", "inlier_ratio", "coverage", "second_best", "agreeing")
PROPOSALS = 4


def run(
    folder: Path,
    extractor: Extractor,
    settings: Settings,
    jobs: int = 1,
    queries: int | None = None,
    most: int = GALLERY,
) -> dict[str, object]:
    """Verify the proposals and score each column of the evidence.

    Args:
        folder: A competition in the layout of 2020, with `distractors/`.
        extractor: Of local features.
        settings: Of comparisons.
        jobs: Processes.
        queries: A seeded choice of so many photos asks; None for all.
        most: Gallery photos a landmark.

    Returns:
        roc: Area under the ROC curve of each column, right against wrong proposals.
        recall_at_1_percent: Share of right proposals with more inliers than all but 1 % of the wrong ones.
        false_verifications: Wrong proposals with at least 8, 15 and 35 inliers, of `wrong` ones.
        pairs, seconds, pairs_per_second: Of the comparisons, by the clock.
    """
    files = {path.stem: path for part in ("train", "distractors") for path in (folder / part).rglob("*.jpg")}
    predictions, gallery, right = _proposals(folder)
    if queries is not None:
        chosen = np.sort(np.random.default_rng(0).permutation(len(predictions))[:queries])
        predictions, right = predictions.take(chosen), right[chosen]
    gallery = {landmark: names[:most] for landmark, names in gallery.items()}
    with tempfile.TemporaryDirectory() as stores:
        features = extract(
            lambda name: cv2.imread(str(files[name]), cv2.IMREAD_COLOR_RGB),
            sorted({*predictions.ids.tolist(), *(name for names in gallery.values() for name in names)}),
            ArrayStore(Path(stores), "features", {}),
            extractor,
            jobs,
        )
        start = time.perf_counter()
        store = ArrayStore(Path(stores), "pairs", {})
        evidence = verify(predictions, gallery, features, features, store, settings, jobs=jobs)
        seconds = time.perf_counter() - start
    asked = (predictions.landmarks != NO_LANDMARK) & (evidence.compared > 0)
    pairs = int(evidence.compared.sum())
    return {
        **_scores(evidence, right, asked),
        "pairs": pairs,
        "seconds": seconds,
        "pairs_per_second": pairs / seconds,
    }


def _scores(evidence: Evidence, right: np.ndarray, asked: np.ndarray) -> dict[str, object]:
    truth, inliers = right[asked], evidence.inliers[asked]
    wrong = inliers[~truth]
    return {
        "roc": {name: float(roc_auc_score(truth, getattr(evidence, name)[asked])) for name in SCORES},
        "recall_at_1_percent": float((inliers[truth] > np.quantile(wrong, 0.99)).mean()),
        "false_verifications": {str(most): int((wrong >= most).sum()) for most in (8, 15, 35)},
        "right": int(truth.sum()),
        "wrong": len(wrong),
    }


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


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `lmk bench evidence`."""
    options = parser("evidence", __doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--side", type=int, default=RootSift().side)
    options.add_argument("--features", type=int, default=RootSift().max_features)
    options.add_argument("--ratio", type=float, default=Settings().ratio)
    options.add_argument("--residual", type=float, default=Settings().residual)
    options.add_argument("--method", choices=("spatial", "magsac", "ransac"), default="spatial")
    options.add_argument("--keep-captions", action="store_true")
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--queries", type=int)
    options.add_argument("--gallery", type=int, default=GALLERY)
    words = options.parse_args(arguments)
    settings = dataclasses.replace(
        Settings(),
        ratio=words.ratio,
        residual=words.residual,
        method=words.method,
        captions=not words.keep_captions,
    )
    extractor = RootSift(side=words.side, max_features=words.features)
    show(run(words.folder, extractor, settings, words.jobs, words.queries, words.gallery), words.json)


if __name__ == "__main__":
    main()
