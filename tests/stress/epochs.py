"""Kill a training at random moments within its epochs, go on, and compare with one that nobody killed: the same bytes.

A tiny network learns in a frozen and in a tuned stage, whose weights are averaged, and writes a checkpoint after each
step. Each run of it is killed (SIGKILL) at a random moment after the training has begun, and started again, until it
ends; then the next one begins, until there were as many kills as asked for.

    python -m tests.stress.epochs --kills 30 --json
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import parser, show
from lmk.util.errors import LmkError
from tests.stress.kills import fork, kill, wait

PHOTOS, LANDMARKS, SIDE = 96, 3, 32
LONGEST = 600.0
"""Seconds after which a run is taken to hang."""


def load() -> None:
    """Load the libraries, and start nothing: a TensorFlow that has computed dies in a fork."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import tiny

    import lmk.models.training  # noqa: F401

    tiny.install(tiny._put)
    tiny.install_network(tiny._put)


def train(folder: Path) -> None:
    """Train in `folder`, from its checkpoint if there is one; leaves `weights.npz` and `history.json`."""
    from dataclasses import replace

    import tensorflow

    from lmk.models.extract import forward
    from lmk.models.learner import TrainingSet
    from lmk.models.network import build_extractor, build_network
    from lmk.models.recipe import Stage
    from lmk.models.recipes import RECIPES
    from lmk.models.training import Trainer
    from lmk.util.files import atomic_path, write_json

    tensorflow.config.run_functions_eagerly(True)  # tracing so small a network takes longer than running it
    tensorflow.keras.utils.set_random_seed(0)
    stages = (Stage(2, 0.02, batch_size=16, ema=0.9), Stage(2, 0.01, train_from=0, batch_size=32, ema=0.9))
    recipe = replace(RECIPES["tiny-tuned"], name="epochs", dropout=0.3, stages=stages)
    network = build_network(recipe, build_extractor(recipe, "none"), LANDMARKS)
    ids = np.array([f"{number}" for number in range(PHOTOS)])
    data = TrainingSet(
        ids, np.arange(PHOTOS) % (LANDMARKS + 1) - 1, forward(network.extractor, recipe, _photo, ids), _photo
    )
    checkpoint = folder / "epochs.checkpoint.npz"
    history = Trainer(network, data, 0, checkpoint, checkpoint_minutes=0).run()
    with atomic_path(folder / "weights.npz") as draft, draft.open("wb") as file:
        np.savez(file, *network.whole().get_weights())
    write_json(folder / "history.json", history)


def _photo(name: str) -> np.ndarray:
    return np.random.default_rng(int(name)).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def start(folder: Path) -> int:
    """A child that trains in `folder`; returns its number."""
    folder.mkdir(parents=True, exist_ok=True)
    return fork([], folder / "log", lambda: train(folder))


def results(folder: Path) -> dict[str, str]:
    """Digests of what a training leaves."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("weights.npz", "history.json")}


def run(folder: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill trainings until there were `kills` kills; returns what was compared and what differed.

    Raises:
        LmkError: A run failed by itself, or hangs.
    """
    rng = np.random.default_rng(seed)
    begun = time.monotonic()
    quiet = folder / "quiet"
    _ended(start(quiet), quiet)
    written = [path.stat().st_mtime for path in (quiet / "log", quiet / "weights.npz")]
    expected = results(quiet)
    done, runs = 0, 0
    differing: list[str] = []
    places: list[str] = []
    while done < kills:
        place = folder / f"killed{runs:03d}"
        checkpoint = place / "epochs.checkpoint.npz"
        while done < kills:
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

            def begun_again(before: int = before, checkpoint: Path = checkpoint) -> bool:
                return checkpoint.exists() and checkpoint.stat().st_mtime_ns != before

            child = start(place)
            if wait(child, LONGEST, begun_again) is None:
                moment = float(rng.uniform(0, 0.3 * max(0.5, written[1] - written[0])))
                code = wait(child, moment)
                if code is None:
                    kill(child)
                    done += 1
                    places.append(_place(checkpoint))
                    continue
            break
        if not (place / "history.json").exists():
            _ended(start(place), place)
        differing += [f"{place.name}/{name}" for name, digest in results(place).items() if digest != expected[name]]
        differing += [str(path) for path in place.rglob(".*.tmp.*")]
        runs += 1
    return {
        "kills": done,
        "runs": runs,
        "checkpoints_that_kills_left": sorted(set(places)),
        "files_that_differ": differing,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _place(checkpoint: Path) -> str:
    """The stage, epoch and batch of a checkpoint."""
    with np.load(checkpoint, allow_pickle=False) as file:
        said = json.loads(str(file["said"]))
    return f"stage {said['stage']} epoch {said['epoch']} batch {said['done']}"


def _ended(child: int, place: Path) -> None:
    code = wait(child, LONGEST)
    if code is None:
        kill(child)
    if code != 0:
        raise LmkError(f"The training in {place} ended with {code}: {(place / 'log').read_text()[-600:]}")


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m tests.stress.epochs`."""
    options = parser("epochs", __doc__)
    options.add_argument("--kills", type=int, default=30, help="how many in all (default 30)")
    options.add_argument("--seed", type=int, default=0, help="of the moments")
    given = options.parse_args(words)
    load()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), given.kills, given.seed)
    show(found, given.json)
    if found["files_that_differ"]:
        raise LmkError("A killed training does not end as one that nobody killed.")


if __name__ == "__main__":
    main()
