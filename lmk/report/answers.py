"""Answers of the test photos, as the report lists them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmk.data.names import label
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.report.pictures import Album, Picture
from lmk.report.record import FinishedRun
from lmk.util.errors import LmkError
from lmk.util.progress import Progress, silent

MOST = 1500
"""Test photos listed at the most."""
PICTURED = 400
"""Test photos with a thumbnail at the most."""
SIDE = 72
"""Longest side of a thumbnail, in pixels."""
NEXT = 2
"""Candidates after the answer that are named."""


@dataclass(frozen=True)
class Answer:
    """The submission's answer for a test photo; names are ids with names, as `lmk.data.names.label` writes them."""

    id: str
    answer: str
    confidence: float
    next: str
    picture: Picture | None


@dataclass(frozen=True)
class Tested:
    """Answers of test photos, the surest first, and how many there are in all."""

    answers: list[Answer]
    count: int


def tested_photos(record: FinishedRun, names: dict[int, str], album: Album, progress: Progress = silent) -> Tested:
    """The answers of the submitted stage; none where its file is gone.

    Args:
        record: The run.
        names: Names by landmark.
        album: Makes thumbnails as long as its budget lasts.
        progress: Reports thumbnails.
    """
    folder = record.folder.parent.parent / "predictions"
    try:
        found = Predictions.load(folder / f"{record.run.predictions[record.final_stage]}.test.parquet")
    except (LmkError, KeyError):
        return Tested([], 0)
    order = np.argsort(-found.confidence, kind="stable")
    order = order[found.best[order] != NO_LANDMARK]
    answers = []
    with progress("Drawing test photos", min(len(order), PICTURED), "photos") as advance:
        for place, row in enumerate(order[:MOST].tolist()):
            photo, landmarks = str(found.ids[row]), found.landmarks[row]
            others = [label(one, names) for one in landmarks[1 : 1 + NEXT].tolist() if one != NO_LANDMARK]
            picture = None
            if place < PICTURED:
                picture = album.thumbnail(photo, f"Photo {photo} of the test.", SIDE)
                advance(1)
            confidence = float(found.confidence[row])
            answers.append(Answer(photo, label(int(landmarks[0]), names), confidence, "; ".join(others), picture))
    return Tested(answers, len(order))
