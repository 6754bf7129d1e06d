"""The queries that the report shows: the costliest mistakes, and pairs that verification found."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmk.data.competitions import Competition
from lmk.data.names import label
from lmk.data.splits import UNSEEN
from lmk.local.evidence import Evidence
from lmk.metrics import rank
from lmk.predictions import NO_LANDMARK
from lmk.report.costs import DISTRACTOR, mistake_costs, outcomes
from lmk.report.pictures import Album, Picture
from lmk.report.record import FinishedRun
from lmk.util.errors import LmkError
from lmk.util.progress import Progress, silent

MISTAKES, RIGHT_PAIRS, WRONG_PAIRS, CHANGES = 24, 8, 4, 16
"""Shown with pictures."""
PROPOSED, OF_TRUTH = 3, 2
"""Photos of the landmark that was answered, and of the one that the query shows."""

EVIDENCE = {
    "inliers": "Inliers, best photo",
    "second_best": "Inliers, second best",
    "mean_inliers": "Inliers, mean of best three",
    "agreeing": "Photos that agree",
    "compared": "Photos compared",
    "inlier_ratio": "Inliers among matches",
    "coverage": "Query covered",
}
"""Evidence in words."""


@dataclass(frozen=True)
class Query:
    """A dev query in words; `rank` is 0 without an answer, `truth` and `answer`, ids with names, are empty for none."""

    id: str
    kind: str
    outcome: str
    truth: str
    answer: str
    score: float | None
    rank: int
    cost: float


@dataclass(frozen=True)
class Mistake:
    """A mistake with its pictures: the query, photos of the landmark answered and of the right one, and the matches."""

    query: Query
    outcome: str
    photo: Picture | None
    proposed: list[Picture] = field(default_factory=list)
    right: list[Picture] = field(default_factory=list)
    evidence: list[tuple[str, str]] = field(default_factory=list)
    matches: Picture | None = None
    inliers: int = 0


@dataclass(frozen=True)
class Pair:
    """A query and the gallery photo that bears its landmark out best, or wrongly."""

    query: str
    photo: str
    landmark: str
    right: bool
    inliers: int
    picture: Picture | None


@dataclass(frozen=True)
class Neighbour:
    """A photo that changed an answer: what it is, in words, what it adds to the new answer's lead, and its picture."""

    photo: str
    kind: str
    share: float
    picture: Picture | None


@dataclass(frozen=True)
class Changed:
    """A test photo whose answer a stage of spreading changed; answers are ids with names, empty for none."""

    query: str
    stage: str
    before: str
    after: str
    photo: Picture | None
    neighbours: list[Neighbour]


def query_rows(record: FinishedRun, names: dict[int, str], most: int) -> list[Query]:
    """The queries in words, the costliest first, then by rank; `names` are those of landmarks."""
    answers, truth = record.final, record.truth
    outcome = outcomes(answers, truth)
    order, costs, ranks = costliest_first(record)
    return [
        Query(
            id=str(record.photos[row]),
            kind=kind_of(str(record.ids[row]), int(truth[row])),
            outcome=str(outcome[row]),
            truth=label(int(truth[row]), names),
            answer=label(int(answers.best[row]), names),
            score=float(answers.confidence[row]) if ranks[row] else None,
            rank=int(ranks[row]),
            cost=float(costs[row]),
        )
        for row in order[:most].tolist()
    ]


def costliest_first(record: FinishedRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of all queries, the costliest first, then by rank; by row, their costs and their ranks (0: no answer)."""
    answers = record.final
    costs = mistake_costs(answers, record.truth, record.metric)
    ranks = np.zeros(len(costs), dtype=int)
    ranked = rank(answers.ids, answers.best, answers.confidence)
    ranks[ranked] = np.arange(1, len(ranked) + 1)
    return np.lexsort((np.where(ranks == 0, len(ranks) + 1, ranks), -costs)), costs, ranks


def kind_of(query: str, truth: int) -> str:
    """The landmark that a query shows, in words."""
    if truth != NO_LANDMARK:
        return "a known landmark"
    return "a landmark held out" if query.endswith(UNSEEN) else "no landmark"


def costliest_mistakes(
    record: FinishedRun, competition: Competition, names: dict[int, str], album: Album, progress: Progress = silent
) -> list[Mistake]:
    """The mistakes that cost most of the metric, the costliest first, with pictures; `names` are those of landmarks."""
    order, costs, _ = costliest_first(record)
    rows = [row for row in order[:MISTAKES].tolist() if costs[row] > 0]
    found = []
    with progress("Drawing mistakes", len(rows), "queries") as advance:
        for row, query in zip(rows, query_rows(record, names, len(rows)), strict=True):
            found.append(_mistake(record, competition, album, row, query))
            advance(1)
    return found


def verified_pairs(record: FinishedRun, names: dict[int, str], album: Album, progress: Progress = silent) -> list[Pair]:
    """The best pair of each landmark that is right, those with the most inliers first; then the best wrong ones."""
    evidence = record.evidence
    if evidence is None:
        return []
    right = (evidence.landmarks == record.truth[:, None]) & (evidence.landmarks != NO_LANDMARK)
    chosen = [
        (row, column, good)
        for good, most in ((True, RIGHT_PAIRS), (False, WRONG_PAIRS))
        for row, column in _best_pairs(evidence.landmarks, np.where(right == good, evidence.inliers, 0), most)
    ]
    pairs = []
    with progress("Drawing pairs", len(chosen), "pairs") as advance:
        for row, column, good in chosen:
            query, photo = str(record.photos[row]), str(evidence.best_photo[row, column])
            picture, inliers = album.matches(query, photo)
            shown = label(int(evidence.landmarks[row, column]), names)
            pairs.append(Pair(query, photo, shown, good, inliers, picture))
            advance(1)
    return pairs


def changed_answers(
    record: FinishedRun, competition: Competition, names: dict[int, str], album: Album, progress: Progress = silent
) -> list[Changed]:
    """The test photos whose answer spreading changed, those that their neighbours changed most first, with pictures.

    Of a photo that two stages changed, the change of the later stage stands.
    """
    latest = {reason.query: (stage, reason) for stage, reasons in record.changes.items() for reason in reasons}
    chosen = sorted(latest.values(), key=lambda one: (-sum(one[1].shares), one[1].query))[:CHANGES]
    shown = dict(zip(competition.train_ids.tolist(), competition.train_landmarks.tolist(), strict=True))
    found = []
    with progress("Drawing changed answers", len(chosen), "photos") as advance:
        for stage, reason in chosen:
            neighbours = []
            for photo, share in zip(reason.photos, reason.shares, strict=True):
                kind = "test photo"
                if photo in shown:
                    kind = f"training photo of {label(shown[photo], names)}"
                elif photo in competition.distractor_ids:
                    kind = "photo of no landmark"
                picture = album.thumbnail(photo, f"Photo {photo}, a neighbour: {kind}.", 130)
                neighbours.append(Neighbour(photo, kind, share, picture))
            photo_shown = album.thumbnail(reason.query, f"Photo {reason.query} of the test.", 200)
            before, after = label(reason.before, names), label(reason.after, names)
            found.append(Changed(reason.query, stage, before, after, photo_shown, neighbours))
            advance(1)
    return found


def best_pair(record: FinishedRun, query: str | None) -> tuple[str, str, int]:
    """The query's photo, the gallery photo with the most inliers among all its proposals, and that landmark.

    query: A dev query's id or photo; the one with the most inliers if None.

    Raises:
        LmkError: The run verified nothing, does not ask that query, or found no inliers for it.
    """
    if record.evidence is None:
        raise LmkError(f"{record.name} verified nothing. Run `lmk make-submission --ensemble`.")
    inliers = record.evidence.inliers
    if query is not None:
        asked = (record.ids == query) | (record.photos == query)
        if not asked.any():
            near = difflib.get_close_matches(query, record.photos.tolist(), n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"The first query is '{record.photos[0]}'."
            raise LmkError(f"{record.name} asks no dev query '{query}'. {hint}")
        inliers = np.where(asked[:, None], inliers, 0)
    row, column = divmod(int(inliers.argmax()), inliers.shape[1])
    if inliers[row, column] == 0:
        raise LmkError(f"No gallery photo has inliers with {query or 'any query'} in {record.name}.")
    evidence = record.evidence
    return str(record.photos[row]), str(evidence.best_photo[row, column]), int(evidence.landmarks[row, column])


def _best_pairs(landmarks: np.ndarray, inliers: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Rows and columns of the proposals with the most inliers, each landmark once."""
    seen: set[int] = set()
    found: list[tuple[int, int]] = []
    for place in np.argsort(-inliers, axis=None, kind="stable").tolist():
        row, column = divmod(place, inliers.shape[1])
        if inliers[row, column] == 0 or len(found) == most:
            break
        if int(landmarks[row, column]) not in seen:
            seen.add(int(landmarks[row, column]))
            found.append((row, column))
    return found


def _mistake(record: FinishedRun, competition: Competition, album: Album, row: int, query: Query) -> Mistake:
    answer, truth = int(record.final.best[row]), int(record.truth[row])
    column = _column(record, row, answer)
    best = str(record.evidence.best_photo[row, column]) if record.evidence is not None and column is not None else ""
    matches, inliers = album.matches(query.id, best) if best else (None, 0)
    return Mistake(
        query=query,
        outcome=query.outcome,
        photo=album.thumbnail(query.id, f"Query {query.id}, which shows {query.kind}.", 260),
        proposed=_photos(competition, album, answer, query.id, PROPOSED, best),
        right=_photos(competition, album, truth, query.id, OF_TRUTH) if query.outcome != DISTRACTOR else [],
        evidence=_evidence(record, row, column),
        matches=matches,
        inliers=inliers,
    )


def _column(record: FinishedRun, row: int, landmark: int) -> int | None:
    """Where the evidence for a query's landmark stands, None if that was not verified."""
    if record.evidence is None or landmark == NO_LANDMARK:
        return None
    places = np.flatnonzero(record.evidence.landmarks[row] == landmark)
    return int(places[0]) if len(places) else None


def _evidence(record: FinishedRun, row: int, column: int | None) -> list[tuple[str, str]]:
    if record.evidence is None or column is None:
        return []
    in_words = _in_words(record.evidence, row, column)
    for kind, evidence in record.further.items():
        in_words += [(f"{words}, by {kind}", value) for words, value in _in_words(evidence, row, column)]
    return in_words


def _in_words(evidence: Evidence, row: int, column: int) -> list[tuple[str, str]]:
    values: dict[str, Any] = {name: getattr(evidence, name)[row, column] for name in EVIDENCE}
    shares = ("inlier_ratio", "coverage")
    return [
        (words, f"{values[name]:.0%}" if name in shares else f"{values[name]:.4g}") for name, words in EVIDENCE.items()
    ]


def _photos(
    competition: Competition, album: Album, landmark: int, query: str, most: int, first: str = ""
) -> list[Picture]:
    """Thumbnails of a landmark's training photos, `first` before the others; never the query itself."""
    if landmark == NO_LANDMARK:
        return []
    known = competition.train_ids[competition.train_landmarks == landmark].tolist()
    names = [name for name in dict.fromkeys([first, *known]) if name and name != query][:most]
    pictures = (album.thumbnail(name, f"Photo {name} of landmark {landmark}.", 130) for name in names)
    return [picture for picture in pictures if picture is not None]
