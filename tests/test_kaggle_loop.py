"""The whole loop as a person walks it, command by command: fetch, train as kernels, pull, ensemble, submit, watch.

The photos are small and drawn here, the networks tiny: what counts is that each step takes what the one before left.
"""

import csv
import json
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import kaggle_server
import numpy as np
import pytest
from forks import Forks

from lmk.models.backbones.catalogue import TINY, backbone_named
from lmk.models.recipe_files import find_recipe

SLUG = "drawn-landmarks"
RECIPES = ("tinymobilenet-gem", "tinymobilenetv2-gem")
SMALL = ("--folds", "3", "--image-size", "96", "--views", "12", "--epochs", "5", "--jobs", "1")
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
    """The weights that come with lmk, laid out as a dataset; a bundle carries none."""
    folder = tmp_path_factory.mktemp("backbones")
    for recipe in RECIPES:
        name = find_recipe(recipe).backbone
        shutil.copyfile(TINY / f"{name}.weights.h5", folder / backbone_named(name).weights_files[0])
    return folder


@pytest.fixture
def kaggle(competition, backbones, tmp_path, monkeypatch) -> Iterator[kaggle_server.Kaggle]:
    monkeypatch.chdir(tmp_path)
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, competition)], score_seconds=1.0)
    stand_in.add_dataset("tester/backbones", backbones)
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.fixture(scope="module")
def forks(tmp_path_factory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("forks")) as made:
        yield made


@pytest.fixture
def lmk(forks) -> Callable[..., str]:
    """What a command, as a process of its own, prints on stdout; it must succeed."""

    def run(*words: str) -> str:
        done = forks.lmk(*words)
        assert done.returncode == 0, f"lmk {' '.join(words)}: {done.stderr}"
        return done.stdout

    return run


def new_kernel(lmk: Callable[..., str], name: str, *words: str) -> None:
    """A kernel as `lmk kernel new` makes it, with small networks."""
    lmk("kernel", "new", name, *words, "--dataset", "tester/backbones", "--cpu", "-c", SLUG)
    script = Path("kernels", name, f"{name}.py")
    options = ", ".join(repr(word) for word in SMALL)
    script.write_text(script.read_text().replace("weights_folder()]", f"weights_folder(), {options}]"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_loop_from_download_to_leaderboard(kaggle, lmk, competition, backbones, tmp_path):
    lmk("data", "fetch", "-c", SLUG)
    home = Path("workspace", "competitions", SLUG)
    assert (home / "train.csv").read_bytes() == (competition / "train.csv").read_bytes()
    assert not (home / "solution.csv").exists()

    there, here = (f"train-{recipe}" for recipe in RECIPES)
    for name, recipe in zip((there, here), RECIPES, strict=True):
        new_kernel(lmk, name, "--recipe", recipe)
    assert json.loads(lmk("kernel", "push", there, "--json"))["version"] == 1
    assert lmk("kernel", "status", there, "--wait", "--every", "0.5").endswith("version 1: complete\n")
    pulled = json.loads(lmk("kernel", "pull", there, "--json"))
    assert any(name.startswith(f"predictions/{RECIPES[0]}-") for name in pulled["new"])
    assert any(name.startswith(f"weights/{RECIPES[0]}-") for name in pulled["new"])
    command = shlex.split(pulled["command"].replace("FOLDER-OF-WEIGHTS", str(backbones)))[1:]
    again = json.loads(lmk(*command, "--json"))  # the whole command that pull prints, made elsewhere than the kernel
    assert RECIPES[0] in again["reused"]
    lmk("kernel", "run", here, "--input", f"backbones={backbones}", "--keep")

    options = ["-c", str(home), "--weights", str(backbones), *SMALL]
    both = [word for recipe in RECIPES for word in ("-r", recipe)]
    made = json.loads(lmk("make-submission", "--ensemble", *both, *options, "--json"))
    assert set(RECIPES) <= set(made["reused"])  # what the kernels computed is not computed again

    first = json.loads(lmk("submit", made["run"], "-m", "both", "-c", SLUG, "--wait", "--json"))
    assert first["status"] == "complete"
    assert first["left_today"] == 4
    words = ["-r", RECIPES[1], *options, "--workspace", "other"]
    alone = json.loads(lmk("make-submission", *words, "--submit", "-m", "one", "--json"))
    assert (alone["sent"]["status"], alone["sent"]["left_today"]) == ("pending", 3)
    kernels = next(Path("workspace", "submissions").glob(Path(alone["submission"]).name))
    assert kernels.read_bytes() == Path(alone["submission"]).read_bytes()  # the bundle gives the bytes of a run here
    time.sleep(1.0)  # the stand-in takes a second to score
    lmk("submissions", "--update")
    records = json.loads(lmk("submissions", "--json"))
    assert [record["message"] for record in records] == ["both", "one"]
    assert [record["dev"]["gap"] for record in records] == [
        made["dev"]["gap"]["fused"],
        alone["dev"]["gap"][alone["submitted"]],
    ]
    assert [record["models"] for record in records] == [list(RECIPES), [RECIPES[1]]]
    assert all(record["public"] is not None for record in records)
    board = json.loads(lmk("leaderboard", "-c", SLUG, "--json"))["teams"]
    ours = next(team for team in board if team["ours"])
    assert ours["score"] == max(record["public"] for record in records)
    assert json.loads(lmk("scores", "--json", "--png", "scores.png"))["submissions"] == 2
    assert Path("scores.png").stat().st_size > 1000
    assert len(kaggle.competitions[SLUG].submissions) == 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_submission_kernel_passes_the_scored_run(lmk, competition, backbones, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new_kernel(lmk, "submission", "--kind", "submission", "--recipe", RECIPES[0])
    inputs = ["--input", f"backbones={backbones}", "--input", f"{SLUG}={competition}"]
    said = lmk("kernel", "run", "submission", "--rerun", *inputs)
    # Two landmarks of four keep three photos of six; all other photos are asked, and the nine of no landmark.
    assert said.startswith("rerun GAP ")
    assert "(27 photos, 2 landmarks in the gallery)" in said
    hidden = Path("workspace", "kernels", "submission-hidden", "train.csv").read_text().split()[1:]
    gallery = {line.split(",")[1] for line in hidden}
    answers = Path("workspace", "kernels", "submission", "working", "submission.csv").read_text().split("\n")[1:]
    answered = {line.split(",")[1].split()[0] for line in answers if " " in line}
    assert answered == gallery  # no landmark of the public run that the scored run lacks
