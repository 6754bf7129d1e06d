"""Features and verification over a Dask cluster of 2 and of 4 workers, one killed half-way: the bytes of one process?

Local features of real photos are extracted and pairs of them verified, by one process and by clusters on this machine.
In each cluster a worker is killed (SIGKILL) when half of the shards are there. What is stored must be the same, byte by
byte. Seconds are those of the clock; on one machine a cluster is no faster than processes, it only has to be right.

    python -m benchmarks.cluster --json
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import parser, show
from benchmarks.verification import _photos, _shared
from lmk.data.images import read_photo
from lmk.local import features as features_of
from lmk.local import verify as verification
from lmk.local.features import extract
from lmk.local.rootsift import RootSift
from lmk.local.verify import verify
from lmk.predictions import Predictions
from lmk.util.cluster import on_cluster
from lmk.util.errors import LmkError
from lmk.util.store import ArrayStore

MOST_PHOTOS, PROPOSALS = 96, 3
SHARDS = 12
"""About so many of each kind, so that half-way is somewhere in between."""


def run(workers: Sequence[int] = (2, 4)) -> dict[str, Any]:
    """Compare clusters of so many workers with one process."""
    from distributed import LocalCluster

    paths = dict(list(_named(_shared()).items())[:MOST_PHOTOS])
    read = partial(_read, paths)
    features_of.SHARD = max(1, len(paths) // SHARDS)
    verification.SHARD = max(1, len(paths) * PROPOSALS // SHARDS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        expected = _stored(Path(folder, "one"), paths, read, 1)
        rows.append({"workers": 0, "killed": 0, "seconds": time.perf_counter() - start, "files_that_differ": 0})
        for count in workers:
            place = Path(folder, str(count))
            with LocalCluster(
                n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=50
            ) as cluster, on_cluster(cluster.scheduler_address) as threads:  # fmt: skip
                pid = next(iter(cluster.workers.values())).pid
                killer = threading.Thread(target=_kill_half_way, args=(place, len(expected) // 2, pid), daemon=True)
                killer.start()
                start = time.perf_counter()
                found = _stored(place, paths, read, threads)
                seconds = time.perf_counter() - start
                killer.join(timeout=1)
            differing = [name for name in expected | found if expected.get(name) != found.get(name)]
            killed = int(not killer.is_alive())
            rows.append({"workers": count, "killed": killed, "seconds": seconds, "files_that_differ": len(differing)})
    return {"photos": len(paths), "files": len(expected), "runs": rows}


def _named(folder: Path) -> dict[str, tuple[str, Path]]:
    return {path.stem: (shown, path) for shown, path in _photos(folder)}


def _read(paths: dict[str, tuple[str, Path]], name: str) -> np.ndarray:
    return read_photo(paths[name][1], 800)


def _stored(
    folder: Path, paths: dict[str, tuple[str, Path]], read: Callable[[str], np.ndarray], jobs: int
) -> dict[str, bytes]:
    """Extract and verify; the bytes of every shard by its name."""
    ids = np.array(list(paths))
    shown = sorted({landmark for landmark, _ in paths.values()})
    gallery = {number: [name for name in paths if paths[name][0] == landmark] for number, landmark in enumerate(shown)}
    proposed = (np.arange(len(ids))[:, None] * 7 + np.arange(PROPOSALS)) % len(shown)
    proposed[:, 0] = [shown.index(paths[name][0]) for name in ids.tolist()]
    asked = Predictions(ids, proposed, np.ones(proposed.shape))
    table = extract(read, ids, ArrayStore(folder, "features", {}), RootSift(), jobs)
    verify(asked, gallery, table, table, ArrayStore(folder, "pairs", {}), jobs=jobs)
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in folder.glob("*/*.npz")}


def _kill_half_way(folder: Path, files: int, pid: int) -> None:
    while len(list(folder.glob("*/[0-9]*.npz"))) < files:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.cluster`."""
    options = parser("cluster", __doc__).parse_args(words)
    found = run()
    show(found, options.json)
    if any(row["files_that_differ"] for row in found["runs"]):
        raise LmkError("A cluster stored other bytes than one process.")


if __name__ == "__main__":
    main()
