"""Options that the commands about Kaggle share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmk.cli.app import KAGGLE

if TYPE_CHECKING:
    from lmk.kaggle.api import Client

RecordsOption = Annotated[
    Path,
    typer.Option(
        "--records",
        envvar="LMK_SUBMISSIONS",
        rich_help_panel=KAGGLE,
        help="Folder of submission records, one folder each.",
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        envvar="LMK_KAGGLE_TIMEOUT",
        min=1,
        rich_help_panel=KAGGLE,
        help="Longest silence of Kaggle, in seconds.",
    ),
]
DEFAULT_RECORDS = Path("submissions")
DEFAULT_TIMEOUT = 30.0
SCORE_SECONDS = 1800.0
"""Longest wait for a score."""


def kaggle_slug(competition: str) -> str:
    """The slug on Kaggle of a competition's slug or folder.

    Raises:
        LmkError: It has none.
    """
    from lmk.kaggle.api import slug_of
    from lmk.util.errors import LmkError

    if competition == "demo":
        raise LmkError(
            "The demo is not on Kaggle. Name a competition by -c, such as landmark-recognition-2020, or once for all "
            "commands by `lmk config set competition SLUG`."
        )
    folder = Path(competition).expanduser()
    return slug_of(folder.resolve().name if "://" not in competition and folder.is_dir() else competition)


def connect(timeout: float) -> Client:
    """Sign in to Kaggle."""
    from lmk.kaggle.api import Client

    return Client(timeout)
