"""A real training of all layers on a competition's photos, killed on the way and resumed.

MobileNetV2 with ImageNet weights learns the training photos but every tenth, which are the dev queries, with the
distractors as photos of no landmark. The process is killed (SIGKILL) in the middle of an epoch and started again; the
second one goes on after the last whole epoch. Loss and GAP of each epoch, and photos a second from reading to update.

    python -m benchmarks.training FOLDER --weights mobilenetv2.h5 [--side 96] [--epochs 12] [--kill-after 4] --json
"""

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.output import parser, show
from lmk.util.errors import LmkError
from lmk.util.files import write_json

HELD_OUT = 10
"""Every so many of the shuffled training photos is a dev query."""
LONGEST = 300.0
"""Seconds until a process that ends no epoch is given up."""


def run(words: Sequence[str], kill_after: int, out: Path | None) -> dict[str, object]:
    """Train, kill, resume.

    Args:
        words: Options of the worker, as `main` reads them.
        kill_after: Whole epochs before the kill.
        out: File that is written anew after each epoch.

    Returns:
        `epochs`: Of each its loss, GAP in training and on dev, photos a second, seconds and process (1 or 2);
        `resumed_after`: Whole epochs that the second process found.

    Raises:
        LmkError: A process failed.
    """
    rows: list[dict[str, object]] = []
    found: dict[str, object] = {"epochs": rows, "killed": False}
    with tempfile.TemporaryDirectory() as state:
        for life in (1, 2):
            command = [sys.executable, "-m", "benchmarks.training", *words, "--worker", state]
            with tempfile.TemporaryFile("w+") as errors:
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
                assert process.stdout is not None
                for line in process.stdout:
                    if not line.startswith("{"):
                        continue
                    told = json.loads(line)
                    if "epoch" in told:
                        rows.append({"process": life} | told)
                    else:
                        found |= {f"{name} of process {life}": value for name, value in told.items()}
                    if out is not None:
                        write_json(out, found)
                    if life == 1 and len(rows) == kill_after:
                        # in the middle of the next epoch, which compiles nothing
                        time.sleep(0.5 * min(float(row["seconds"]) for row in rows))  # type: ignore[arg-type]
                        process.send_signal(signal.SIGKILL)
                code = process.wait()
                found["killed"] = found["killed"] or code == -signal.SIGKILL
                if code not in (0, -signal.SIGKILL):
                    errors.seek(0)
                    raise LmkError(f"The training failed: {errors.read().strip()[-400:]}")
            if not found["killed"]:
                break
    history = found.pop("history of process 2", None) or found.pop("history of process 1", [])
    for row, record in zip(rows, history, strict=False):  # type: ignore[call-overload]
        row |= {name: record[name] for name in ("loss", "train_score") if name in record}
    if out is not None:
        write_json(out, found)
    return found


def _work(given) -> None:
    """What a process does: train what its folder lacks, telling each epoch."""
    import keras

    from lmk.data.images import read_photo
    from lmk.evaluation import gap_of
    from lmk.models.device import gpus, on_all_devices
    from lmk.models.extract import forward
    from lmk.models.learner import TrainingSet
    from lmk.models.network import build_extractor, build_network
    from lmk.models.prediction import predict_features
    from lmk.models.recipe import Stage
    from lmk.models.recipe_files import find_recipe
    from lmk.models.training import Trainer
    from lmk.predictions import NO_LANDMARK

    began = time.perf_counter()
    files, ids, landmarks, distractors = _competition(given.folder)
    order = np.random.default_rng(given.seed).permutation(len(ids))
    held = np.zeros(len(ids), bool)
    held[order[::HELD_OUT]] = True
    known = np.unique(landmarks)
    stage = Stage(
        given.epochs, 1e-3, train_from=0, batch_size=given.batch, warmup=1, backbone_factor=0.3, patience=given.epochs
    )
    recipe = replace(
        find_recipe("mobilenetv2-softmax"), name="mobilenetv2-all", image_size=given.side, stages=(stage,), dense=False,
        views=1, normalize=False, dropout=0.2, weight_decay=0.05,
    )  # fmt: skip

    def read(name: str) -> np.ndarray:
        return read_photo(files[name])

    keras.utils.set_random_seed(given.seed)
    with on_all_devices():
        network = build_network(recipe, build_extractor(recipe, given.weights), len(known))
        classes = np.concatenate([np.searchsorted(known, landmarks[~held]), np.full(len(distractors), NO_LANDMARK)])
        data = TrainingSet(np.concatenate([ids[~held], distractors]), classes, None, read)
        clock = {"start": time.perf_counter(), "steps": 0}

        def dev_score() -> float:
            seconds = time.perf_counter() - clock["start"]
            features = forward(network.extractor, recipe, read, ids[held])
            found = predict_features(network, ids[held], features, known, 20)
            gap = float(gap_of(found, landmarks[held]))
            done = len(trainer.history)
            if not clock["steps"]:
                _say({"resumed_after": done, "devices": gpus() or ["CPU"], "seconds_to_first_epoch": seconds})
            clock["steps"] += 1
            _say({"epoch": done + 1, "seconds": seconds, "photos_a_second": len(data.ids) / seconds, "dev_score": gap})
            clock["start"] = time.perf_counter()
            return gap

        trainer = Trainer(network, data, given.seed, Path(given.worker) / "state.npz", dev_score)
        history = trainer.run()
    _say({"history": history, "seconds": time.perf_counter() - began, "photos": len(data.ids)})


def _competition(folder: Path) -> tuple[dict[str, Path], np.ndarray, np.ndarray, np.ndarray]:
    """Files by id, ids (n,) and landmarks (n,) of training photos, and ids of distractors."""
    files = {path.stem: path for part in ("train", "distractors") for path in (folder / part).rglob("*.jpg")}
    with (folder / "train.csv").open(newline="") as file:
        rows = [(row["id"], int(row["landmark_id"])) for row in csv.DictReader(file) if row["id"] in files]
    ids = np.array([name for name, _ in rows])
    distractors = np.array(sorted(path.stem for path in (folder / "distractors").rglob("*.jpg")), dtype=ids.dtype)
    return files, ids, np.array([landmark for _, landmark in rows]), distractors


def _say(found: dict[str, object]) -> None:
    print(json.dumps(found), flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.training`."""
    options = parser("training", __doc__)
    options.add_argument("folder", type=Path, help="a competition in the layout of 2020")
    options.add_argument("--weights", default="none", help="of MobileNetV2, as `lmk make-submission` takes them")
    options.add_argument("--backend", default=os.environ.get("KERAS_BACKEND", "jax"))
    options.add_argument("--side", type=int, default=96)
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--kill-after", type=int, default=4, help="whole epochs; 0: it is not killed")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, help="JSON file that is written after each epoch")
    options.add_argument("--worker", help="folder of a process of the benchmark")
    given = options.parse_args(words)
    if given.worker:
        os.environ["KERAS_BACKEND"] = given.backend
        _work(given)
        return
    shared = [str(given.folder), "--weights", given.weights, "--backend", given.backend, "--side", str(given.side)]
    shared += ["--epochs", str(given.epochs), "--batch", str(given.batch), "--seed", str(given.seed)]
    show(run(shared, given.kill_after, given.out), given.json)


if __name__ == "__main__":
    main()
