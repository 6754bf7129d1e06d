"""Predictions: the one type that stages after the models hand on."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmk.util.arrays import positions
from lmk.util.csv_text import check_is_text, check_lines
from lmk.util.errors import LmkError, is_of_the_machine, quoted
from lmk.util.files import atomic_path
from lmk.util.parquet import Declared, declared_by

NO_LANDMARK = -1
"""The landmark of a query that shows none, and of an empty place in a list."""
UNSEEN = "/unseen"
"""Ends the query id of a photo that is asked while its landmark is held out; no id, a file name, holds a `/`."""
MOST_ID_BYTES = 255
"""Bytes of a photo's id, which is a file's name; numpy gives every id the room of the longest."""
MOST_VALUES = 50_000_000
"""Pairs of query and landmark in a file of predictions; the largest edition has 20 for each of 217,000 queries."""
MOST_BYTES = 32 * MOST_VALUES
"""Bytes of a file of predictions, and of what it holds once unpacked."""

_LANDMARK = re.compile(r"0|[1-9][0-9]{0,18}")
_SCORE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""Forms of an integer and a number that every reader takes; Python's own takes `1_0` and digits of other alphabets,
too."""


def photo_of_query(query: str) -> str:
    """Id of the photo that a query shows: the query's id without a mark such as `UNSEEN`."""
    return query.partition("/")[0]


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
            LmkError: The file is absent, damaged, or holds other columns or scores that are no predictions'.
            OSError, MemoryError: The machine failed, which says nothing about the file.
        """
        import pyarrow
        import pyarrow.parquet

        try:
            content = _content_of(path)
            _check_amounts(declared_by(content))
            source = pyarrow.BufferReader(content)  # the bytes that were checked
            file = pyarrow.parquet.ParquetFile(source, read_dictionary=["id"])  # one long text in every row stays one
            table = file.read(["id", "landmarks", "scores"])
            ids = _ids_of(table["id"])
            landmarks = _values_of(table["landmarks"], np.int64).reshape(len(ids), -1)
            scores = _values_of(table["scores"], np.float64).reshape(len(ids), -1)
            loaded = cls(ids, landmarks, scores)
        except (OSError, KeyError, ValueError, TypeError, OverflowError, MemoryError, pyarrow.ArrowException) as error:
            if is_of_the_machine(error):
                raise
            raise LmkError(
                f"{path} holds no predictions ({quoted(str(error))}). Remove it and run the command again."
            ) from error
        if not np.isfinite(loaded.scores[loaded.landmarks != NO_LANDMARK]).all():
            raise LmkError(f"{path} holds scores that are not finite. Remove it and run the command again.")
        return loaded


def _content_of(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ValueError("no file, but a folder, device or pipe")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"it has {path.stat().st_size:,} bytes")
    return path.read_bytes()


def _check_amounts(declared: Declared) -> None:
    """Refuse, before any page is decoded, a file that declares more than predictions are: a few kB may ask for GB."""
    if max(declared.values, declared.rows) > MOST_VALUES or declared.unpacked > MOST_BYTES:
        raise ValueError(f"it declares {declared.values:,} values and {declared.unpacked:,} bytes")


def _ids_of(column: Any) -> np.ndarray:
    """(n,) str from an Arrow column whose texts lie in dictionaries."""
    import pyarrow.compute as pc

    for chunk in column.chunks:
        texts = chunk.dictionary if hasattr(chunk, "dictionary") else chunk
        if (pc.max(pc.binary_length(texts)).as_py() or 0) > MOST_ID_BYTES + len(UNSEEN):
            raise ValueError(f"an id has more than {MOST_ID_BYTES} bytes")
    if column.null_count:
        raise ValueError("an id is missing")
    return np.array(column.to_pylist(), dtype=str)


def _values_of(column: Any, dtype: type) -> np.ndarray:
    """(n * k,) numbers of an Arrow column of lists that are all of one length."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column).to_numpy()
    flat = pc.list_flatten(column)
    if column.null_count or flat.null_count or len(np.unique(lengths)) > 1:
        raise ValueError("its lists differ in length, or values are missing")
    values = flat.to_numpy()
    if values.dtype.kind not in "iuf" or (dtype is np.int64 and values.dtype.kind == "f"):
        raise ValueError(f"its numbers are {values.dtype}")
    return values.astype(dtype)


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
        rows = csv.writer(file, lineterminator="\n")  # quotes ids with commas and quotes
        rows.writerow(["id", "landmarks"])
        for query, landmark, score in zip(
            predictions.ids.tolist(), predictions.best.tolist(), predictions.confidence.tolist(), strict=True
        ):
            rows.writerow([query, f"{landmark} {score:.16g}" if landmark != NO_LANDMARK else ""])


def read_submission(path: Path) -> Predictions:
    """Read a submission's `id,landmarks`, as strictly as the hosts do; blank lines count for nothing.

    Returns:
        Predictions with k = 1, in the file's order.

    Raises:
        LmkError: The file cannot be read, its header is another, an id stands twice, or a cell is not
            `LANDMARK SCORE` with an integer and a finite number; the text names the line.
    """
    ids, landmarks, scores = [], [], []
    check_is_text(path)
    try:
        check_lines(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, row in _rows_of(path, file):
                landmark, score = _cell(path, line, row)
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


def in_order(content: bytes, ids: np.ndarray) -> bytes:
    """A submission's bytes with its rows in the order of `ids`, cells as they were written; blank lines are left out.

    Args:
        content: Content of a file that `read_submission` took.
        ids: (n,) str, the ids that it answers, each once, in the order wanted.
    """
    rows = {row[0]: row for _, row in _rows_of(Path(), io.StringIO(content.decode("utf-8-sig"), newline=""))}
    with io.StringIO(newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["id", "landmarks"], *(rows[name] for name in ids.tolist())])
        return file.getvalue().encode()


def _rows_of(path: Path, file: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
    """Lines and cells of a submission's rows."""
    reader = csv.reader(file, strict=True)
    rows = ((reader.line_num, row) for row in reader if row)
    line, header = next(rows, (1, None))
    if header != ["id", "landmarks"]:
        raise LmkError(f"{path}, line {line}: the header is {quoted(header)}; write `id,landmarks`.")
    yield from rows


def _cell(path: Path, line: int, row: list[str]) -> tuple[int, float]:
    """Landmark and score of one row of a submission; an empty cell is no answer."""
    if len(row) != 2 or not row[0]:
        raise LmkError(f"{path}, line {line}: {quoted(row)} is not `id,LANDMARK SCORE`.")
    if len(row[0].encode("utf-8", "surrogatepass")) > MOST_ID_BYTES:
        raise LmkError(f"{path}, line {line}: the id {quoted(row[0])} has more than {MOST_ID_BYTES} bytes.")
    if not row[1].strip():
        return NO_LANDMARK, -np.inf
    landmark, blank, score = row[1].removesuffix(" ").partition(" ")
    if blank and score.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise LmkError(f"{path}, line {line}: the score {quoted(score)} is not finite, so it has no rank.")
    if not (blank and re.fullmatch(r"-?[0-9]+", landmark, re.ASCII) and _SCORE.fullmatch(score)):
        raise LmkError(f"{path}, line {line}: {quoted(row[1])} is not `LANDMARK SCORE`, an integer and a number.")
    if not _LANDMARK.fullmatch(landmark) or int(landmark) >= 2**63:
        raise LmkError(f"{path}, line {line}: the landmark {quoted(landmark)} is not an integer from 0 to 2^63 - 1.")
    value = float(score)
    if not np.isfinite(value):
        raise LmkError(f"{path}, line {line}: the score {quoted(score)} is not finite, so it has no rank.")
    return int(landmark), value
