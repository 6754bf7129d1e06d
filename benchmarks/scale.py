"""Full size on one machine: tables, split, galleries, GAP, top-k, kNN, a submission: seconds and peak memory of each.

A synthetic competition with the rows of the largest edition (2019: 4,132,914 training photos of 203,094 landmarks;
117,703 test photos as in 2018) is written to disk, without its photos. Each step then runs in a process of its own,
which reads what it needs from that folder; its peak memory is the whole process', libraries and inputs included.
Beside the seconds of the clock stand those of the processor, all threads together: on a machine that does other work
the clock's say more of that work.

    lmk bench scale --json
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show
from lmk.util.errors import LmkError

PHOTOS, LANDMARKS, QUERIES = 4_132_914, 203_094, 117_703
DIMENSIONS = 64
"""Of descriptors and of the landmarks' weights, whose products are the scores of the top-k step."""
TOP_K = 20
SCORE_BLOCK = 256
"""Queries whose scores are held at once: 208 MB."""
KNN_QUERIES, KNN_GALLERY, KNN_DIMENSIONS, NEIGHBOURS = 10_000, 1_200_000, 128, 50
"""Exact kNN: a twelfth of the test photos against as many descriptors as the 2018 edition has training photos."""
RECALLED = 1_000
"""Queries of which the neighbours by half precision are compared with the exact ones."""
FEATURE_PHOTOS, VIEWS, WIDTH, SHARD, MAPPED_FROM = 60_000, 12, 1280, 256, 100 << 20
"""What mobilenetv2-gem stores of photos, in shards; and bytes of an array from which on it is mapped in that step."""
FOLDS, SHARE, GALLERY = 5, 0.6, 32
ROUNDS = 5
"""Of what takes milliseconds; the median counts."""

Figures = dict[str, float]


class Watch:
    """Seconds of the clock and of the processor that its block took."""

    def __enter__(self) -> "Watch":
        self.clock, self.processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.clock
        self.processor_seconds = time.process_time() - self.processor

    def figures(self) -> Figures:
        """By name."""
        return {"seconds": self.seconds, "processor_seconds": self.processor_seconds}


class Anonymous:
    """The most memory of this process that was not of mapped files while its block ran, asked fifty times a second."""

    def __enter__(self) -> "Anonymous":
        self.peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, status_bytes("RssAnon"))


def make(folder: Path, photos: int, landmarks: int, queries: int) -> None:
    """Write the tables of a competition of that size, and what its test photos show.

    Landmarks have from one photo to tens of thousands; ids are 16 hexadecimal digits; rows have urls, as in 2019.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, landmarks + 1) ** 0.9
    shown = np.concatenate([np.arange(landmarks), rng.choice(landmarks, photos - landmarks, p=share / share.sum())])
    names = pa.array(_hexadecimal(_distinct(photos + queries, rng)))
    ids, asked = names[:photos], names[photos:]
    urls = pc.binary_join_element_wise(pa.scalar("https://example.org/photos"), ids, pa.scalar("/"))
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(pa.table({"id": ids, "url": urls, "landmark_id": shown}), folder / "train.csv")
    pyarrow.csv.write_csv(pa.table({"id": asked, "landmarks": pa.nulls(queries, pa.string())}), folder / "sample.csv")
    truth = np.where(rng.random(queries) < 0.02, rng.integers(0, landmarks, queries), -1)
    answers = np.where(rng.random(queries) < 0.6, truth, rng.integers(0, landmarks, queries))
    np.savez(folder / "answers.npz", truth=truth, answers=np.maximum(answers, 0), scores=rng.random(queries))


def read(folder: Path) -> Figures:
    """train.csv and the sample: ids, landmarks, urls, every check."""
    from lmk.data.tables import read_sample, read_train

    with Watch() as watch:
        ids, landmarks, _ = read_train(folder / "train.csv")
        queries = read_sample(folder / "sample.csv")
    return watch.figures() | {"rows": len(ids), "landmarks": len(np.unique(landmarks)), "queries": len(queries)}


def split(folder: Path) -> Figures:
    """The split, and every fold's queries and training photos; the table is read before."""
    from lmk.data.splits import make_split
    from lmk.data.tables import read_train

    ids, landmarks, _ = read_train(folder / "train.csv", with_urls=False)
    with Watch() as watch:
        made = make_split(ids, landmarks, ids[:0], FOLDS, SHARE, seed=0)
        asked = sum(len(made.queries(fold)) for fold in range(FOLDS))
        trained = [int(made.training(fold)[0].sum()) for fold in range(FOLDS)]
    return watch.figures() | {"queries": asked, "least_training_photos": min(trained)}


def galleries(folder: Path) -> Figures:
    """At most 32 photos of each landmark to verify against; the table is read before."""
    from lmk.data.splits import choose_galleries
    from lmk.data.tables import read_train

    ids, landmarks, _ = read_train(folder / "train.csv", with_urls=False)
    with Watch() as watch:
        chosen = choose_galleries(ids, landmarks, GALLERY, seed=0)
    return watch.figures() | {"photos": sum(map(len, chosen.values()))}


def rows_to_photos(folder: Path) -> Figures:
    """Which of the rows have a photo, of a list of all photos; the table is read before."""
    from lmk.data.photos import PhotoFiles
    from lmk.data.tables import read_train

    ids, _, _ = read_train(folder / "train.csv", with_urls=False)
    there = np.sort(ids[::2])
    none = np.zeros(len(there), np.int32)
    files = PhotoFiles(
        there, none, np.full(len(there), ".jpg"), none.astype(np.int64), np.zeros((len(there), 4), np.int64), (folder,)
    )
    with Watch() as watch:
        found = int((files.rows(ids) >= 0).sum())
        files.digest()
    return watch.figures() | {"found": found}


def gap(folder: Path) -> Figures:
    """GAP of one answer a query, the median of five; and its 95 % interval of 1,000 resamples."""
    from lmk.data.tables import read_sample
    from lmk.evaluation import gap_and_interval
    from lmk.metrics import gap as gap_of
    from lmk.predictions import Predictions

    ids = read_sample(folder / "sample.csv")
    with np.load(folder / "answers.npz") as file:
        truth, answers, scores = file["truth"], file["answers"], file["scores"]
    watches = [Watch() for _ in range(ROUNDS)]
    for watch in watches:
        with watch:
            value = gap_of(ids, truth, answers, scores)
    with Watch() as interval:
        gap_and_interval(Predictions(ids, answers[:, None], scores[:, None]), truth)
    median = {name: statistics.median(watch.figures()[name] for watch in watches) for name in interval.figures()}
    return median | {"gap": value, "interval_seconds": interval.seconds}


def top_k(folder: Path) -> Figures:
    """The 20 best of every landmark's scores for every query, by blocks; scores are products of 64 dimensions."""
    from lmk.data.tables import read_sample
    from lmk.models.prediction import top_k as best_of_block

    with np.load(folder / "answers.npz") as file:
        landmarks = np.arange(int(file["truth"].max()) + 1)
    ids = read_sample(folder / "sample.csv")
    rng = np.random.default_rng(0)
    descriptors = rng.standard_normal((len(ids), DIMENSIONS), dtype=np.float32)
    weights = rng.standard_normal((DIMENSIONS, len(landmarks)), dtype=np.float32)
    products = 0.0
    with Watch() as watch:
        for first in range(0, len(ids), SCORE_BLOCK):
            with Watch() as product:
                scores = descriptors[first : first + SCORE_BLOCK] @ weights
            products += product.seconds
            best_of_block(ids[first : first + SCORE_BLOCK], scores, landmarks, TOP_K)
    return watch.figures() | {"product_seconds": products, "scores": len(ids) * len(landmarks)}


def knn(folder: Path) -> Figures:
    """The 50 nearest of 1.2 million descriptors of 128 dimensions for 10,000 queries, exact, by blocks."""
    from lmk.retrieval.descriptors import normalize
    from lmk.retrieval.neighbours import nearest

    rng = np.random.default_rng(0)
    gallery = normalize(rng.standard_normal((KNN_GALLERY, KNN_DIMENSIONS), dtype=np.float32))
    queries = normalize(rng.standard_normal((KNN_QUERIES, KNN_DIMENSIONS), dtype=np.float32))
    with Watch() as watch:
        nearest(queries, gallery, NEIGHBOURS)
    return watch.figures() | {"queries_per_second": KNN_QUERIES / watch.seconds}


def knn_half(folder: Path) -> Figures:
    """The same with the gallery in half precision, mapped from a file; and its recall, of 1,000 queries."""
    from lmk.retrieval.descriptors import normalize
    from lmk.retrieval.neighbours import nearest

    rng = np.random.default_rng(0)
    gallery = normalize(rng.standard_normal((KNN_GALLERY, KNN_DIMENSIONS), dtype=np.float32))
    queries = normalize(rng.standard_normal((KNN_QUERIES, KNN_DIMENSIONS), dtype=np.float32))
    exact = nearest(queries[:RECALLED], gallery, NEIGHBOURS).rows
    np.save(folder / "gallery.npy", gallery.astype(np.float16))
    del gallery
    with Watch() as watch:
        found = nearest(queries, np.load(folder / "gallery.npy", mmap_mode="r"), NEIGHBOURS)
    same = [len(np.intersect1d(*rows)) for rows in zip(exact, found.rows[:RECALLED], strict=True)]
    (folder / "gallery.npy").unlink()
    return watch.figures() | {
        "queries_per_second": KNN_QUERIES / watch.seconds,
        "recall": float(np.sum(same)) / exact.size,
        "nearest_the_same": float((exact[:, 0] == found.rows[:RECALLED, 0]).mean()),
    }


def features(folder: Path) -> Figures:
    """Views' features of 60,000 photos from the store, their descriptors, and the whitening of these, with large arrays
    mapped from files; `anonymous_gb` is the memory that is not of such files."""
    import lmk.util.store
    from lmk.retrieval.descriptors import in_blocks, photo_descriptors
    from lmk.retrieval.whitening import Whitening

    rng = np.random.default_rng(0)
    store = lmk.util.store.ArrayStore(folder, "features", {})
    lmk.util.store.IN_MEMORY = MAPPED_FROM
    ids = np.array([f"{row:016x}" for row in range(FEATURE_PHOTOS)])
    shard = rng.standard_normal((SHARD, VIEWS, WIDTH), dtype=np.float32).astype(np.float16)
    for start in range(0, len(ids), SHARD):
        names = ids[start : start + SHARD]
        store.append(names, {"features": np.roll(shard, start, axis=2)[: len(names)]})
    with Watch() as watch, Anonymous() as anonymous:
        loaded = store.load(rng.permutation(ids))["features"]
        described = in_blocks(
            photo_descriptors, loaded, lambda shape, kind: lmk.util.store.make_room(shape, kind, folder)
        )
        white = Whitening.fit(described)(described)
    arrays = {"features_gb": loaded.nbytes / 1e9, "descriptors_gb": described.nbytes / 1e9}
    found = watch.figures() | arrays | {"whitened_gb": white.nbytes / 1e9, "anonymous_gb": anonymous.peak / 1e9}
    shutil.rmtree(store.folder)
    return found


def submission(folder: Path) -> Figures:
    """Write the submission, read it back, check it against the sample."""
    from lmk.data.tables import read_sample
    from lmk.evaluation import check_submission
    from lmk.predictions import Predictions, read_submission, write_submission

    ids = read_sample(folder / "sample.csv")
    with np.load(folder / "answers.npz") as file:
        made = Predictions(ids, file["answers"][:, None], file["scores"][:, None])
    with Watch() as watch:
        write_submission(made, folder / "submission.csv")
        check_submission(read_submission(folder / "submission.csv"), ids)
    return watch.figures() | {"bytes": (folder / "submission.csv").stat().st_size}


STEPS: tuple[Callable[[Path], Figures], ...] = (
    read,
    rows_to_photos,
    split,
    galleries,
    gap,
    top_k,
    knn,
    knn_half,
    features,
    submission,
)


def run(folder: Path, photos: int = PHOTOS, landmarks: int = LANDMARKS, queries: int = QUERIES) -> dict[str, object]:
    """Make the competition in `folder` and measure every step in a process of its own."""
    with Watch() as watch:
        make(folder, photos, landmarks, queries)
    return {
        "photos": photos,
        "landmarks": landmarks,
        "queries": queries,
        "writing_the_tables_seconds": round(watch.seconds, 2),
        "steps": [in_a_process(step.__name__, folder) for step in STEPS],
    }


def in_a_process(step: str, folder: Path) -> dict[str, object]:
    """What a step tells, from a process that did nothing else."""
    words = [sys.executable, "-m", "benchmarks.scale", "--step", step, "--folder", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    if done.returncode:
        raise LmkError(f"The step {step} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def _measured(name: str, folder: Path) -> dict[str, object]:
    """What one step tells of itself, in this process."""
    found = next(step for step in STEPS if step.__name__ == name)(folder)
    spent = {unit: round(found.pop(unit), 4) for unit in ("seconds", "processor_seconds")}
    return {"step": name, **spent, "peak_gb": round(peak_bytes() / 1e9, 3), "found": found}


def status_bytes(name: str) -> int:
    """A number of this process' status in bytes; 0 where the system does not tell it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def peak_bytes() -> int:
    """The most memory that this process held; what its parent held does not count, as it does in getrusage."""
    if peak := status_bytes("VmHWM"):
        return peak
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _distinct(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) uint64, each once, in no order."""
    values = np.unique(rng.integers(0, 2**64, count + 1000, dtype=np.uint64))
    return rng.permutation(values)[:count]


def _hexadecimal(values: np.ndarray) -> np.ndarray:
    """(n,) uint64 to (n,) str of 16 digits."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    octets = values.astype(">u8").view(np.uint8).reshape(-1, 8)
    letters = np.stack([digits[octets >> 4], digits[octets & 15]], axis=2).reshape(-1, 16)
    return letters.astype(np.uint32).view("<U16").ravel()


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    options = parser("scale", __doc__)
    options.add_argument("--folder", type=Path, help="keep the tables there (default: a temporary folder)")
    options.add_argument("--photos", type=int, default=PHOTOS)
    options.add_argument("--landmarks", type=int, default=LANDMARKS)
    options.add_argument("--queries", type=int, default=QUERIES)
    options.add_argument("--step", choices=[step.__name__ for step in STEPS], help="one, on tables that are there")
    return options.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """The command `lmk bench scale`."""
    options = _options(words)
    if options.step:
        sys.stdout.write(json.dumps(_measured(options.step, options.folder)) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        found = run(options.folder or Path(folder), options.photos, options.landmarks, options.queries)
    show(found, options.json)


if __name__ == "__main__":
    main()
