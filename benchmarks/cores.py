"""Pairs verified a second by how many cores, and how much of one core's time the matrix products alone would take.

RootSIFT of a competition's training photos, compared as `make-submission` compares them: each photo with the photos
of its own landmark and of three others. Every number of processes starts with an empty store, in turns.

    python -m benchmarks.cores COMPETITION_FOLDER [--queries 100] [--gallery 8]
"""

import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.evidence import asked as chosen
from benchmarks.output import parser, show
from benchmarks.timing import in_turns
from lmk.local.compare import Settings as Comparing
from lmk.local.compare import compare
from lmk.local.features import FeatureTable, extract
from lmk.local.rootsift import RootSift
from lmk.local.verify import verify
from lmk.predictions import Predictions
from lmk.util.store import ArrayStore

ROUNDS = 3
PAIRS = 2000
"""Of which the products alone are timed."""


def run(folder: Path, queries: int, most: int) -> dict[str, object]:
    """Pairs a second by cores, and the product's share of one core's time.

    Args:
        folder: A competition in the layout of 2020, with `distractors/`.
        queries: Photos that ask, a seeded choice.
        most: Gallery photos a landmark.
    """
    files = {path.stem: path for part in ("train", "distractors") for path in (folder / part).rglob("*.jpg")}
    asked, gallery, _ = chosen(folder, queries)
    gallery = {landmark: names[:most] for landmark, names in gallery.items()}
    names = sorted({*asked.ids.tolist(), *(name for photos in gallery.values() for name in photos)})
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as stores:

        def read(name: str) -> np.ndarray:
            return cv2.imread(str(files[name]), cv2.IMREAD_COLOR_RGB)

        table = extract(read, names, ArrayStore(Path(stores), "features", {}), RootSift(), cores)
        ways = {f"{jobs}": partial(_verified, asked, gallery, table, jobs) for jobs in range(1, cores + 1)}
        pairs = ways["1"]()
        seconds = in_turns(ways, ROUNDS)
    compared, multiplied = _compared_and_multiplied(table)
    rows = [
        {"processes": int(jobs), "pairs_per_second": pairs / seconds[jobs], "ratio": seconds["1"] / seconds[jobs]}
        for jobs in ways
    ]
    return {"pairs": pairs, "rows": rows, "product_share": multiplied / compared}


def _verified(asked: Predictions, gallery: dict[int, list[str]], table: FeatureTable, jobs: int) -> int:
    """Verify all anew; how many pairs were compared."""
    with tempfile.TemporaryDirectory() as stores:
        store = ArrayStore(Path(stores), "pairs", {})
        return int(verify(asked, gallery, table, table, store, jobs=jobs).compared.sum())


def _compared_and_multiplied(table: FeatureTable) -> tuple[float, float]:
    """Processor seconds of one core for the same pairs: decoded and compared; decoded and multiplied alone."""
    places = np.random.default_rng(0).integers(0, len(table.ids), (PAIRS, 2)).tolist()
    settings = Comparing()
    with threadpool_limits(1):
        start = time.process_time()
        for query, index in places:
            compare(table.row(query), table.row(index), settings)
        compared = time.process_time()
        for query, index in places:
            table.row(query).descriptors @ table.row(index).descriptors.T
        return compared - start, time.process_time() - compared


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.cores`."""
    options = parser("cores", __doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--queries", type=int, default=100)
    options.add_argument("--gallery", type=int, default=8)
    given = options.parse_args(words)
    show(run(given.folder, given.queries, given.gallery), given.json)


if __name__ == "__main__":
    main()
