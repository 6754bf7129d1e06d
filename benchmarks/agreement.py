"""Do lmk's ways of comparing two photos count the inliers that the published example counts?

The example of the DELF authors, with its own libraries (a KD-tree of scipy, RANSAC of scikit-image), compares pairs of
photos by stored DELF features of real ones: half of the pairs show one landmark, half two. Against it stand itself with
another seed, `--comparison published`, that with each of lmk's own steps added alone, and lmk's default. For both
halves apart: how often the verdict "more than 35 inliers" is the same, the rank correlation of the counts (Spearman),
and their means. Milliseconds of the processor are of one core, the least of so many rounds for each pair.

FEATURES is a store of DELF features of the competition's training photos, `WORKSPACE/stores/delf-...`, such as
`lmk delf extract` writes.

    python -m benchmarks.agreement COMPETITION FEATURES --json
"""

from __future__ import annotations

import csv
import itertools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from skimage.measure import ransac
from skimage.transform import AffineTransform
from threadpoolctl import threadpool_limits

from benchmarks.output import parser, show
from lmk.local.compare import PUBLISHED, Settings, compare
from lmk.local.features import FeatureTable, LocalFeatures
from lmk.local.kinds import DELF, LOCAL_FEATURES
from lmk.local.published import MAX_DISTANCE, RESIDUAL, SQUARE, TRIALS
from lmk.util.errors import LmkError

THRESHOLD = 35
"""More inliers than this accept a landmark, as the VGG16 solution has it."""
WAYS: Mapping[str, Settings] = {
    "published": PUBLISHED,
    "published, captions removed": replace(PUBLISHED, captions=True),
    "published, mutual": replace(PUBLISHED, asks="query", mutual=True),
    "published, mutual, captions removed": replace(PUBLISHED, asks="query", mutual=True, captions=True),
    "published, fitted spatially": replace(PUBLISHED, method="spatial"),
    "published, residual as by default": replace(
        PUBLISHED, residual=LOCAL_FEATURES[DELF].comparison.residual, frame="side"
    ),
    "default": LOCAL_FEATURES[DELF].comparison,
}
Pair = tuple[LocalFeatures, LocalFeatures]
Count = Callable[[LocalFeatures, LocalFeatures], int]


def run(landmarks: Mapping[str, str], table: FeatureTable, pairs: int, rounds: int) -> dict[str, object]:
    """Compare `pairs` pairs of photos, half of them of one landmark, in each way.

    Args:
        landmarks: A photo's id to its landmark.
        table: Features; photos that it lacks are left out.
        pairs: Even.
        rounds: For the milliseconds.

    Returns:
        pairs, threshold; and rows a way: agreement and Spearman's correlation with the example over all pairs and in
        both halves (same, other), mean inliers, and milliseconds a pair.
    """
    chosen = choose_pairs({name: landmarks[name] for name in table if name in landmarks}, pairs)
    ends = [(table[one], table[other]) for one, other in chosen]
    same = np.arange(pairs) < pairs // 2
    ways: dict[str, Count] = {"example, another seed": partial(example_inliers, seed=1)}
    ways |= {name: partial(_inliers, settings=settings) for name, settings in WAYS.items()}
    with threadpool_limits(1):
        cv2.setNumThreads(1)
        seconds, expected = timed(partial(example_inliers, seed=0), ends, 1)
        rows = [{"way": "example", **_row(expected, expected, same), "ms": 1000 * seconds / pairs}]
        for name, count in ways.items():
            seconds, found = timed(count, ends, 1 if name.startswith("example") else rounds)
            rows.append({"way": name, **_row(found, expected, same), "ms": 1000 * seconds / pairs})
    return {"pairs": pairs, "threshold": THRESHOLD, "rows": rows}


def _row(found: np.ndarray, expected: np.ndarray, same: np.ndarray) -> dict[str, object]:
    """Agreement of the verdicts, correlation of the counts, and their mean, in all pairs and in both halves."""
    row: dict[str, object] = {}
    agree = (found > THRESHOLD) == (expected > THRESHOLD)
    for name, part in (("", np.ones(len(same), bool)), (" same", same), (" other", ~same)):
        row[f"agreement{name}"] = float(agree[part].mean())
        constant = np.ptp(found[part]) == 0 or np.ptp(expected[part]) == 0  # no order to correlate
        row[f"spearman{name}"] = None if constant else float(spearmanr(found[part], expected[part]).statistic)
    row |= {"inliers same": float(found[same].mean()), "inliers other": float(found[~same].mean())}
    return row


def choose_pairs(landmarks: Mapping[str, str], count: int) -> list[tuple[str, str]]:
    """Pairs of photos, a seeded choice: the first half show one landmark, the others two.

    Raises:
        LmkError: There are too few.
    """
    rng = np.random.default_rng(0)
    every = list(itertools.combinations(sorted(landmarks), 2))
    chosen: list[tuple[str, str]] = []
    for wanted in (True, False):
        kind = [pair for pair in every if (landmarks[pair[0]] == landmarks[pair[1]]) == wanted]
        if len(kind) < count // 2:
            raise LmkError(f"The features are of {len(landmarks)} labelled photos, which make too few pairs.")
        chosen += [kind[row] for row in rng.permutation(len(kind))[: count // 2]]
    return chosen


def example_inliers(query: LocalFeatures, index: LocalFeatures, seed: int) -> int:
    """The example's count in photos resized to a square, as the 19th place had them. It gave no seed."""
    distances, rows = cKDTree(query.descriptors).query(index.descriptors, distance_upper_bound=MAX_DISTANCE)
    near = np.flatnonzero(np.isfinite(distances))
    if len(near) < 3:
        return 0
    start, end = (photo.locations * (SQUARE / np.array(photo.size)) for photo in (query, index))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it finds no inliers
        _, found = ransac(
            (start[rows[near]], end[near]),
            AffineTransform,
            min_samples=3,
            residual_threshold=RESIDUAL,
            max_trials=TRIALS,
            rng=seed,
        )
    return 0 if found is None else int(found.sum())


def _inliers(query: LocalFeatures, index: LocalFeatures, settings: Settings) -> int:
    return len(compare(query, index, settings).inliers)


def timed(count: Count, pairs: Sequence[Pair], rounds: int) -> tuple[float, np.ndarray]:
    """Processor seconds of all pairs, of each the least of the rounds, and the counts (pairs,) int."""
    seconds, counts = np.full(len(pairs), np.inf), np.zeros(len(pairs), int)
    for _ in range(rounds):
        for place, (query, index) in enumerate(pairs):
            start = time.process_time()
            counts[place] = count(query, index)
            seconds[place] = min(seconds[place], time.process_time() - start)
    return float(seconds.sum()), counts


def read_table(folder: Path) -> FeatureTable:
    """All features of a store.

    Raises:
        LmkError: The folder holds none.
    """
    shards = [np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npz"))]
    if not shards or "descriptors" not in shards[0].files:
        raise LmkError(f"{folder} holds no local features. `lmk delf extract` writes some: WORKSPACE/stores/delf-...")
    names = ("ids", "geometry", "descriptors", "counts", "sizes")
    return FeatureTable(*(np.concatenate([shard[name] for shard in shards]) for name in names))


def read_landmarks(competition: Path) -> dict[str, str]:
    """A training photo's id to its landmark.

    Raises:
        LmkError: The folder has no train.csv.
    """
    path = competition / "train.csv"
    if not path.is_file():
        raise LmkError(f"{path} is not there: give the folder of a competition.")
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["landmark_id"] for row in csv.DictReader(file)}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.agreement`."""
    options = parser("agreement", __doc__)
    options.add_argument("competition", type=Path)
    options.add_argument("features", type=Path)
    options.add_argument("--pairs", type=int, default=120, help="half of them of one landmark")
    options.add_argument("--rounds", type=int, default=3, help="for the milliseconds")
    words = options.parse_args(arguments)
    found = run(read_landmarks(words.competition), read_table(words.features), words.pairs, words.rounds)
    show(found, words.json)


if __name__ == "__main__":
    main()
