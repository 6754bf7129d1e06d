"""Pairs of photos verified a second: lmk against the way that was published, on the same features, on one core.

The published way (the example of the DELF authors, which the contest's solutions took over) asks a KD-tree for
the nearest neighbour of each feature, drops those farther than 0.8, and fits an affinity by RANSAC in Python.
Features are the 1000 strongest RootSIFT of real photos, reduced to 40 whitened dimensions as DELF's are.
Both ways run in one thread, in turns. Seconds are those of the processor, of each pair the least of as many rounds for
either way: what else runs on the machine counts as little as it can. OpenBLAS takes the kernels that suit
the processor, also where OPENBLAS_CORETYPE asks for older ones: `kernels` tells which.

    python -m benchmarks.verification --json
"""

import os

os.environ.pop("OPENBLAS_CORETYPE", None)  # before numpy reads it

import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import cKDTree
from skimage.measure import ransac
from skimage.transform import AffineTransform
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks.output import parser, show
from lmk.local.features import LocalFeatures
from lmk.local.matching import putative_matches
from lmk.local.ransac import fit
from lmk.local.rootsift import RootSift
from lmk.local.spatial import Points
from lmk.util.errors import LmkError

MAX_DISTANCE, RESIDUAL, TRIALS = 0.8, 20.0, 1000
THRESHOLD = 35
"""More inliers than this accept a landmark."""
DIMENSIONS = 40
PAIRS = 120
"""Half of them of one landmark, half of two."""
ROUNDS = 3

Photo = tuple[str, LocalFeatures]


def run() -> dict[str, object]:
    """Time both ways, in turns, and compare their verdicts.

    Returns:
        ratio: Pairs a second of lmk over those of the published way.
        pairs_per_second, published_pairs_per_second: Of either way.
        agreement: Share of pairs on which the verdicts are the same.
        published_agreement: The same for the published way with itself under other seeds.
        product_share: Share of lmk's time that the matrix product alone takes.
        pairs, accepted: Pairs, and how many of them lmk accepts.
        kernels: Of OpenBLAS.

    Raises:
        LmkError: The photos are not there.
    """
    pairs = _pairs(_reduced(_photos(_shared())))
    ours, published, product, theirs = [], [], [], []
    with threadpool_limits(1):
        cv2.setNumThreads(1)
        for seed in range(ROUNDS):
            seconds, found = _timed(partial(published_inliers, seed=seed), pairs)
            published.append(seconds)
            theirs.append(np.array(found) > THRESHOLD)
            seconds, counts = _timed(inliers, pairs)
            ours.append(seconds)
            product.append(_timed(_product, pairs)[0])
    seconds, published_seconds, product_seconds = (least(found) for found in (ours, published, product))
    verdicts = np.array(counts) > THRESHOLD
    return {
        "ratio": published_seconds / seconds,
        "pairs_per_second": len(pairs) / seconds,
        "published_pairs_per_second": len(pairs) / published_seconds,
        "agreement": float((verdicts == theirs[0]).mean()),
        "published_agreement": float(np.mean([theirs[0] == other for other in theirs[1:]])),
        "product_share": product_seconds / seconds,
        "pairs": len(pairs),
        "accepted": int(verdicts.sum()),
        "kernels": ", ".join(sorted({str(found.get("architecture")) for found in threadpool_info()})),
    }


def least(rounds: Sequence[np.ndarray]) -> float:
    """Seconds of all pairs, of each the least of the rounds (pairs,)."""
    return float(np.min(rounds, axis=0).sum())


def inliers(query: LocalFeatures, index: LocalFeatures) -> int:
    """lmk's count with the published options."""
    matches = putative_matches(
        query.descriptors, index.descriptors, ratio=None, mutual=False, max_distance=MAX_DISTANCE
    )
    ends = [
        Points(photo.locations[rows], photo.scales[rows], photo.angles[rows])
        for photo, rows in ((query, matches[:, 0]), (index, matches[:, 1]))
    ]
    return int(fit(*ends, residual=RESIDUAL).inliers.sum())


def published_inliers(query: LocalFeatures, index: LocalFeatures, seed: int) -> int:
    """The published way's count; it was unseeded there, so its count changed from run to run."""
    tree = cKDTree(query.descriptors)
    distances, rows = tree.query(index.descriptors, distance_upper_bound=MAX_DISTANCE)
    near = np.flatnonzero(np.isfinite(distances))
    if len(near) < 3:
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it finds no inliers
        _, found = ransac(
            (query.locations[rows[near]], index.locations[near]),
            AffineTransform,
            min_samples=3,
            residual_threshold=RESIDUAL,
            max_trials=TRIALS,
            rng=seed,
        )
    return 0 if found is None else int(found.sum())


def _product(query: LocalFeatures, index: LocalFeatures) -> int:
    return len(query.descriptors @ index.descriptors.T)


def _timed(count: Callable[[LocalFeatures, LocalFeatures], int], pairs) -> tuple[np.ndarray, list[int]]:
    """Seconds (pairs,) of each pair, and its count."""
    seconds, counts = np.empty(len(pairs)), []
    for place, (query, index) in enumerate(pairs):
        start = time.process_time()
        counts.append(count(query, index))
        seconds[place] = time.process_time() - start
    return seconds, counts


def _shared() -> Path:
    folder = Path(os.environ.get("LMK_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not (folder / "pairs").is_dir() or not (folder / "provence").is_dir():
        raise LmkError(f"The benchmark needs the real photos `pairs` and `provence` in {folder}: set LMK_SHARED.")
    return folder


def _photos(folder: Path) -> list[tuple[str, Path]]:
    """What each photo shows, and its file: the scenes, and up to 8 training photos of each landmark."""
    photos = [(path.stem.rsplit("_", 1)[0], path) for path in sorted((folder / "pairs").glob("*.jpg"))]
    rows = (folder / "provence" / "train.csv").read_text().split()[1:]
    landmarks: dict[str, list[str]] = {}
    for row in rows:
        name, landmark = row.split(",")
        landmarks.setdefault(landmark, []).append(name)
    for landmark, names in sorted(landmarks.items()):
        train = folder / "provence" / "train"
        photos += [(landmark, train.joinpath(*name[:3], f"{name}.jpg")) for name in sorted(names)[:8]]
    return photos


def _reduced(photos: list[tuple[str, Path]]) -> list[Photo]:
    """Features with descriptors in 40 whitened dimensions, L2-normalised; the PCA is of these photos themselves."""
    extractor = RootSift(side=800, max_features=1000)
    found = extractor([cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for _, path in photos])
    everything = np.concatenate([features.descriptors for features in found])
    mean = everything.mean(axis=0)
    deviations, axes = np.linalg.eigh(np.cov(everything - mean, rowvar=False))
    whiten = axes[:, -DIMENSIONS:] / np.sqrt(deviations[-DIMENSIONS:])
    reduced = []
    for (shown, _), features in zip(photos, found, strict=True):
        values = ((features.descriptors - mean) @ whiten).astype(np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        frames = (features.scores, features.scales, features.angles, features.size)
        reduced.append((shown, LocalFeatures(features.locations, values, *frames)))
    return reduced


def _pairs(photos: list[Photo]) -> list[tuple[LocalFeatures, LocalFeatures]]:
    rng = np.random.default_rng(0)
    every = list(itertools.combinations(photos, 2))
    chosen = []
    for wanted in (True, False):
        kind = [pair for pair in every if (pair[0][0] == pair[1][0]) == wanted]
        chosen += [kind[row] for row in rng.permutation(len(kind))[: PAIRS // 2]]
    return [(query, index) for (_, query), (_, index) in chosen]


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.verification`."""
    options = parser("verification", __doc__).parse_args(words)
    show(run(), options.json)


if __name__ == "__main__":
    main()
