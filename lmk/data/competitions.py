"""Competitions on disk: rows and photos brought together, and every difference between them listed."""

import difflib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lmk.data.findings import Finding, findings_of, photo_findings, table_findings, train_findings
from lmk.data.photos import SUFFIXES, PhotoFiles, find_photos
from lmk.data.tables import read_sample, read_test, read_train
from lmk.predictions import NO_LANDMARK
from lmk.util.arrays import positions
from lmk.util.errors import LmkError
from lmk.util.files import digest_of, digest_of_file
from lmk.util.progress import Progress, silent

DEMO = "demo"
SLUGS = (
    "landmark-recognition-challenge",
    "landmark-recognition-2019",
    "landmark-recognition-2020",
    "landmark-recognition-2021",
)
SAMPLES = ("sample_submission.csv", "recognition_sample_submission.csv")
SOLUTIONS = ("solution.csv", "recognition_solution_v2.1.csv")
KAGGLE_INPUTS = (Path("/kaggle/input"), Path("/kaggle/input/competitions"))
"""Where a Kaggle kernel finds a competition's files, in a folder named as its slug."""


@dataclass(frozen=True, eq=False)
class Competition:
    """A competition: photos to train on, and photos to answer.

    Attributes:
        name: Slug, "demo", or the folder's name.
        root: The folder.
        train_ids: (n,) str, rows of train.csv whose photo is there, in the file's order.
        train_landmarks: (n,) int64.
        distractor_ids: (d,) str, photos of no landmark, to train on.
        test_ids: (m,) str, every id to be answered, in the sample's order, with a photo or without.
        digest: Names all that was listed: the tables' content, and the photos by id and size. Photos are known by their
            content only to `lmk.data.identity`, whose digest results depend on.
        tables: Digest of each table's content, by the table's name.
        findings: Differences between tables and photos, and other oddities.
        solution_path: The hosts' solution, None if there is none; it is not read here.
    """

    name: str
    root: Path
    train_ids: np.ndarray
    train_landmarks: np.ndarray
    distractor_ids: np.ndarray
    test_ids: np.ndarray
    digest: str
    findings: tuple[Finding, ...]
    solution_path: Path | None
    files: tuple[PhotoFiles, ...] = field(repr=False)
    tables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def photo(self, photo_id: str) -> Path | None:
        """Where the photo of a train, distractor or test id lies, None if there is none."""
        return next((path for files in self.files if (path := files.path(photo_id)) is not None), None)

    def has_photo(self, ids: np.ndarray) -> np.ndarray:
        """(n,) bool, whether each of `ids` has a photo."""
        return np.any([files.rows(ids) >= 0 for files in self.files], axis=0)


def open_competition(name: str, competitions: Path, progress: Progress = silent) -> Competition:
    """Find a competition's files and read them.

    Args:
        name: One of `SLUGS`, "demo" (where it was drawn), or a folder.
        competitions: Folder of competitions, one a slug.
        progress: Reports the folders listed.

    Raises:
        LmkError: Nothing by that name, or files that cannot be used; the text says how to fix it.
    """
    return read_competition(*find_competition(name, competitions), progress)


def find_competition(name: str, competitions: Path) -> tuple[str, Path]:
    """The name of a competition and the folder of its files; arguments as for `open_competition`.

    Raises:
        LmkError: There is nothing by that name.
    """
    if name == DEMO:
        return name, competitions / DEMO
    if name in SLUGS:
        return name, _downloaded(name, competitions)
    folder = Path(name).expanduser()
    own = competitions / name  # fetched, but of another contest, or made of a folder of the same name
    if not (folder / "train.csv").is_file() and (own / "train.csv").is_file():
        folder = own
    if folder.is_dir():
        return folder.resolve().name, folder
    if folder.exists():
        raise LmkError(f"{name} is a file. Name the folder that holds train.csv.")
    known = [DEMO, *SLUGS, *(path.parent.name for path in competitions.glob("*/train.csv"))]
    near = difflib.get_close_matches(name.rstrip("/").rpartition("/")[2], known, n=1, cutoff=0.5)
    meant = f" Did you mean `{near[0]}`?" if near else f" Competitions: {', '.join(dict.fromkeys(known))}, or a folder."
    raise LmkError(
        f"There is no competition or folder '{name}'.{meant} `lmk data fetch -c SLUG` brings one from Kaggle, "
        "`lmk data new FOLDER` makes one of your own photos."
    )


def competitions_here(competitions: Path) -> list[str]:
    """Names of the competitions in a workspace's folder, the last made first."""
    folders = (path.parent for path in competitions.glob("*/train.csv"))
    return [folder.name for folder in sorted(folders, key=lambda folder: (-folder.stat().st_mtime_ns, folder.name))]


def photo_addresses(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ids and addresses of the photos, by part ("train", "test"); a part whose table gives none is absent.

    Raises:
        LmkError: A table cannot be read, or none gives addresses.
    """
    tables = {"train": read_train(_train_table(root))[::2]}
    if (root / "test.csv").is_file():
        tables["test"] = read_test(root / "test.csv")
    given = {part: (ids, urls) for part, (ids, urls) in tables.items() if urls is not None}
    if not given:
        raise LmkError(f"The tables in {root} give no addresses (no column `url`). `lmk data fetch` brings photos.")
    return given


def read_rows(root: Path) -> tuple[np.ndarray, int, int]:
    """Landmarks of the rows of train.csv (n,) int64, `NO_LANDMARK` for none; the number of distractors, which are those
    rows and the photos in distractors/; and of ids to answer. Photos of train and test may be absent.

    Raises:
        LmkError: A table cannot be read, or there is none.
    """
    landmarks = read_train(_train_table(root), with_urls=False)[1]
    distractors = len(find_photos(root / "distractors")) + int((landmarks == NO_LANDMARK).sum())
    return landmarks, distractors, len(_test_ids(root)[0])


def read_competition(name: str, root: Path, progress: Progress = silent) -> Competition:
    """Read the competition that lies in the folder `root`; raises as `open_competition`."""
    rows, landmarks, _ = read_train(_train_table(root), with_urls=False)
    test_ids, tables, findings = _test_ids(root)
    train_folder, test_folder = _photo_folders(root)
    nested = train_folder != root  # beside the tables lie folders of other things
    train = find_photos(train_folder, nested, progress)
    test = train if test_folder == train_folder else find_photos(test_folder, progress=progress)
    distractors = find_photos(root / "distractors", progress=progress)
    _check_parts({"train.csv": rows, tables[0].name: test_ids, "distractors/": distractors.ids})

    place = train.rows(rows)
    lacking, is_none = place < 0, landmarks == NO_LANDMARK
    usable = ~lacking & ~is_none
    if not usable.any():
        raise LmkError(
            f"{train_folder} holds no photo of the {len(rows):,} rows of train.csv"
            + (f"; the first would be {rows[0]}.jpg" if len(rows) else "")
            + ". Fetch the photos, or name the folder that holds them."
        )
    findings += table_findings(root, rows, landmarks)
    findings += train_findings(rows, landmarks, lacking)
    findings += photo_findings(root, train, test, distractors, rows, test_ids)
    none_ids = rows[is_none & ~lacking]
    files = (
        train.keep(place[~lacking]),
        test.keep((asked := test.rows(test_ids))[asked >= 0]),
        distractors,
    )
    contents = {path.name: digest_of_file(path) for path in (root / "train.csv", *tables)}
    key: dict[str, object] = dict(contents)
    key |= dict(zip(("train", "test", "distractors"), (part.digest() for part in files), strict=True))
    return Competition(
        name=name,
        root=root,
        train_ids=rows[usable],
        train_landmarks=landmarks[usable],
        distractor_ids=np.concatenate([distractors.ids, none_ids]),
        test_ids=test_ids,
        digest=digest_of(key),
        findings=tuple(findings),
        solution_path=next((root / name for name in SOLUTIONS if (root / name).is_file()), None),
        files=files,
        tables=contents,
    )


def _downloaded(slug: str, competitions: Path) -> Path:
    """The folder of a slug, in `competitions` or where a Kaggle kernel finds it."""
    places = [competitions / slug, *(inputs / slug for inputs in KAGGLE_INPUTS)]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise LmkError(
            f"{slug} is not in {competitions}. Run `lmk data fetch -c {slug}`, or take its files from "
            f"https://www.kaggle.com/c/{slug}/data and unpack them into {places[0]}."
        )
    return found


def _train_table(root: Path) -> Path:
    """train.csv, or an error that says where it may be."""
    path = root / "train.csv"
    if path.is_file():
        return path
    if (archive := root / "train.csv.zip").is_file():
        raise LmkError(f"{root} has no train.csv. Unpack {archive.name} there.")
    inner = next((table.parent for table in sorted(root.glob("*/train.csv"))), None)
    remedy = f"{inner} has one: name that folder." if inner else "Fetch it, or name the folder that holds it."
    layout = (root / "train").is_dir() or (root / "sample_submission.csv").exists()
    if not inner and not layout and any(path.suffix.lower() in SUFFIXES for path in root.glob("*/*")):
        remedy = f"`lmk data new {shlex.quote(str(root))}` makes a competition of folders of photos, one a landmark."
    raise LmkError(f"{root} has no train.csv. {remedy}")


def _test_ids(root: Path) -> tuple[np.ndarray, list[Path], list[Finding]]:
    """Ids to answer; the tables they came from, the one that rules first; how the tables differ."""
    samples = [root / name for name in SAMPLES if (root / name).is_file()]
    tables = samples[:1] + [root / "test.csv"] * (root / "test.csv").is_file()
    if not tables:
        raise LmkError(
            f"{root} has neither test.csv nor {SAMPLES[0]}, so the photos to answer are unknown. "
            "Fetch it, or write one with a column `id` (test.csv)."
        )
    ids = read_sample(tables[0]) if samples else read_test(tables[0])[0]
    if len(ids) == 0:
        raise LmkError(f"{tables[0]} has no rows, so there is nothing to answer. Fetch it again.")
    if len(tables) == 1:
        return ids, tables, []
    listed = read_test(tables[1])[0]
    findings = findings_of(
        (
            "test-csv-ids-not-in-sample",
            f"ids of test.csv that {tables[0].name} lacks",
            listed[positions(ids, listed) < 0],
            f"They are not answered: {tables[0].name} rules.",
        ),
        (
            "sample-ids-not-in-test-csv",
            f"ids of {tables[0].name} that test.csv lacks",
            ids[positions(listed, ids) < 0],
            f"They are answered: {tables[0].name} rules.",
        ),
    )
    return ids, tables, findings


def _photo_folders(root: Path) -> tuple[Path, Path]:
    """Where photos of train and test lie: train/ and test/, those in images/, images/ itself, or beside the tables."""
    for base in (root, root / "images"):
        if (base / "train").is_dir():
            return base / "train", base / "test"
    pool = root / "images"
    return (pool, pool) if pool.is_dir() else (root, root)


def _check_parts(parts: dict[str, np.ndarray]) -> None:
    """An id names one photo, so no two parts may share one."""
    names = list(parts)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            shared = parts[second][positions(parts[first], parts[second]) >= 0]
            if len(shared):
                raise LmkError(
                    f"{first} and {second} both have id '{shared[0]}'; ids that both have: {len(shared):,}. "
                    "Remove them from one, or rename the photos."
                )
