"""Names of landmarks, where a competition has them: for people alone, nothing is computed from them."""

from pathlib import Path
from urllib.parse import unquote

from lmk.data.tables import read_labels
from lmk.predictions import NO_LANDMARK
from lmk.util.errors import LmkError

CATEGORIES = "train_label_to_category.csv"
"""File of the 2019 to 2021 editions: `landmark_id,category`, the category being a page of Wikimedia Commons."""
NAMES = "landmarks.csv"
"""File of the demo, and of folders of one's own: `landmark_id,name`."""
MOST_LETTERS = 200
"""Letters of a name that are shown at the most; a page would grow with the longest."""


def read_names(root: Path) -> dict[int, str]:
    """Names by landmark, from what the folder `root` holds; empty where it holds no table, or none that can be used.

    Nothing is computed from names, so a table that is no good costs the names and nothing else; `names_flaw` says why.
    """
    try:
        return _read(root)
    except (LmkError, OSError):
        return {}


def names_flaw(root: Path) -> str:
    """Fault of the table of names in the folder `root`, in one sentence; empty where nothing is."""
    try:
        _read(root)
    except (LmkError, OSError) as error:
        return f"{error} Until then landmarks have no names."
    return ""


def _read(root: Path) -> dict[int, str]:
    for file, column in ((CATEGORIES, "category"), (NAMES, "name")):
        if (root / file).is_file():
            landmarks, words = read_labels(root / file, column)
            titles = ((landmark, title_of(word)) for landmark, word in zip(landmarks.tolist(), words, strict=True))
            return {landmark: shortened(title) for landmark, title in titles if title}
    return {}


def shortened(title: str) -> str:
    """The title, cut where it has more letters than `MOST_LETTERS`."""
    return title if len(title) <= MOST_LETTERS else f"{title[: MOST_LETTERS - 3]}..."


def title_of(category: str) -> str:
    """`Trevi Fountain` of `http://commons.wikimedia.org/wiki/Category:Trevi_Fountain`; other words as they are."""
    page, mark, title = category.partition("/wiki/")
    if not (mark and page.startswith(("http://", "https://"))):
        return category.strip()
    return unquote(title.removeprefix("Category:")).replace("_", " ").strip()


def label(landmark: int, names: dict[int, str]) -> str:
    """`4338 (Palace at Upper Quay)`, the id alone where it has no name, nothing for `NO_LANDMARK`."""
    if landmark == NO_LANDMARK:
        return ""
    return f"{landmark} ({names[landmark]})" if landmark in names else str(landmark)
