"""Names of landmarks, where a competition tells them: for people alone, nothing is computed from them."""

from pathlib import Path
from urllib.parse import unquote

from lmk.data.tables import read_labels
from lmk.predictions import NO_LANDMARK

CATEGORIES = "train_label_to_category.csv"
"""Of the 2019 to 2021 editions: `landmark_id,category`, the category being a page of Wikimedia Commons."""
NAMES = "landmarks.csv"
"""Of the demo, and of folders of one's own: `landmark_id,name`."""


def read_names(root: Path) -> dict[int, str]:
    """A landmark to its name, from what the folder `root` holds; empty if it holds neither table.

    Raises:
        LmkError: A table is damaged.
    """
    for file, column in ((CATEGORIES, "category"), (NAMES, "name")):
        if (root / file).is_file():
            landmarks, words = read_labels(root / file, column)
            return {landmark: title_of(word) for landmark, word in zip(landmarks.tolist(), words, strict=True) if word}
    return {}


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
