"""Finished runs for the tests of what is shown of them: real files, evidence and record; the scores are drawn."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from lmk.data.competitions import read_competition
from lmk.data.identity import identify
from lmk.data.splits import make_split
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.building.verification import VerificationSteps
from lmk.pipeline.config import Execution, config_of
from lmk.pipeline.dataset import dataset_of, open_dataset
from lmk.pipeline.figures import figures
from lmk.pipeline.key import Key
from lmk.pipeline.recording import keep_record
from lmk.pipeline.results import Answers, Blended
from lmk.pipeline.steps import ENSEMBLE, FUSED, RETRIEVAL, VERIFICATION, Outcome, Step
from lmk.predictions import Predictions, best_of
from lmk.util.workspace import Workspace

LANDMARKS = (3, 14, 159, 2653, 58979, 323846)
TITLES = {
    3: "Tour_de_l%27Horloge",
    14: "Old_Market",
    159: "Tom_%26_Tim%27s_Inn",
    2653: "Elms_<Upper>",
    58979: "Lighthouse",
}
"""Wikimedia's names of the landmarks but for the last."""
RECIPE = "mobilenetv2-gem"
SIDE = 200


def make_run(root: Path) -> Workspace:
    """A workspace with two runs on one competition of 6 landmarks; photos of a landmark are crops of one pattern."""
    competition = make_competition(root / "crops")
    workspace = Workspace.open(root / "workspace")
    for seed in (1, 2):
        record_run(competition, workspace, seed)
    return workspace


def record_run(competition: Path, workspace: Workspace, seed: int) -> str:
    """Record a run whose scores `seed` draws; its name."""
    settings = {"weights": "none", "folds": 3, "share_without_landmark": 0.5, "candidates": 2, "gallery": 4}
    config = config_of((RECIPE,), spread=False, **settings)
    execution = Execution(workspace, jobs=1)
    files = read_competition("crops", competition)
    lost = {files.train_ids[0].item(): "truncated JPEG"}
    identity = replace(identify(files, workspace.root / "photos"), unreadable=lost)
    whole = open_dataset(config, files, execution).split
    kept = whole.train_ids != files.train_ids[0]
    share = config.share_without_landmark
    split = make_split(
        whole.train_ids[kept], whole.train_landmarks[kept], whole.distractor_ids, config.folds, share, config.seed
    )
    dataset = dataset_of(config, files, identity, split)
    rng = np.random.default_rng(seed)
    shared = Shared(config, dataset, execution)
    local = LocalSteps(shared)
    steps, outcome = [*local.local_features()], Outcome()
    for stage, noise in ((RECIPE, 0.5), (RETRIEVAL, 0.4), (ENSEMBLE, 0.3), (FUSED, 0.1)):
        dev = draw_answers(dataset.dev.ids, dataset.dev.truth, noise, rng)
        if stage == FUSED:  # which ranks the ensemble's proposals anew
            proposed = outcome.results[ENSEMBLE].dev
            dev = best_of(
                proposed.ids, proposed.landmarks, proposed.scores + noise * rng.random(proposed.scores.shape), 2
            )
        test = dev.take(np.arange(2))
        result = Blended(dev, test, 0.01, {RECIPE: 0.25, RETRIEVAL: 0.75}) if stage == ENSEMBLE else Answers(dev, test)
        key = Key.of(stage, {"seed": seed})
        slot = shared.cache.answers(key, type(result))
        slot.save(result)
        steps.append(Step(stage, stage, (), key, slot, lambda results: None))
        shared.keys[stage] = key
        outcome.results[stage], outcome.seconds[stage] = result, 10.0 * noise
        if stage == ENSEMBLE:
            step = VerificationSteps(shared, local).verification()
            outcome.results[VERIFICATION] = step.compute(outcome.results)
            outcome.seconds[VERIFICATION] = 1.0
            steps.append(step)
    answers = {stage: outcome.results[stage] for stage in (RECIPE, RETRIEVAL, ENSEMBLE, FUSED)}
    name = f"crops-{seed:012d}"
    dev = figures(config, dataset, answers)
    path = workspace.submissions / f"{name}.csv"
    keep_record(config, dataset, execution, name, path, steps, outcome, dev, FUSED, 0.1)
    return name


def draw_answers(ids: np.ndarray, truth: np.ndarray, noise: float, rng: np.random.Generator) -> Predictions:
    """Two landmarks a query, scored in [0, 1]: the shown one high, but for noise."""
    landmarks = np.tile(np.array(LANDMARKS), (len(ids), 1))
    scores = 0.2 + 0.5 * (landmarks == truth[:, None]) + noise * rng.standard_normal(landmarks.shape)
    return best_of(ids, landmarks, np.clip(scores, 0, 1), 2)


def make_competition(folder: Path) -> Path:
    """Six landmarks with 5 training photos and a test photo each, and 6 distractors."""
    rng = np.random.default_rng(0)
    rows = []
    for landmark in (*LANDMARKS, None):
        pattern = cv2.resize(rng.integers(0, 256, (36, 36, 3), dtype=np.uint8), (360, 360))
        for place in range(6):
            if landmark is None:
                pattern = cv2.resize(rng.integers(0, 256, (36, 36, 3), dtype=np.uint8), (360, 360))
            name = f"{rng.integers(2**63):016x}"
            top, left = rng.integers(0, 360 - SIDE, 2)
            part = "distractors" if landmark is None else "test" if place == 5 else "train"
            path = folder / part / name[0] / name[1] / name[2] / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pattern[top : top + SIDE, left : left + SIDE])
            rows.append((part, name, landmark))
    train = [f"{name},{landmark}" for part, name, landmark in rows if part == "train"]
    test = [f"{name}," for part, name, _ in rows if part == "test"]
    (folder / "train.csv").write_text("id,landmark_id\n" + "\n".join(train) + "\n")
    pages = [f"{landmark},http://commons.wikimedia.org/wiki/Category:{title}" for landmark, title in TITLES.items()]
    (folder / "train_label_to_category.csv").write_text("landmark_id,category\n" + "\n".join(pages) + "\n")
    (folder / "sample_submission.csv").write_text("id,landmarks\n" + "\n".join(test) + "\n")
    return folder
