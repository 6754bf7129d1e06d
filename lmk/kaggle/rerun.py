"""The scored run of a code competition, simulated: a hidden gallery with a part of the classes, and other photos.

From a competition's training photos a hidden one is drawn: some landmarks keep a half of their photos as the gallery
and give the other half to the test; photos of the other landmarks, and of no landmark, are what must not be answered.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.arrays import positions
from lmk.util.errors import LmkError, reason_of

KEPT_SHARE = 0.6
"""Share of the landmarks that the hidden gallery knows."""


@dataclass(frozen=True)
class Hidden:
    """A hidden competition.

    Attributes:
        folder: Its files, laid out as Kaggle does.
        test_ids: (n,) str, its test photos in the sample's order.
        truth: (n,) int64, the landmark each shows, `NO_LANDMARK` for those that the gallery does not know.
        landmarks: (m,) int64, the landmarks of the gallery.
    """

    folder: Path
    test_ids: np.ndarray
    truth: np.ndarray
    landmarks: np.ndarray


def hide(competition: Path, folder: Path, seed: int) -> Hidden:
    """Draw a hidden competition from the one in `competition` and lay it out in `folder` (photos as links).

    Raises:
        LmkError: The competition has no photos to draw from, or no landmark with two.
    """
    ids, landmarks = _train_rows(competition / "train.csv")
    photos = _photos(competition)
    lie = np.array([name in photos for name in ids.tolist()], dtype=bool)
    ids, landmarks = ids[lie], landmarks[lie]
    rng = np.random.default_rng(seed)
    names, counts = np.unique(landmarks, return_counts=True)
    several = rng.permutation(names[counts >= 2])
    if len(several) == 0:
        raise LmkError(f"{competition} has no landmark with two photos, so no hidden test can be drawn from it.")
    known = np.sort(several[: max(1, round(KEPT_SHARE * len(several)))])
    gallery = np.zeros(len(ids), bool)
    for landmark in known.tolist():
        rows = rng.permutation(np.flatnonzero(landmarks == landmark))
        gallery[rows[: (len(rows) + 1) // 2]] = True
    asked = np.flatnonzero(~gallery)
    nothing = sorted(path.stem for path in (competition / "distractors").glob("*.jpg"))
    test_ids = np.concatenate([ids[asked], np.array(nothing, dtype=str)])
    truth = np.where(np.isin(landmarks[asked], known), landmarks[asked], NO_LANDMARK)
    truth = np.concatenate([truth, np.full(len(nothing), NO_LANDMARK)])
    order = np.argsort(test_ids, kind="stable")
    test_ids, truth = test_ids[order], truth[order]
    _lay_out(folder, photos, ids[gallery], landmarks[gallery], test_ids)
    return Hidden(folder, test_ids, truth, known)


def check_answers(predictions: Predictions, hidden: Hidden) -> None:
    """Refuse answers that the scored run would refuse, or that name a landmark absent from its gallery.

    Raises:
        LmkError: Names the first id or landmark.
    """
    if len(predictions) != len(hidden.test_ids) or (predictions.ids != hidden.test_ids).any():
        lacking = hidden.test_ids[positions(predictions.ids, hidden.test_ids) < 0]
        first = f"; first lacking: '{lacking[0]}'" if len(lacking) else ""
        raise LmkError(
            f"submission.csv answers {len(predictions)} ids, the hidden sample asks {len(hidden.test_ids)} in its order"
            f"{first}. Read sample_submission.csv in the kernel; do not keep ids from an earlier run."
        )
    answered = predictions.best[predictions.best != NO_LANDMARK]
    absent = np.setdiff1d(answered, hidden.landmarks)
    if len(absent):
        raise LmkError(
            f"submission.csv names {len(absent)} landmarks that are not in the hidden train.csv; first: {absent[0]}. "
            "Mask the scores of absent labels (`lmk.kaggle.inside.keep_present`)."
        )


def _train_rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row["id"], int(row["landmark_id"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise LmkError(f"{path} cannot be read as `id,landmark_id` ({reason_of(error)}).") from error
    return np.array([name for name, _ in rows], dtype=str), np.array([number for _, number in rows], dtype=np.int64)


def _photos(competition: Path) -> dict[str, Path]:
    folders = [competition / name for name in ("train", "distractors")]
    return {path.stem: path for folder in folders for path in sorted(folder.rglob("*.jpg"))}


def _lay_out(
    folder: Path, photos: dict[str, Path], ids: np.ndarray, landmarks: np.ndarray, test_ids: np.ndarray
) -> None:
    for part, names in (("train", ids.tolist()), ("test", test_ids.tolist())):
        for name in names:
            place = folder.joinpath(part, *name[:3], f"{name}.jpg")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(photos[name].resolve())
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "landmark_id"), *zip(ids.tolist(), landmarks.tolist(), strict=True)])
    with (folder / "sample_submission.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("id", "landmarks"), *((name, f"{landmarks[0]} 0.1") for name in test_ids.tolist())]
        )
