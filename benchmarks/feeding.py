"""What a processor's cores do beside a GPU: photos read and augmented, views made, and pairs verified, a second.

Wall-clock rates by the number of cores that work: batches for training as `PhotoBatches` makes them, 22 views a photo
for prediction, and RootSIFT pairs as verification compares them.

    python -m benchmarks.feeding FOLDER_OF_PHOTOS [--small FOLDER] [--cores 1 --cores 16] --json
"""

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, cpu_count, delayed
from threadpoolctl import threadpool_limits

from benchmarks.output import parser, show
from lmk.data.batches import PhotoBatches
from lmk.data.images import read_photo
from lmk.data.views import make_views
from lmk.local.compare import Settings, compare
from lmk.local.features import FeatureTable, extract
from lmk.local.rootsift import RootSift
from lmk.util.errors import LmkError
from lmk.util.store import ArrayStore

SIDES, VIEWS = (96, 224, 299), 22
BATCH, PAIRS = 128, 4000
"""Photos a batch of training; pairs that are verified at the most."""
SMALL = 2048
"""Of the photos for training at 96 pixels."""
SECONDS = 3.0
"""Of each measurement, about."""


def run(folder: Path, small: Path, cores: Sequence[int], pairs: int = PAIRS) -> dict[str, object]:
    """Rates by number of cores.

    Args:
        folder: JPEGs for views and pairs.
        small: JPEGs for training at 96 pixels.
        cores: How many work, each in turn.
        pairs: Verified, of a seeded choice.

    Raises:
        LmkError: A folder holds no JPEG.
    """
    large, little = ([str(path) for path in sorted(part.rglob("*.jpg"))] for part in (folder, small))
    if not large or not little:
        raise LmkError(f"{folder} or {small} holds no JPEGs to measure with.")
    little = little[:SMALL]
    cv2.setNumThreads(1)
    rows = []
    for count in cores:
        row: dict[str, object] = {"cores": count}
        for side in SIDES:
            row[f"training photos at {side}"] = _training(little if side == SIDES[0] else large, side, count)
        row[f"photos of {VIEWS} views at 224"] = _views(large, 224, count)
        rows.append(row)
    with tempfile.TemporaryDirectory() as stores:
        store = ArrayStore(Path(stores), "features", {})
        start = time.perf_counter()
        table = extract(lambda name: read_photo(Path(name)), large, store, RootSift(), max(cores))
        seconds = time.perf_counter() - start
        for row, count in zip(rows, cores, strict=True):
            row["pairs verified"] = _pairs(table, count, pairs)
    return {"rows": rows, "rootsift photos with all cores": len(large) / seconds}


def _training(paths: Sequence[str], side: int, cores: int) -> float:
    """Photos a second of augmented batches made by threads."""
    ids = np.resize(np.array(paths), max(BATCH * cores, len(paths)))
    batches = PhotoBatches(
        lambda name: read_photo(Path(name), 1024), ids, np.zeros(len(ids), int), side, BATCH, False, (0,)
    )
    with ThreadPoolExecutor(cores) as pool:
        return _rate(lambda: sum(len(found[1]) for found in pool.map(batches.__getitem__, range(len(batches)))))


def _views(paths: Sequence[str], side: int, cores: int) -> float:
    """Photos a second cut into views by threads."""
    with ThreadPoolExecutor(cores) as pool:

        def work() -> int:
            return sum(pool.map(lambda path: len(make_views(read_photo(Path(path), 1024), side, VIEWS)) > 0, paths))

        return _rate(work)


def _pairs(table: FeatureTable, cores: int, count: int) -> float:
    """Pairs a second verified by processes; what each compares first does not count."""
    pairs = np.random.default_rng(0).integers(0, len(table.ids), (count if cores > 1 else count // 8, 2))
    chunks = np.array_split(pairs, 4 * cores)
    with Parallel(n_jobs=cores) as pool:
        pool(delayed(_compared)(table, chunk[:1]) for chunk in chunks)
        start = time.perf_counter()
        pool(delayed(_compared)(table, chunk) for chunk in chunks)
        return len(pairs) / (time.perf_counter() - start)


def _compared(table: FeatureTable, pairs: np.ndarray) -> int:
    """The inliers of pairs, together."""
    with threadpool_limits(1, "blas"):
        return sum(len(compare(table.row(a), table.row(b), Settings()).inliers) for a, b in pairs.tolist())


def _rate(work) -> float:
    """Things a second; `work` does many and says how many. The first time does not count."""
    work()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        done += work()
    return done / (time.perf_counter() - start)


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.feeding`."""
    options = parser("feeding", __doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--small", type=Path, help="of photos for training at 96 pixels; default: the same")
    options.add_argument("--cores", type=int, action="append", help="repeat it; default: 1 and all")
    options.add_argument("--pairs", type=int, default=PAIRS)
    given = options.parse_args(words)
    cores = given.cores or sorted({1, cpu_count()})
    show(run(given.folder, given.small or given.folder, cores, given.pairs), given.json)


if __name__ == "__main__":
    main()
