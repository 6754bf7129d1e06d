"""What is odd about a competition's files and does not stop a run: counted, listed, and said with its remedy."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmk.data.names import names_flaw
from lmk.data.photos import PhotoFiles
from lmk.predictions import NO_LANDMARK
from lmk.util.arrays import positions
from lmk.util.csv_text import check_lines

UNENDED, CUT, STRAY = "train-csv-without-last-line-end", "train-csv-cut", "train-photos-without-row"
"""Kinds of findings that say together whether train.csv was cut."""


@dataclass(frozen=True, eq=False)
class Finding:
    """Something about a competition's files that lmk goes on with, counted and listed.

    Attributes:
        kind: One word to ask for it by, "train-rows-without-photo".
        what: What was counted, in words.
        items: (count,) str, ids, landmarks or files.
        remedy: What lmk does about it, or what a person could do.
    """

    kind: str
    what: str
    items: np.ndarray
    remedy: str

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.items)

    @property
    def examples(self) -> tuple[str, ...]:
        """The first five at the most."""
        return tuple(self.items[:5].tolist())


def train_findings(rows: np.ndarray, landmarks: np.ndarray, lacking: np.ndarray) -> list[Finding]:
    """Findings about the rows of train.csv."""
    known, counts = np.unique(landmarks[~lacking & (landmarks != NO_LANDMARK)], return_counts=True)
    return findings_of(
        (
            "train-rows-without-photo",
            "rows of train.csv without a photo",
            rows[lacking],
            "They are left out of training; fetch their photos to have them.",
        ),
        (
            "landmarks-without-photo",
            "landmarks without any photo",
            np.setdiff1d(landmarks[landmarks != NO_LANDMARK], known),
            "They are never answered.",
        ),
        (
            "landmarks-with-one-photo",
            "landmarks with one photo",
            known[counts == 1],
            "They are trained on, but none of their photos can be held out.",
        ),
        (
            "train-rows-of-no-landmark",
            "rows of train.csv whose landmark is None",
            rows[landmarks == NO_LANDMARK],
            "Their photos serve as distractors.",
        ),
    )


def photo_findings(
    root: Path, train: PhotoFiles, test: PhotoFiles, distractors: PhotoFiles, rows: np.ndarray, test_ids: np.ndarray
) -> list[Finding]:
    """Findings about the photos, and which ids to answer have none."""
    asked = [(train, np.concatenate([rows, test_ids]), "photos", "row or id")]
    if test is not train:
        asked = [
            (train, rows, "train photos", "a row in train.csv"),
            (test, test_ids, "test photos", "an id to answer"),
        ]
    extra = [
        (
            f"{photos.replace(' ', '-')}-without-row",
            f"{photos} without {row}",
            part.ids[positions(ids, part.ids) < 0],
            "They are not used; photos of no landmark may go to distractors/.",
        )
        for part, ids, photos, row in asked
    ]
    parts = [part for part, *_ in asked] + [distractors]
    asked_of_parts = [(part, ids) for part, ids, *_ in asked] + [(distractors, distractors.ids)]
    empty = [part.ids[part.sizes == 0] for part in parts]
    doubled = [_relative(part.doubled, root) for part in parts]
    others = [_relative(part.others, root) for part in parts if part.folders != (root,)]
    bare = root / "distractors"
    return findings_of(
        (
            "test-ids-without-photo",
            "ids to answer without a photo",
            test_ids[test.rows(test_ids) < 0],
            "They are answered last.",
        ),
        *extra,
        ("empty-photos", "photo files of 0 bytes", np.concatenate(empty), "They cannot be read; fetch them again."),
        (
            "doubled-photos",
            "photos whose id another photo has",
            np.concatenate(doubled),
            "The first by path is used; rename or remove the others.",
        ),
        (
            "misnamed-photos",
            "photos whose names are not UTF-8 or hold control characters",
            np.concatenate([_relative(part.misnamed, root) for part in parts]),
            "They are not used; rename them.",
        ),
        (
            "names-in-two-forms",
            "photos whose id looks like another row's or photo's, in other Unicode (NFC, NFD)",
            np.concatenate([_twins(part.ids, np.concatenate([part.ids, ids])) for part, ids in asked_of_parts]),
            "They count as different; rename the photos as the tables write their ids.",
        ),
        ("other-files", "files that are no photos by their suffix", np.concatenate(others), "They are not used."),
        (
            "empty-distractors",
            "folders of distractors without a photo",
            np.array(["distractors"] * (bare.is_dir() and not len(distractors)), str),
            "Put photos of no landmark into it, or remove it.",
        ),
    )


def _twins(ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of `ids` that differ from one of `others` only in how Unicode composes their letters."""

    def foreign(names: np.ndarray) -> list[str]:
        return [name for name in np.unique(names).tolist() if not name.isascii()]

    forms: dict[str, set[str]] = {}
    for name in foreign(others):
        forms.setdefault(unicodedata.normalize("NFC", name), set()).add(name)
    return np.array([name for name in foreign(ids) if len(forms[unicodedata.normalize("NFC", name)]) > 1], str)


def table_findings(root: Path, rows: np.ndarray, landmarks: np.ndarray) -> list[Finding]:
    """Findings about the tables as files: a last row that is or may be cut, names that cannot be read."""
    train, flaw = root / "train.csv", names_flaw(root)
    cut = rows[-1:] if len(rows) and not check_lines(train).ended else rows[:0]
    return findings_of(
        (
            CUT,
            "last row of train.csv that is cut in its number",
            cut if len(cut) and _begins_another(landmarks) else rows[:0],
            "Fetch train.csv again; if it is whole, end its last line.",
        ),
        (
            UNENDED,
            "last row of train.csv without an end of line",
            cut,
            "If the file was cut there, its landmark may be wrong: compare its size with the original's.",
        ),
        ("names-unreadable", "table of names that cannot be used", np.array([flaw] * bool(flaw), str), flaw),
    )


def _begins_another(landmarks: np.ndarray) -> bool:
    """Whether the last of (n,) landmarks, as written, stands in no other row but begins the number of another row's.

    That is what is left of a landmark with several photos when a file ends within its number.
    """
    last, others = str(landmarks[-1]), np.unique(landmarks[:-1])
    return landmarks[-1] not in others and bool(np.strings.startswith(others.astype(str), last).any())


def _relative(paths: tuple[Path, ...], root: Path) -> np.ndarray:
    return np.array([str(path.relative_to(root)) for path in paths], dtype=str)


def findings_of(*found: tuple[str, str, np.ndarray, str]) -> list[Finding]:
    """Findings of (kind, what, items, remedy), where there are items."""
    return [Finding(kind, what, items.astype(str), remedy) for kind, what, items, remedy in found if len(items)]
