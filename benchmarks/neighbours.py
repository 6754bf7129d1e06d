"""Exact nearest neighbours: the blocked product of `lmk.retrieval.neighbours` against faiss-cpu's flat index.

Synthetic descriptors around as many centres as the 2018 competition has landmarks; one photo in fifty lies in the
gallery twice, so that there are ties. Every measurement runs in a process of its own, which draws the same
descriptors, and its time is that of the search alone (with faiss: and of adding the gallery to the index).
Without faiss, lmk's own way is measured alone.

    python -m benchmarks neighbours --json
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show
from lmk.cli.console import note
from lmk.retrieval.neighbours import nearest

GALLERY, DIMENSIONS, QUERIES, COUNT = 1_200_000, 128, 10_000, 100
LANDMARKS = 14_951
COPIED = 50
"""One row in so many is a copy of the row before it."""
SPREAD = 1.0
"""Length of a photo's deviation from its landmark's centre, in lengths of the centre."""
CHECKED = 100
"""Queries whose neighbours are found in float64, too, to count what a way misses."""
WAYS = ("lmk", "faiss")
RESET_PEAK = Path("/proc/self/clear_refs")
"""Linux forgets the peak of resident memory when 5 is written here."""


def descriptors(gallery: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """(gallery, d) and (queries, d) float32 of length 1."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((LANDMARKS, DIMENSIONS), dtype=np.float32)
    found = []
    for count in (gallery, queries):
        rows = rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
        rows *= SPREAD
        rows += centres[rng.integers(0, LANDMARKS, count)]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        found.append(rows)
    found[0][1::COPIED] = found[0][0::COPIED][: len(found[0][1::COPIED])]
    return found[0], found[1]


def search(way: str, gallery: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, count), rows of the nearest gallery descriptors and their cosines."""
    if way == "lmk":
        found = nearest(queries, gallery, count)
        return found.rows, found.cosines
    import faiss  # no dependency of lmk

    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    cosines, rows = index.search(queries, count)
    return rows, cosines


def measure(way: str, size: int, asked: int, count: int) -> dict[str, object]:
    """One way in this process: seconds, memory beyond the descriptors, recall, and ties."""
    gallery, queries = descriptors(size, asked)
    RESET_PEAK.write_text("5")
    before = _peak_megabytes()
    start = time.perf_counter()
    rows, cosines = search(way, gallery, queries, count)
    seconds, peak = time.perf_counter() - start, _peak_megabytes()
    places = np.linspace(0, asked - 1, min(CHECKED, asked)).astype(int)
    exact = queries[places].astype(np.float64) @ gallery.T.astype(np.float64)
    # A photo counts as found if it is as near as the last one that belongs there, so that ties cost nothing.
    last = -np.partition(-exact, count - 1, axis=1)[:, count - 1 : count]
    near = np.take_along_axis(exact, rows[places], 1) >= last - 1e-7
    equal = cosines[:, 1:] == cosines[:, :-1]
    return {
        "way": way,
        "seconds": seconds,
        "megabytes": peak - before,
        "recall": float(near.mean()),
        "ties": int(equal.sum()),
        "ties_by_row": float((rows[:, 1:] > rows[:, :-1])[equal].mean()) if equal.any() else None,
    }


def _peak_megabytes() -> float:
    """The most memory that this process had resident since the peak was reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run(size: int, asked: int, count: int, threads: Sequence[int]) -> list[dict[str, object]]:
    """A row a way and number of threads; raises `CalledProcessError` where a measurement fails."""
    ways = [way for way in WAYS if way != "faiss" or find_spec("faiss")]
    if len(ways) < len(WAYS):
        note("faiss is not installed (`pip install faiss-cpu`): lmk's own way is measured alone.")
    rows = []
    for number in threads:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(number))
        for way in ways:
            words = ["--way", way, "--gallery", str(size), "--queries", str(asked), "--count", str(count)]
            command = [sys.executable, "-m", "benchmarks.neighbours", *words]
            done = subprocess.run(command, env=os.environ | limits, stdout=subprocess.PIPE, check=True)
            rows.append({"threads": number} | json.loads(done.stdout))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.neighbours`."""
    options = parser("neighbours", __doc__)
    options.add_argument("--gallery", type=int, default=GALLERY)
    options.add_argument("--queries", type=int, default=QUERIES)
    options.add_argument("--count", type=int, default=COUNT, help="neighbours of a query")
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options.add_argument("--way", choices=WAYS, help="measure one way in this process, with its threads")
    words = options.parse_args(arguments)
    if words.way:
        print(json.dumps(measure(words.way, words.gallery, words.queries, words.count)))
        return
    rows = run(words.gallery, words.queries, words.count, words.threads)
    show({"gallery": words.gallery, "queries": words.queries, "count": words.count, "rows": rows}, words.json)


if __name__ == "__main__":
    main()
