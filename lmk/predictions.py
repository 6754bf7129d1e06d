"""Predictions: the one type that stages after the models hand on."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmk.util.arrays import positions
from lmk.util.errors import LmkError, quoted
from lmk.util.files import atomic_path

NO_LANDMARK = -1
"""The landmark of a query that shows none, and of an empty place in a list."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The k best landmarks of each query, best first.

    Attributes:
        ids: (n,) str, each once.
        landmarks: (n, k) int64; `NO_LANDMARK` in places that are empty.
        scores: (n, k) float64, descending, `-inf` in places that are empty; the first is the query's confidence.
    """

    ids: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "ids", np.asarray(self.ids, dtype=str))
        object.__setattr__(self, "landmarks", np.asarray(self.landmarks, dtype=np.int64))
        object.__setattr__(self, "scores", np.asarray(self.scores, dtype=np.float64))
        if self.landmarks.shape != self.scores.shape or len(self.landmarks) != len(self.ids):
            raise ValueError(f"Shapes differ: {self.ids.shape}, {self.landmarks.shape}, {self.scores.shape}.")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def best(self) -> np.ndarray:
        """(n,) int64, the landmark answered for each query."""
        return self.landmarks[:, 0]

    @property
    def confidence(self) -> np.ndarray:
        """(n,) float64, the score that ranks queries in GAP."""
        return self.scores[:, 0]

    def top(self, k: int) -> Predictions:
        """The k best landmarks of each query; empty places are added where fewer are known."""
        lacking = max(0, k - self.landmarks.shape[1])
        landmarks = np.pad(self.landmarks, ((0, 0), (0, lacking)), constant_values=NO_LANDMARK)
        scores = np.pad(self.scores, ((0, 0), (0, lacking)), constant_values=-np.inf)
        return Predictions(self.ids, landmarks[:, :k], scores[:, :k])

    def align(self, ids: np.ndarray) -> Predictions:
        """The same predictions in the order of `ids`; a query that is not answered here gets empty places."""
        ids = np.asarray(ids, dtype=str)
        rows = positions(self.ids, ids)
        absent = rows < 0
        landmarks, scores = self.landmarks[rows], self.scores[rows]
        landmarks[absent], scores[absent] = NO_LANDMARK, -np.inf
        return Predictions(ids, landmarks, scores)

    def take(self, rows: np.ndarray) -> Predictions:
        """The queries of `rows`, (m,) int or (n,) bool."""
        return Predictions(self.ids[rows], self.landmarks[rows], self.scores[rows])

    def save(self, path: Path) -> None:
        """Write parquet that any tool reads: columns `id`, `landmarks` and `scores` (lists of length k)."""
        import pyarrow
        import pyarrow.parquet

        def column(values: np.ndarray) -> pyarrow.Array:
            return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel()), values.shape[1])

        table = pyarrow.table(
            {"id": self.ids.tolist(), "landmarks": column(self.landmarks), "scores": column(self.scores)}
        )
        with atomic_path(path) as draft:
            pyarrow.parquet.write_table(table, draft, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what `save` wrote.

        Raises:
            LmkError: The file is absent, damaged, or holds other columns.
        """
        import pyarrow
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.ParquetFile(path).read(["id", "landmarks", "scores"])
            ids = np.array(table["id"].to_pylist(), dtype=str)
            landmarks = np.array(table["landmarks"].to_pylist(), dtype=np.int64).reshape(len(ids), -1)
            scores = np.array(table["scores"].to_pylist(), dtype=np.float64).reshape(len(ids), -1)
        except (OSError, KeyError, ValueError, TypeError, OverflowError, pyarrow.ArrowException) as error:
            raise LmkError(
                f"{path} holds no predictions ({quoted(str(error))}). Remove it and run the command again."
            ) from error
        return cls(ids, landmarks, scores)


def best_of(ids: np.ndarray, landmarks: np.ndarray, scores: np.ndarray, k: int) -> Predictions:
    """Predictions from candidates in any order: (n, m) landmarks with (n, m) scores; equal scores by landmark.

    A candidate `NO_LANDMARK` is an empty place, whatever its score.
    """
    landmarks = np.asarray(landmarks, dtype=np.int64)
    scores = np.where(landmarks == NO_LANDMARK, -np.inf, scores)
    order = np.lexsort((landmarks, -scores), axis=1)[:, :k]
    chosen = Predictions(ids, np.take_along_axis(landmarks, order, 1), np.take_along_axis(scores, order, 1))
    return chosen.top(k)


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """(n, k) int, the places of the k largest values of each row of (n, m), m >= k; equal values in their order.

    Of a long row only the k groups of columns with the largest maxima are looked into: the k largest values lie there.
    """
    width = math.isqrt(values.shape[1] // k)
    candidates, beyond = (None, values) if width < 4 else _in_groups(values, k, width)
    among = values if candidates is None else np.take_along_axis(values, candidates, 1)
    places = np.argpartition(-among, k - 1, axis=1)[:, :k]
    found = np.take_along_axis(among, places, 1)
    if candidates is not None:
        places = np.take_along_axis(candidates, places, 1)
    least = found.min(axis=1, keepdims=True)
    # Of equal values the partitions take any.
    tied = ((among >= least).sum(axis=1) > k) | ((beyond >= least).sum(axis=1) > k)
    places[tied] = np.argsort(-values[tied], axis=1, kind="stable")[:, :k]
    order = np.lexsort((places, -np.take_along_axis(values, places, 1)), axis=1)
    return np.take_along_axis(places, order, 1)


def _in_groups(values: np.ndarray, k: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The columns (n, c) of the k groups with the largest maxima, and all groups' maxima (n, g).

    A group is every g-th column, so that maxima are taken of whole stretches; what is left over is always a candidate.
    """
    rows, columns = values.shape
    groups = columns // width
    maxima = values[:, :groups].copy()
    for start in range(groups, groups * width, groups):
        np.maximum(maxima, values[:, start : start + groups], out=maxima)
    chosen = np.argpartition(-maxima, k - 1, axis=1)[:, :k]
    inside = (chosen[:, :, None] + groups * np.arange(width)).reshape(rows, -1)
    rest = np.broadcast_to(np.arange(groups * width, columns), (rows, columns - groups * width))
    return np.concatenate([inside, rest], axis=1), maxima


def from_pairs(ids: np.ndarray, rows: np.ndarray, landmarks: np.ndarray, scores: np.ndarray, k: int) -> Predictions:
    """The k best landmarks from (query row, landmark, score) triples, each pair once; every argument (m,)."""
    order = np.lexsort((landmarks, -scores, rows))
    rows, landmarks, scores = rows[order], landmarks[order], scores[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = place < k
    table = np.full((len(ids), k), NO_LANDMARK, dtype=np.int64)
    values = np.full((len(ids), k), -np.inf)
    table[rows[kept], place[kept]] = landmarks[kept]
    values[rows[kept], place[kept]] = scores[kept]
    return Predictions(ids, table, values)


def concatenate(parts: list[Predictions]) -> Predictions:
    """The queries of all parts, one part after the other."""
    k = max(part.landmarks.shape[1] for part in parts)
    parts = [part.top(k) for part in parts]
    return Predictions(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def write_submission(predictions: Predictions, path: Path) -> None:
    """Write `id,landmarks` with the best landmark and its score (16 digits) in the rows' order; empty if none.

    Raises:
        ValueError: An answer's score is not finite.
    """
    answered = predictions.best != NO_LANDMARK
    if not np.isfinite(predictions.confidence[answered]).all():
        raise ValueError("A submission's scores must be finite.")
    with atomic_path(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        file.write("id,landmarks\n")
        for query, landmark, score in zip(
            predictions.ids.tolist(), predictions.best.tolist(), predictions.confidence.tolist(), strict=True
        ):
            file.write(f"{query},{landmark} {score:.16g}\n" if landmark != NO_LANDMARK else f"{query},\n")


def read_submission(path: Path) -> Predictions:
    """Read a submission's `id,landmarks`, as strictly as the hosts do.

    Returns:
        Predictions with k = 1, in the file's order.

    Raises:
        LmkError: The file cannot be read, its header is another, an id stands twice, or a cell is not
            `LANDMARK SCORE` with an integer and a finite number; the text names the line.
    """
    ids, landmarks, scores = [], [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if header != ["id", "landmarks"]:
                raise LmkError(f"{path}, line 1: the header is {quoted(header)}; write `id,landmarks`.")
            for row in reader:
                landmark, score = _cell(path, reader.line_num, row)
                ids.append(row[0])
                landmarks.append(landmark)
                scores.append(score)
    except OSError as error:
        raise LmkError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LmkError(f"{path} is not a CSV file in UTF-8: {error}.") from error
    unique, counts = np.unique(np.asarray(ids, dtype=str), return_counts=True)
    if (counts > 1).any():
        raise LmkError(f"{path}: {(counts > 1).sum()} ids stand twice; first: {quoted(str(unique[counts > 1][0]))}.")
    return Predictions(np.asarray(ids, dtype=str), np.reshape(landmarks, (-1, 1)), np.reshape(scores, (-1, 1)))


def _cell(path: Path, line: int, row: list[str]) -> tuple[int, float]:
    """Landmark and score of one row of a submission; an empty cell is no answer."""
    if len(row) != 2 or not row[0]:
        raise LmkError(f"{path}, line {line}: {quoted(row)} is not `id,LANDMARK SCORE`.")
    if not row[1].strip():
        return NO_LANDMARK, -np.inf
    tokens = row[1].removesuffix(" ").split(" ")
    try:
        landmark, score = tokens
        number, value = int(landmark), float(score)
    except ValueError:
        raise LmkError(
            f"{path}, line {line}: {quoted(row[1])} is not `LANDMARK SCORE`, an integer and a number."
        ) from None
    if not np.isfinite(value):
        raise LmkError(f"{path}, line {line}: the score {quoted(score)} is not finite, so it has no rank.")
    if not 0 <= number < 2**63:
        raise LmkError(f"{path}, line {line}: the landmark {quoted(landmark)} is not an integer from 0 to 2^63 - 1.")
    return number, value
