"""Many landmarks on one machine: head, top-k, retrieval, blend, fusion and submission of synthetic descriptors.

Photos are unit vectors around their landmark's direction; landmarks have photos by a power law. Of each step stand its
seconds, its process' peak memory at its end, and GAP where it answers. The head is trained for as many steps with the
full softmax as with sampled classes (Partial FC), each in a process of its own, so that each peak is its own.
Retrieval, blend and fusion follow with the lists of the sampled one.

    python -m benchmarks.many --json
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show
from lmk.util.errors import LmkError

PHOTOS, LANDMARKS, WIDTH = 1_200_000, 81_313, 256
QUERIES, UNKNOWN_SHARE = 4_000, 0.5
"""Queries, and the share of them that shows no landmark: vectors around directions that no photo has."""
SPREAD = 1.7
"""Length of the noise around a landmark's direction, so that some answers are wrong."""
STEEPNESS = 0.9
STEPS, BATCH, SAMPLED = 300, 512, 0.1
TOP_K, CANDIDATES = 20, 3
KINDS = ("full", "sampled")

Figures = dict[str, float]


@contextmanager
def timed(found: Figures, name: str) -> Iterator[None]:
    """Put the seconds of a block, and the process' peak memory in GB so far, into `found`."""
    start = time.perf_counter()
    yield
    found[f"{name}: seconds"] = round(time.perf_counter() - start, 2)
    found[f"{name}: peak GB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)


def synthetic(photos: int, landmarks: int, queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Descriptors (photos, `WIDTH`) float16 and landmarks (photos,), queries likewise; -1 of those of no landmark."""
    rng = np.random.default_rng(0)
    share = np.arange(1, landmarks + 1) ** -STEEPNESS
    shown = np.concatenate([np.arange(landmarks), rng.choice(landmarks, photos - landmarks, p=share / share.sum())])
    directions = _unit(rng.standard_normal((landmarks, WIDTH), np.float32))
    known = np.empty((photos, WIDTH), np.float16)
    for start in range(0, photos, 100_000):
        known[start : start + 100_000] = _around(directions[shown[start : start + 100_000]], rng)
    truth = np.where(rng.random(queries) < UNKNOWN_SHARE, -1, rng.choice(shown, queries))
    centres = np.where(
        (truth < 0)[:, None], _unit(rng.standard_normal((queries, WIDTH), np.float32)), directions[truth]
    )
    return known, shown, _around(centres, rng).astype(np.float32), truth


def _around(centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(centres.shape, np.float32) * np.float32(SPREAD / WIDTH**0.5)
    return _unit(centres + noise)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def head(
    photos: int, landmarks: int, queries: int, steps: int, kind: str, lists_to: Path, batch: int = BATCH
) -> Figures:
    """Train a cosine head for so many steps, `full` or `sampled`, answer the queries, and write their lists."""
    from lmk.models.start import start_keras

    start_keras()
    import keras

    from lmk.evaluation import gap_of
    from lmk.models.learner import TrainingSet
    from lmk.models.network import build_network
    from lmk.models.prediction import predict_features
    from lmk.models.recipe import Recipe, Stage
    from lmk.models.training import Trainer

    found: Figures = {}
    known, shown, asked, truth = synthetic(photos, landmarks, queries)
    epochs = max(1, round(steps * batch / photos))
    stage = Stage(epochs=epochs, learning_rate=1e-2, batch_size=batch, steps=-(-steps // epochs))
    recipe = Recipe(
        name="many", backbone="mobilenetv2", image_size=96, head="cosine", loss="arcface", views=1,
        stages=(stage,),
        sampled_classes=SAMPLED if kind == "sampled" else None,
    )  # fmt: skip
    extractor = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Identity()])
    network = build_network(recipe, extractor, landmarks)
    ids = np.arange(photos).astype(str)
    with tempfile.TemporaryDirectory() as folder, timed(found, f"head, {kind}"):
        data = TrainingSet(ids, shown, known[:, None], _no_photo)
        Trainer(network, data, 0, Path(folder) / "head.checkpoint.npz").run()
    names = np.arange(queries).astype(str)
    with timed(found, f"top-k, {kind}"):
        lists = predict_features(network, names, asked[:, None].astype(np.float16), np.arange(landmarks), TOP_K)
    found[f"top-k, {kind}: GAP"] = round(gap_of(lists, truth), 4)
    np.savez(lists_to, landmarks=lists.landmarks, scores=lists.scores)
    return found


def after(photos: int, landmarks: int, queries: int, lists: Path) -> Figures:
    """Retrieval; its blend with the head's lists, fusion with synthetic inliers, and the submission.

    Blend and fusion are fitted on every second query, and GAP is of the others.
    """
    from lmk.ensemble.blend import fit_blend
    from lmk.ensemble.fuse import Proposals, learned
    from lmk.evaluation import check_submission, gap_of
    from lmk.predictions import Predictions, read_submission, write_submission
    from lmk.retrieval.neighbours import Options, find_landmarks

    found: Figures = {}
    known, shown, asked, truth = synthetic(photos, landmarks, queries)
    names, dev = np.arange(queries).astype(str), np.arange(queries) % 2 == 0
    with timed(found, "retrieval"):
        near = find_landmarks(names, known, shown, known[:0], asked, Options(), TOP_K)[0]
    found["retrieval: GAP"] = round(gap_of(near.take(~dev), truth[~dev]), 4)
    with np.load(lists, allow_pickle=False) as stored:
        sources = [Predictions(names, stored["landmarks"], stored["scores"]), near]
    with timed(found, "blend"):
        blended = fit_blend([one.take(dev) for one in sources], truth[dev], 0)(sources, CANDIDATES)
    found["blend: GAP"] = round(gap_of(blended.take(~dev), truth[~dev]), 4)
    rng = np.random.default_rng(1)
    right = blended.landmarks == truth[:, None]
    inliers = rng.poisson(np.where(right, 12, 3))
    features = np.stack([blended.scores, np.log1p(inliers), blended.scores - blended.scores[:, :1]], axis=2)
    proposals = Proposals(blended, inliers, inliers[:, :, None], features)
    with timed(found, "fusion"):
        fused = learned(proposals.take(dev), truth[dev])(proposals)
    found["fusion: GAP"] = round(gap_of(fused.take(~dev), truth[~dev]), 4)
    with tempfile.TemporaryDirectory() as folder, timed(found, "submission"):
        path = Path(folder) / "submission.csv"
        write_submission(fused.top(1), path)
        check_submission(read_submission(path), names)
    return found


def _no_photo(name: str) -> np.ndarray:
    raise LmkError(f"There is no photo {name}: descriptors are synthetic.")


def run(photos: int, landmarks: int, queries: int, steps: int, batch: int) -> Figures:
    """All figures; each head and what follows in a process of its own."""
    found: Figures = {"photos": photos, "landmarks": landmarks, "queries": queries, "steps": steps, "batch": batch}
    sizes = [str(number) for number in (photos, landmarks, queries, steps, batch)]
    with tempfile.TemporaryDirectory() as folder:
        for name in (*KINDS, "after"):
            words = [sys.executable, "-m", "benchmarks.many", "--only", name, "--lists", f"{folder}/lists.npz", *sizes]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise LmkError(f"The step {name} failed: {done.stderr[-2000:]}")
            found |= json.loads(done.stdout.splitlines()[-1])
    return found


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.many`."""
    options = parser("many", __doc__)
    defaults = (("photos", PHOTOS), ("landmarks", LANDMARKS), ("queries", QUERIES), ("steps", STEPS), ("batch", BATCH))
    for name, default in defaults:
        options.add_argument(name, type=int, nargs="?", default=default, help=f"{default:,} by default")
    options.add_argument("--only", choices=[*KINDS, "after"], help=argparse.SUPPRESS)
    options.add_argument("--lists", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args(words)
    if given.only == "after":
        sys.stdout.write(json.dumps(after(given.photos, given.landmarks, given.queries, given.lists)) + "\n")
    elif given.only:
        sizes = (given.photos, given.landmarks, given.queries, given.steps)
        figures = head(*sizes, given.only, given.lists, given.batch)
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        show(run(given.photos, given.landmarks, given.queries, given.steps, given.batch), given.json)


if __name__ == "__main__":
    main()
