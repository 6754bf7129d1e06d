"""The embedded competition `demo`: drawn from a seed, in the layout of the 2020 edition.

Landmarks are buildings that only a computer has seen. Most test photos show none of them: other places, or other
buildings of the same kinds, put together from the same stones.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
import numpy as np

from lmk.demo import buildings, distractors
from lmk.demo.scenes import photograph, settle
from lmk.predictions import NO_LANDMARK
from lmk.util.errors import LmkError
from lmk.util.files import atomic_path, digest_of
from lmk.util.folders import draft_of
from lmk.util.progress import Progress, silent

RENDERER = 4  # counts up whenever the same seed gives other photos
_RECORD = "demo.json"  # written last: names what the folder was drawn from
_VIEWS = ("plain", "crop", "far", "dusk")
_SHARES = (0.72, 0.105, 0.08, 0.095)
"""Shares of the views among photos of buildings, the same in training, test and distractors."""
_FIRST_NAMES = ("Old", "Upper", "Saint Alder's", "Queen's", "Harbour", "Lower", "Saint Quince's", "Mill", "Bishop's")
_LAST_NAMES = ("Market", "Elms", "Ferry", "Hill", "Bridge", "Orchard", "Quay", "Meadow", "Well", "Lane", "Green")


@dataclass(frozen=True)
class Amounts:
    """How many photos of what a competition holds.

    The test photos are drawn as dev asks (`lmk.data.splits`), so that dev GAP is an estimate of test GAP: landmarks in
    proportion to their training photos, the same share of each view, six of ten photos without a known landmark, and
    three quarters of those showing a building (dev's held-out landmarks and distractors).

    Attributes:
        train, test: photos of each landmark; both of one length.
        train_scenes, test_scenes: photos without a building of rank.
        train_others, test_others: photos of each building that no labelled photo shows; no building is in both.
    """

    train: tuple[int, ...] = (30, 24, 18, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 2)
    test: tuple[int, ...] = (20, 16, 12, 9, 8, 7, 5, 5, 4, 3, 3, 2, 2, 1)
    train_scenes: int = 60
    test_scenes: int = 41
    train_others: tuple[int, ...] = (3,) * 10
    test_others: tuple[int, ...] = (8,) * 15


@dataclass(frozen=True)
class Photo:
    """A photo that is to be taken.

    Attributes:
        id: 16 hexadecimal digits.
        part: "train", "test" or "distractors".
        landmark: its label, `NO_LANDMARK` for none.
        building: number of the building it shows, -1 for a scene without one.
        view: "plain", "crop", "far" or "dusk"; for a scene the name of its kind.
        usage: "Public" or "Private" in the test set, else "".
    """

    id: str
    part: str
    landmark: int
    building: int
    view: str
    usage: str


@dataclass(frozen=True)
class Plan:
    """All that a seed decides before anything is drawn.

    Attributes:
        photos: sorted by id.
        kinds: the kind of each building, an index into `buildings.KINDS`.
        names: landmark to a name for people.
    """

    photos: tuple[Photo, ...]
    kinds: tuple[int, ...]
    names: dict[int, str]


def plan(seed: int, amounts: Amounts = Amounts()) -> Plan:
    """Which photos the competition of a seed holds."""
    rng = np.random.default_rng([seed, 0])
    landmarks = [int(label) for label in rng.choice(np.arange(1000, 203_000), len(amounts.train), replace=False)]
    kinds = _landmark_kinds(rng, len(amounts.train)) + _kinds(rng, len(amounts.train_others), len(amounts.test_others))
    wanted: list[tuple[str, int, int]] = []  # part, landmark, building
    for building, (label, train, test) in enumerate(zip(landmarks, amounts.train, amounts.test, strict=True)):
        wanted += [("train", label, building)] * train + [("test", label, building)] * test
    building = len(landmarks)
    for part, counts in (("distractors", amounts.train_others), ("test", amounts.test_others)):
        for count in counts:
            wanted += [(part, NO_LANDMARK, building)] * count
            building += 1
    wanted += [("distractors", NO_LANDMARK, -1)] * amounts.train_scenes
    wanted += [("test", NO_LANDMARK, -1)] * amounts.test_scenes
    ids: set[str] = set()
    while len(ids) < len(wanted):
        ids.add(rng.bytes(8).hex())
    scenes = [kind.__name__ for kind in distractors.KINDS]
    views = _views(rng, wanted)
    photos = []
    for (part, label, building), name in zip(wanted, rng.permutation(sorted(ids)), strict=True):
        view = next(views[part, label == NO_LANDMARK]) if building >= 0 else str(rng.choice(scenes))
        usage = ("Public" if rng.random() < 1 / 3 else "Private") if part == "test" else ""
        photos.append(Photo(str(name), part, label, building, view, usage))
    names = _names(rng, [buildings.KINDS[kind].__name__ for kind in kinds[: len(landmarks)]])
    return Plan(tuple(sorted(photos, key=lambda photo: photo.id)), kinds, dict(zip(landmarks, names, strict=True)))


def _landmark_kinds(rng: np.random.Generator, count: int) -> tuple[int, ...]:
    """A kind for each landmark; each kind twice, so that a landmark held out in dev has one like it in the gallery, as
    the unknown buildings of the test photos have."""
    chosen = [int(kind) for kind in rng.permutation(len(buildings.KINDS))[: -(-count // 2)]]
    kinds = (chosen * -(-count // max(1, len(chosen))))[:count]
    return tuple(int(kind) for kind in rng.permutation(kinds))


def _views(rng: np.random.Generator, wanted: list[tuple[str, int, int]]) -> dict[tuple[str, bool], Iterator[str]]:
    """Views of the photos of buildings, by part and whether they show no landmark: `_SHARES` of each, not by chance."""
    groups = Counter((part, label == NO_LANDMARK) for part, label, building in wanted if building >= 0)
    found = {}
    for group, count in groups.items():
        ends = np.round(np.cumsum(_SHARES) * count).astype(int)
        numbers = np.repeat(np.arange(len(_VIEWS)), np.diff(ends, prepend=0))
        found[group] = iter([_VIEWS[number] for number in rng.permutation(numbers)])
    return found


def _kinds(rng: np.random.Generator, *groups: int) -> tuple[int, ...]:
    """A kind for each building; each kind once in a group before any comes twice."""
    kinds: list[int] = []
    for size in groups:
        rounds = [rng.permutation(len(buildings.KINDS)) for _ in range(size // len(buildings.KINDS) + 1)]
        kinds += [int(kind) for kind in np.concatenate(rounds)[:size]]
    return tuple(kinds)


def _names(rng: np.random.Generator, kinds: list[str]) -> list[str]:
    """Names that nobody bears twice."""
    pairs = [f"{first} {last}" for first in _FIRST_NAMES for last in _LAST_NAMES]
    chosen = rng.choice(pairs, len(kinds), replace=False)
    return [f"{kind.replace('_', ' ').capitalize()} at {pair}" for kind, pair in zip(kinds, chosen, strict=True)]


def make_demo(
    folder: Path,
    seed: int = 0,
    jobs: int = 2,
    progress: Progress = silent,
    amounts: Amounts = Amounts(),
) -> None:
    """Draw the competition of a seed into `folder`, whole or not at all; at once where it is there already.

    What an interrupted process had drawn is not drawn again.

    Writes train.csv, sample_submission.csv, solution.csv, landmarks.csv, train/a/b/c/<id>.jpg,
    test/a/b/c/<id>.jpg and distractors/<id>.jpg. The same seed gives the same bytes, whatever `jobs` (processes) is.

    Raises:
        LmkError: `folder` holds something that was not drawn here, or cannot be written.
        ValueError: The seed is negative.
    """
    if seed < 0:
        raise ValueError(f"A seed is 0 or more, not {seed}.")
    record = {"seed": seed, "renderer": RENDERER, "photos": len(plan(seed, amounts).photos)}
    if _drawn(folder) == record:
        return
    if folder.exists() and _drawn(folder) is None and any(folder.iterdir()):
        raise LmkError(f"{folder} holds files that lmk did not draw. Name another folder for the demo, or empty it.")
    digest = digest_of({**record, "amounts": repr(amounts)})
    try:
        with draft_of(folder, digest) as draft:
            _draw(draft, seed, plan(seed, amounts), jobs, progress)
            (draft / _RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
    except OSError as error:
        if _drawn(folder) == record:  # another process was quicker with the same
            return
        raise LmkError(f"The demo cannot be written to {folder}: {error.strerror}.") from error


def _drawn(folder: Path) -> object:
    """Settings that `folder` was drawn from; None if it was not drawn here."""
    try:
        return json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _draw(folder: Path, seed: int, planned: Plan, jobs: int, progress: Progress) -> None:
    """Take all photos and write the tables."""
    tasks = list(_tasks(planned))
    with progress("Drawing the demo", len(planned.photos), "photos") as advance:
        run = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        place = folder.resolve()  # a process that was started earlier may stand in another folder
        for count in run(joblib.delayed(_take)(place, seed, kind, photos) for kind, photos in tasks):
            advance(count)
    train = [photo for photo in planned.photos if photo.part == "train"]
    test = [photo for photo in planned.photos if photo.part == "test"]
    _write(folder / "train.csv", ["id", "landmark_id"], [(photo.id, photo.landmark) for photo in train])
    labels, counts = np.unique([photo.landmark for photo in train], return_counts=True)
    example = f"{labels[counts.argmax()]} 0.1"
    _write(folder / "sample_submission.csv", ["id", "landmarks"], [(photo.id, example) for photo in test])
    truth = [(photo.id, "" if photo.landmark == NO_LANDMARK else photo.landmark, photo.usage) for photo in test]
    _write(folder / "solution.csv", ["id", "landmarks", "Usage"], truth)
    _write(folder / "landmarks.csv", ["landmark_id", "name"], sorted(planned.names.items()))


def _tasks(planned: Plan, size: int = 6) -> Iterator[tuple[int, list[Photo]]]:
    """The kind of a building (-1: none) with photos of it, at most `size`: what one process does in one go."""
    for building in range(-1, len(planned.kinds)):
        photos = [photo for photo in planned.photos if photo.building == building]
        kind = planned.kinds[building] if building >= 0 else -1
        for start in range(0, len(photos), size):
            yield kind, photos[start : start + size]


def _take(folder: Path, seed: int, kind: int, photos: list[Photo]) -> int:
    """Build what the photos show, take and write them; returns their number."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the processes share the cores
    try:
        place = None
        if kind >= 0 and not all(_path(folder, photo).exists() for photo in photos):
            rng = np.random.default_rng([seed, 1, photos[0].building])
            place = settle(buildings.build(kind, rng), rng)
        for photo in photos:
            if _path(folder, photo).exists():  # drawn before an interruption
                continue
            rng = np.random.default_rng([seed, 2, int(photo.id, 16)])
            image = photograph(place, rng, photo.view) if place else distractors.scene(photo.view, rng)
            _save(_path(folder, photo), image, int(rng.integers(70, 93)))
    finally:
        cv2.setNumThreads(threads)
    return len(photos)


def _path(folder: Path, photo: Photo) -> Path:
    if photo.part == "distractors":
        return folder / photo.part / f"{photo.id}.jpg"
    return folder.joinpath(photo.part, *photo.id[:3], f"{photo.id}.jpg")


def _save(path: Path, image: np.ndarray, quality: int) -> None:
    """Write (h, w, 3) uint8 RGB as JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape}.")
    with atomic_path(path) as draft:
        draft.write_bytes(data.tobytes())


def _write(path: Path, header: list[str], rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
