"""The whole loop as a person walks it, command by command: fetch, train as kernels, pull, ensemble, submit, watch.

The photos are small and drawn here, the backbones random: what counts is that each step takes what the one before left.
"""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import kaggle_server
import numpy as np
import pytest

SLUG = "drawn-landmarks"
RECIPES = ("mobilenet-gem", "mobilenetv2-gem")
LANDMARKS = 4


def draw_photo(landmark: int | None, seed: int) -> np.ndarray:
    """A landmark is a fixed pattern of coloured rectangles; where it stands and how bright it is changes."""
    rng = np.random.default_rng(seed)
    photo = np.full((128, 128, 3), rng.integers(60, 200), np.uint8)
    fixed = np.random.default_rng(1000 + (landmark if landmark is not None else 50 + seed))
    shift = rng.integers(-6, 7, 2)
    for _ in range(24):
        x, y, width, height = fixed.integers(8, 96, 2).tolist() + fixed.integers(6, 30, 2).tolist()
        colour = tuple(int(value) for value in fixed.integers(0, 256, 3))
        corner = (int(x + shift[0]), int(y + shift[1]))
        cv2.rectangle(photo, corner, (corner[0] + width, corner[1] + height), colour, -1)
    return np.clip(photo * rng.uniform(0.8, 1.2) + rng.normal(0, 4, photo.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def competition(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kaggle") / SLUG
    train, solution, seed = [], [], 0

    def save(part: str, landmark: int | None) -> str:
        nonlocal seed
        seed += 1
        name = f"{seed * 7919:016x}"
        nested = folder / part if part == "distractors" else folder.joinpath(part, *name[:3])
        nested.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(nested / f"{name}.jpg"), draw_photo(landmark, seed))
        return name

    for landmark in range(LANDMARKS):
        train += [(save("train", landmark), 10 + landmark) for _ in range(6)]
    for _ in range(9):
        save("distractors", None)
    for number in range(12):
        landmark = number % 6 if number % 6 < LANDMARKS else None
        usage = "Public" if number < 6 else "Private"
        solution.append((save("test", landmark), "" if landmark is None else str(10 + landmark), usage))
    for name, header, rows in (
        ("train.csv", ("id", "landmark_id"), train),
        ("solution.csv", ("id", "landmarks", "Usage"), solution),
        ("sample_submission.csv", ("id", "landmarks"), [(row[0], "10 0.1") for row in solution]),
    ):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    return folder


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> Path:
    """Random weights under the names of real ones; in a process of its own, since Keras is loaded for it."""
    folder = tmp_path_factory.mktemp("backbones")
    script = (
        "import keras\nkeras.utils.set_random_seed(0)\n"
        "builders = {'mobilenet': keras.applications.MobileNet, 'mobilenetv2': keras.applications.MobileNetV2}\n"
        "for name, build in builders.items():\n"
        f"    build(weights=None, include_top=False).save_weights(f'{folder}/{{name}}_1.0_imagenet_notop.weights.h5')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return folder


@pytest.fixture
def kaggle(competition, backbones, tmp_path, monkeypatch) -> Iterator[kaggle_server.Kaggle]:
    monkeypatch.chdir(tmp_path)
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, competition)], score_seconds=1.0)
    stand_in.add_dataset("tester/backbones", backbones)
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


def lmk(*words: str) -> str:
    """What a command prints on stdout; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "lmk.cli.main", *words], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, f"lmk {' '.join(words)}: {done.stderr}"
    return done.stdout


def new_kernel(recipe: str) -> str:
    """A kernel as `lmk kernel new` makes it, with fewer folds."""
    name = f"train-{recipe}"
    lmk("kernel", "new", name, "--recipe", recipe, "--dataset", "tester/backbones", "--cpu", "-c", SLUG)
    script = Path("kernels", name, f"{name}.py")
    script.write_text(script.read_text().replace("weights_folder()]", "weights_folder(), '--folds', 3]"))
    return name


@pytest.mark.timeout(1200)
def test_the_whole_loop_from_download_to_leaderboard(kaggle, competition, backbones, tmp_path):
    lmk("data", "fetch", "-c", SLUG)
    home = Path("workspace", "competitions", SLUG)
    assert (home / "train.csv").read_bytes() == (competition / "train.csv").read_bytes()
    assert not (home / "solution.csv").exists()

    there, here = new_kernel(RECIPES[0]), new_kernel(RECIPES[1])
    assert json.loads(lmk("kernel", "push", there, "--json"))["version"] == 1
    assert lmk("kernel", "status", there, "--wait", "--every", "0.5").endswith("version 1: complete\n")
    pulled = json.loads(lmk("kernel", "pull", there, "--json"))
    assert any(name.startswith(f"predictions/{RECIPES[0]}-") for name in pulled["new"])
    assert any(name.startswith(f"weights/{RECIPES[0]}-") for name in pulled["new"])
    lmk("kernel", "run", here, "--input", f"backbones={backbones}", "--keep")

    options = ["-c", str(home), "--weights", str(backbones), "--folds", "3"]
    both = [word for recipe in RECIPES for word in ("-r", recipe)]
    made = json.loads(lmk("make-submission", "--ensemble", *both, *options, "--json"))
    assert set(RECIPES) <= set(made["reused"])  # what the kernels computed is not computed again

    alone = json.loads(lmk("make-submission", "-r", RECIPES[1], *options, "--workspace", "other", "--json"))
    kernels = next(Path("workspace", "submissions").glob(Path(alone["submission"]).name))
    assert kernels.read_bytes() == Path(alone["submission"]).read_bytes()  # the bundle gives the bytes of a run here

    first = json.loads(lmk("submit", made["run"], "-m", "both", "-c", SLUG, "--wait", "--json"))
    assert first["status"] == "complete"
    assert first["left_today"] == 4
    lmk("submit", str(kernels), "-m", "one", "-c", SLUG)
    time.sleep(1.5)  # the stand-in takes a second to score
    lmk("submissions", "--update")
    records = json.loads(lmk("submissions", "--json"))
    assert [record["message"] for record in records] == ["both", "one"]
    assert records[0]["dev"]["gap"] == made["dev"]["gap"]["fused"]
    assert records[0]["models"] == list(RECIPES)
    assert all(record["public"] is not None for record in records)
    board = json.loads(lmk("leaderboard", "-c", SLUG, "--json"))["teams"]
    ours = next(team for team in board if team["ours"])
    assert ours["score"] == max(record["public"] for record in records)
    assert json.loads(lmk("scores", "--json", "--png", "scores.png"))["submissions"] == 2
    assert Path("scores.png").stat().st_size > 1000
    assert len(kaggle.competitions[SLUG].submissions) == 2
