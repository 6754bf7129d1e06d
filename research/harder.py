"""Competitions made of another one: fewer photos of each landmark, fewer distractors, smaller photos.

Choices must hold there, too; the seeds of a run vary its split and networks, while the photos drawn here stay.
"""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from benchmarks.output import parser


@dataclass(frozen=True)
class Harder:
    """What is left of a competition; None leaves all.

    Attributes:
        photos: The most training photos a landmark.
        distractors: Photos of no landmark.
        tests: Test photos. Nothing is scored on them: they are what answers are spread over.
        side: Shorter side of every photo, in pixels; larger photos are shrunk.
    """

    photos: int | None = None
    distractors: int | None = None
    tests: int | None = None
    side: int | None = None


SETTINGS = {
    "all photos": Harder(),
    "four photos": Harder(photos=4),
    "four photos, 15 distractors": Harder(photos=4, distractors=15),
    "photos of 128 px": Harder(side=128),
    "all three": Harder(photos=4, distractors=15, side=128),
}
"""Settings by name."""


def harder_parser(command: str, doc: str | None) -> ArgumentParser:
    """The parser of a command that runs lmk in `SETTINGS` of a competition, with several seeds."""
    options = parser(command, doc)
    options.add_argument("competition", type=Path)
    options.add_argument("--weights", required=True, help="as for make-submission")
    options.add_argument("--folder", type=Path, required=True, help="for the harder competitions and a workspace")
    options.add_argument("--setting", choices=SETTINGS, action="append", help="all without")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--folds", type=int, default=3)
    options.add_argument("--tests", type=int, default=200, help="test photos that answers are spread over")
    options.add_argument("--markdown", action="store_true", help="print a table of Markdown on stdout")
    return options


def made_harder(words: Namespace) -> Iterator[tuple[str, Path]]:
    """Each setting that the words of `harder_parser` ask for, and its competition, which is made where it is not."""
    for setting in words.setting or SETTINGS:
        competition = words.folder / setting.replace(", ", "-").replace(" ", "-")
        make_harder(words.competition, competition, replace(SETTINGS[setting], tests=words.tests))
        yield setting, competition


def make_harder(source: Path, folder: Path, harder: Harder, seed: int = 0) -> None:
    """Write the competition `folder` with what `harder` leaves of the one in `source`; an existing folder is kept.

    Args:
        source: A competition with the files `train.csv` and `sample_submission.csv`, and the folders of photos
            `train`, `test` and `distractors`.
        folder: Where to write.
        harder: What is left.
        seed: Random seed of the photos that stay.
    """
    if folder.exists():
        return
    rng = np.random.default_rng(seed)
    train = pd.read_csv(source / "train.csv", dtype=str).sort_values("id")
    train = train.iloc[rng.permutation(len(train))].groupby("landmark_id").head(harder.photos or len(train))
    sample = pd.read_csv(source / "sample_submission.csv", dtype=str, keep_default_na=False)
    sample = sample.iloc[np.sort(rng.permutation(len(sample))[: harder.tests])]
    strangers = sorted(path for path in (source / "distractors").rglob("*") if path.is_file())
    strangers = [strangers[place] for place in np.sort(rng.permutation(len(strangers))[: harder.distractors])]
    draft = folder.with_name(f"{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for name, ids in (("train", set(train["id"])), ("test", set(sample["id"]))):
        _copy([path for path in (source / name).rglob("*") if path.stem in ids], draft / name, harder.side)
    _copy(strangers, draft / "distractors", harder.side)
    train.sort_values("id").to_csv(draft / "train.csv", index=False)
    sample.to_csv(draft / "sample_submission.csv", index=False)
    draft.rename(folder)


def _copy(photos: list[Path], folder: Path, side: int | None) -> None:
    folder.mkdir(parents=True)
    for path in photos:
        photo = None if side is None else cv2.imread(str(path))
        if photo is None or side is None or min(photo.shape[:2]) <= side:
            shutil.copy(path, folder / path.name)
            continue
        zoom = side / min(photo.shape[:2])
        small = cv2.resize(photo, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / path.name), small, [cv2.IMWRITE_JPEG_QUALITY, 95])
