"""A competition made of a folder of one's own photos: each folder in it is a landmark, called as the folder is."""

import csv
import hashlib
import json
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmk.data.names import NAMES, read_names
from lmk.data.photos import find_photos
from lmk.util.errors import LmkError
from lmk.util.folders import draft_of
from lmk.util.progress import Progress, silent
from lmk.util.text import safe

DISTRACTOR_FOLDERS = ("none", "distractors", "no landmark")
"""Folders whose photos show no landmark, in any case of letters."""
TEST_FOLDER = "test"
"""Folder of photos to answer, in any case of letters."""
SHARE = 0.1
"""Share of the photos that is held out by default."""
KEPT = 2
"""Photos that a landmark keeps for training at least: with one alone none could be held out in dev."""
RECORD = "own.json"
"""Names the folder that a competition was made of; written last."""
SOURCES = "photos.csv"
"""Table of ids and the files that they stand for: `id,file`."""
_MOST_BYTES = 200
"""Bytes of a file name's stem that serves as an id as it is."""


@dataclass(frozen=True)
class Photo:
    """A photo found in the folder.

    Attributes:
        path: The file.
        landmark: Name of the landmark that it shows, None for a distractor or a photo to answer.
        is_test: Whether it is one to answer whose landmark is not known.
    """

    path: Path
    landmark: str | None
    is_test: bool = False


@dataclass(frozen=True)
class Made:
    """Counts of a competition that was made of folders.

    Attributes:
        folder: Where it lies.
        landmarks, train, distractors, test: Numbers of landmarks and of photos.
        held_out: Whether the test photos are held-out ones with a solution.
        others: Files left out, since their suffix is not a photo's.
    """

    folder: Path
    landmarks: int
    train: int
    distractors: int
    test: int
    held_out: bool
    others: int


def make_competition(
    source: Path,
    folder: Path,
    hold_out: float | None = None,
    copy: bool = False,
    seed: int = 0,
    apart: Collection[Path] = (),
    progress: Progress = silent,
) -> Made:
    """Make a competition of the photos in `source`; one made of it before is replaced, whole or not at all.

    Landmarks keep the numbers that an earlier making gave to their names.

    Args:
        source: A folder whose folders hold the photos of one landmark each, at any depth. Photos that lie in it
            directly, or in one of `DISTRACTOR_FOLDERS`, show no landmark; those in `TEST_FOLDER` are to be answered.
        folder: The competition's folder.
        hold_out: Share of the photos, in (0, 1), that become test photos with a solution; None: a tenth where
            `source` has no `TEST_FOLDER`, none else.
        copy: Whether photos are copied; they are linked (symbolically) otherwise.
        seed: Random seed of the choice of held-out photos.
        apart: Folders below `source` that are none of its photos, such as the workspace.
        progress: Reports each photo.

    Raises:
        LmkError: `source` is no such folder, `folder` holds something else, or cannot be written.
    """
    found, others = _find(source, apart, progress)
    _check_target(folder, source)
    tested = [photo for photo in found if photo.is_test]
    known = [photo for photo in found if not photo.is_test]
    if tested and hold_out is not None:
        raise LmkError(
            f"{source} has a folder `{TEST_FOLDER}` of photos to answer, whose landmarks are not known. Leave out "
            "--hold-out, or move that folder away."
        )
    with_solution = not tested
    if with_solution:
        chosen = held_out([photo.landmark for photo in known], SHARE if hold_out is None else hold_out, seed)
        test = [known[row] for row in np.flatnonzero(chosen)]
        rest = [known[row] for row in np.flatnonzero(~chosen)]
        if not test:
            raise LmkError(
                f"{source} has too few photos to hold some out: a landmark keeps {KEPT} at least. Add photos, or put "
                f"photos to answer into {source / TEST_FOLDER}."
            )
    else:
        test, rest = tested, known
    train = [photo for photo in rest if photo.landmark is not None]
    none = [photo for photo in rest if photo.landmark is None]
    names = sorted({photo.landmark for photo in found if photo.landmark is not None})
    numbers = _numbers(names, {name: number for number, name in read_names(folder).items()})
    ids = _ids([*train, *none, *test], source)
    parts = {"train": train, "test": test, "distractors": none}
    try:
        with draft_of(folder) as draft:
            _place(draft, parts, ids, copy, progress)
            _write_tables(draft, parts, ids, numbers, source, with_solution)
            (draft / RECORD).write_text(json.dumps({"source": safe(source.resolve())}) + "\n", encoding="utf-8")
    except OSError as error:
        raise LmkError(f"The competition cannot be written to {folder}: {error.strerror}.") from error
    return Made(folder, len(names), len(train), len(none), len(test), with_solution, others)


def held_out(landmarks: Sequence[str | None], share: float, seed: int) -> np.ndarray:
    """(n,) bool, photos that are held out: `share` of all, spread evenly over landmarks and distractors.

    Args:
        landmarks: What each photo shows, None for no landmark.
        share: In (0, 1).
        seed: Random seed of the choice.
    """
    rng = np.random.default_rng([seed, 3])
    order = np.full(len(landmarks), np.inf)
    groups: dict[str, list[int]] = {}
    for row, landmark in enumerate(landmarks):
        groups.setdefault("" if landmark is None else f"/{landmark}", []).append(row)
    for name in sorted(groups):
        rows = rng.permutation(groups[name])
        free = len(rows) - (KEPT if name else 0)
        # Photo j of n stands at (j + u) / n: any beginning of this order takes the same share of every group.
        order[rows[: max(0, free)]] = ((np.arange(len(rows)) + rng.random()) / len(rows))[: max(0, free)]
    count = min(max(1, round(share * len(landmarks))), int(np.isfinite(order).sum()))
    chosen = np.zeros(len(landmarks), bool)
    chosen[np.argsort(order, kind="stable")[:count]] = True
    return chosen


def _find(source: Path, apart: Collection[Path], progress: Progress) -> tuple[list[Photo], int]:
    """The photos below `source` in a fixed order, and how many other files there are."""
    if not source.is_dir():
        what = "is no folder" if source.exists() else "does not exist"
        raise LmkError(f"{source} {what}. Name a folder that holds a folder of photos for each landmark.")
    if (source / "train.csv").is_file():
        raise LmkError(f"{source} is a competition already: it has a train.csv. Name it by `-c {source}`.")
    direct = find_photos(source, nested=False, progress=progress)
    photos = [Photo(path, None) for path in sorted(direct.paths())]
    others = len(direct.others)
    left_out = {path.resolve() for path in apart}
    for inner in sorted(source.iterdir()):
        if inner.name.startswith(".") or not inner.is_dir() or inner.resolve() in left_out:
            continue
        name = safe(unicodedata.normalize("NFC", inner.name)).strip()
        listed = find_photos(inner, progress=progress)
        others += len(listed.others)
        kind = name.casefold()
        landmark = None if kind in DISTRACTOR_FOLDERS or kind == TEST_FOLDER else name
        paths = sorted([*listed.paths(), *listed.doubled])  # one name in two inner folders: two photos
        photos += [Photo(path, landmark, kind == TEST_FOLDER) for path in paths]
    landmarks = sorted({photo.landmark for photo in photos if photo.landmark is not None})
    if len(landmarks) < 2:
        found = f"photos of one landmark only ({landmarks[0]})" if landmarks else "no folder of photos"
        raise LmkError(
            f"{source} holds {found}, "
            "and two landmarks are needed. Make a folder for each landmark in it, called by the landmark's name, with "
            "its photos (.jpg, .png, .webp)."
        )
    return photos, others


def _check_target(folder: Path, source: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise LmkError(f"{folder} holds something that `lmk data new` did not make. Give another name by --name.")
    if folder.resolve() == source.resolve():
        raise LmkError(f"{folder} holds the photos themselves. Give another name by --name.")


def _numbers(names: Sequence[str], before: Mapping[str, int]) -> dict[str, int]:
    """A number for each name: the one it had before, else the next that is free, from 1."""
    kept = {name: before[name] for name in names if name in before}
    free = max(before.values(), default=0)
    for name in names:
        if name not in kept:
            free += 1
            kept[name] = free
    return kept


def _ids(photos: Sequence[Photo], source: Path) -> dict[Path, str]:
    """An id for each photo: its file's name where that can serve and no other photo has it, else with a digest."""
    stems = {photo.path: unicodedata.normalize("NFC", photo.path.stem) for photo in photos}
    times = Counter(stem.casefold() for stem in stems.values())
    found = {}
    for path, stem in stems.items():
        fits = len(os.fsencode(stem)) <= _MOST_BYTES and stem == stem.strip(" .") and "\\" not in stem and stem
        if fits and times[stem.casefold()] == 1:
            found[path] = stem
            continue
        digest = hashlib.sha256(os.fsencode(path.relative_to(source))).hexdigest()[:8]
        found[path] = f"{stem}-{digest}" if fits else digest
    return found


def _place(
    folder: Path, parts: Mapping[str, Sequence[Photo]], ids: Mapping[Path, str], copy: bool, progress: Progress
) -> None:
    """Copy the photos into the folders of their parts, or link them there."""
    total = sum(len(photos) for photos in parts.values())
    with progress("Copying photos" if copy else "Linking photos", total, "photos") as advance:
        for part, photos in parts.items():
            (folder / part).mkdir()
            for photo in photos:
                target = folder / part / f"{ids[photo.path]}{photo.path.suffix}"
                if copy:
                    shutil.copyfile(photo.path, target)
                else:
                    target.symlink_to(photo.path.resolve())
                advance(1)


def _write_tables(
    folder: Path,
    parts: Mapping[str, Sequence[Photo]],
    ids: Mapping[Path, str],
    numbers: Mapping[str, int],
    source: Path,
    with_solution: bool,
) -> None:
    train = [(ids[photo.path], numbers[photo.landmark]) for photo in parts["train"] if photo.landmark is not None]
    test = [(ids[photo.path], photo.landmark) for photo in parts["test"]]
    _write(folder / "train.csv", ["id", "landmark_id"], train)
    _write(folder / "sample_submission.csv", ["id", "landmarks"], [(photo_id, "") for photo_id, _ in test])
    if with_solution:
        truth = [(photo_id, "" if name is None else numbers[name], "Private") for photo_id, name in test]
        _write(folder / "solution.csv", ["id", "landmarks", "Usage"], truth)
    _write(folder / NAMES, ["landmark_id", "name"], sorted((number, name) for name, number in numbers.items()))
    files = [(ids[photo.path], safe(photo.path.relative_to(source))) for photos in parts.values() for photo in photos]
    _write(folder / SOURCES, ["id", "file"], sorted(files))


def _write(path: Path, header: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
