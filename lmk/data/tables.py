"""A competition's CSV files as arrays, read column by column; a million rows take about a second.

Arrow reads them. Only when something is wrong are the rows read one by one, to name the line.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lmk.predictions import MOST_ID_BYTES, NO_LANDMARK
from lmk.util.csv_text import check_is_text, check_lines
from lmk.util.errors import LmkError, quoted

USAGES = ("Public", "Private", "Ignored")
NONE_LANDMARK = "None"
"""Value in some copies of the 2018 train.csv for a photo of no landmark."""

MOST_LANDMARKS = 1000
"""Landmarks of one photo in a solution; the editions have at most a dozen."""

_NONE, _EMPTY = pa.scalar(NONE_LANDMARK), pa.scalar("")  # Arrow loads pandas, half a second, to take a plain string
_NO_ID = r"^\s*$|^\s|\s$|[/\\\x00-\x1f]|^\.+$"  # ids become file names


@dataclass(frozen=True, eq=False)
class Solution:
    """Landmarks of the test photos, as the hosts publish them; for evaluation alone.

    Attributes:
        ids: (n,) str, each once.
        truth: (n, m) int64, m >= 1, the landmarks that a photo shows, padded with `NO_LANDMARK`.
        usage: (n,) str, "Public", "Private" or "Ignored"; all "Private" if the file does not say.
    """

    ids: np.ndarray
    truth: np.ndarray
    usage: np.ndarray


def read_train(path: Path, with_urls: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Read train.csv: `id,landmark_id` with or without `url`.

    Returns:
        ids (n,) str, each once; landmarks (n,) int64, `NO_LANDMARK` where the file says "None";
        urls (n,) `StringDType`, None if the file has none or they are not asked for.

    Raises:
        LmkError: No CSV file, a column is missing, an id is doubled or no file name, a landmark no integer >= 0.
    """
    table = _read(path, ["id", "landmark_id"], "id,landmark_id")
    ids = _ids(path, table)
    landmarks = _landmarks(path, table["landmark_id"])
    _check_unique(path, table["id"], landmarks)
    return ids, landmarks, _urls(table) if with_urls else None


def read_test(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read test.csv: `id` with or without `url`; ids and urls as for `read_train`."""
    table = _read(path, ["id"], "id")
    ids = _ids(path, table)
    _check_unique(path, table["id"])
    return ids, _urls(table)


def read_sample(path: Path) -> np.ndarray:
    """Read a sample submission: (n,) str, each id once, in the file's order; raises as `read_train`."""
    table = _read(path, ["id", "landmarks"], "id,landmarks")
    ids = _ids(path, table)
    _check_unique(path, table["id"])
    return ids


def read_solution(path: Path) -> Solution:
    """Read the hosts' solution: `id,landmarks` with or without `Usage`; landmarks are separated by spaces.

    Raises:
        LmkError: As for `read_train`, and if a usage is none of `USAGES`.
    """
    table = _read(path, ["id", "landmarks"], "id,landmarks,Usage")
    ids = _ids(path, table)
    _check_unique(path, table["id"])
    usage = np.full(len(ids), "Private")
    if "Usage" in table.column_names:
        wrong = pc.invert(pc.is_in(table["Usage"], value_set=pa.array(np.array(USAGES))))
        _check_none(path, table["Usage"], wrong, "usage", "one of " + ", ".join(USAGES))
        usage = to_numpy(table["Usage"])
    return Solution(ids, _truth(path, table["landmarks"]), usage)


def read_labels(path: Path, column: str) -> tuple[np.ndarray, list[str]]:
    """Read a table of landmarks: `landmark_id` and another column.

    Returns:
        landmarks (n,) int64; what `column` says of each.

    Raises:
        LmkError: As for `read_train`.
    """
    table = _read(path, ["landmark_id", column], f"landmark_id,{column}")
    return _landmarks(path, table["landmark_id"]), table[column].to_pylist()


def to_numpy(strings: pa.ChunkedArray) -> np.ndarray:
    """(n,) str from Arrow strings, without an object a row where all are ASCII."""
    return np.concatenate([np.empty(0, "<U1"), *(_chunk_to_numpy(chunk) for chunk in strings.chunks)])


def _chunk_to_numpy(strings: pa.Array) -> np.ndarray:
    width = pc.max(pc.binary_length(strings)).as_py()
    if not width:
        return np.full(len(strings), "", "<U1")
    if not pc.all(pc.string_is_ascii(strings)).as_py():
        return np.array(strings.to_pylist(), dtype=str)
    padded = pc.ascii_rpad(strings, width=width, padding="\0")
    letters = np.frombuffer(padded.buffers()[2], np.uint8, len(strings) * width)
    return letters.astype(np.uint32).view(f"<U{width}")


def _read(path: Path, columns: list[str], layout: str) -> pa.Table:
    """The file's columns as strings; `columns` are there, each once, and no cell is null."""
    check_is_text(path)
    try:
        lines = check_lines(path)
        with path.open("rb") as file:
            first = file.readline()
        if b"\r" in first.rstrip(b"\r\n"):
            raise LmkError(f"{path}: lines end in a carriage return (CR) alone. Save it with line feeds (LF).")
        header = next(csv.reader([first.decode("utf-8-sig")], strict=True), [])
        _check_header(path, header, columns, layout)
        used = {*columns, "url", "Usage"}
        wanted = [name for name in header if name in used]
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=1 << 24),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=wanted, column_types={name: pa.string() for name in wanted}, strings_can_be_null=False
            ),
        )
    except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        _raise_damaged(path, error)
    except OSError as error:
        raise LmkError(f"{path} cannot be read: {error.strerror}.") from error
    if len(table) < lines.filled - 1:  # whatever the reason: no row is lost without a word
        raise LmkError(
            f"{path}: {lines.filled - 1:,} lines follow the header, but only {len(table):,} rows can be read. "
            "Fetch it again, or write it anew with a row a line."
        )
    return table


def _check_header(path: Path, header: list[str], columns: list[str], layout: str) -> None:
    times = Counter(header)
    missing = [name for name in columns if name not in times]
    if missing:
        raise LmkError(
            f"{path}, line 1: no column `{'`, `'.join(missing)}` among {quoted(','.join(header))}. "
            f"The header is `{layout}`."
        )
    doubled = sorted(name for name, count in times.items() if count > 1)
    if doubled:
        raise LmkError(
            f"{path}, line 1: the column {quoted(doubled[0])} stands twice in {quoted(','.join(header))}. Remove one."
        )


def _raise_damaged(path: Path, error: Exception) -> NoReturn:
    """Name the line that stopped Arrow."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            width = len(next(reader, []))
            for row in reader:
                if row and len(row) != width:
                    raise LmkError(
                        f"{path}, line {reader.line_num}: {len(row)} cells, but the header has {width}. "
                        "Correct the row (quote cells that hold commas)."
                    )
    except UnicodeDecodeError as flaw:
        raise LmkError(f"{path} is not text in UTF-8 ({flaw.reason}). Fetch it again, or convert it.") from error
    except csv.Error as flaw:
        raise LmkError(f"{path}, line {reader.line_num}: no CSV ({flaw}). Correct the row.") from error
    raise LmkError(f"{path} is no CSV file: {str(error).splitlines()[0]}.") from error


def _ids(path: Path, table: pa.Table) -> np.ndarray:
    """(n,) str, once they are known to be file names."""
    long = pc.greater(pc.binary_length(table["id"]), MOST_ID_BYTES)  # all ids take as much memory as the longest
    _check_none(path, table["id"], long, "id", f"a file's name, which has at most {MOST_ID_BYTES} bytes")
    flawed = pc.match_substring_regex(table["id"], _NO_ID)
    _check_none(path, table["id"], flawed, "id", "a file's name without its suffix (no `/`, `\\`, blanks at its ends)")
    return to_numpy(table["id"])


def _landmarks(path: Path, cells: pa.ChunkedArray) -> np.ndarray:
    """(n,) int64; `NO_LANDMARK` for "None"."""
    none = pc.equal(cells, _NONE)
    flawed = pc.and_not(pc.invert(pc.match_substring_regex(cells, r"^[0-9]{1,18}$")), none)
    _check_none(path, cells, flawed, "landmark_id", "an integer >= 0")
    return pc.if_else(none, pa.scalar(str(NO_LANDMARK)), cells).cast(pa.int64()).to_numpy()


def _truth(path: Path, cells: pa.ChunkedArray) -> np.ndarray:
    """(n, m) int64 from cells of landmarks between blanks; an empty cell or "None" shows no landmark."""
    cells = pc.utf8_trim_whitespace(pc.if_else(pc.equal(cells, _NONE), _EMPTY, cells)).combine_chunks()
    flawed = pc.invert(pc.match_substring_regex(cells, r"^([0-9]{1,18}(\s+[0-9]{1,18})*)?$"))
    _check_none(path, cells, flawed, "landmarks", "integers >= 0 between blanks")
    lists = pc.utf8_split_whitespace(cells)
    many = pc.greater(pc.list_value_length(lists), MOST_LANDMARKS)  # all rows take as much memory as the longest
    _check_none(path, cells, many, "landmarks", f"at most {MOST_LANDMARKS} landmarks of one photo")
    counts = np.where(pc.equal(cells, _EMPTY).to_numpy(zero_copy_only=False), 0, pc.list_value_length(lists).to_numpy())
    words = pc.list_flatten(lists)
    truth = np.full((len(counts), max(1, counts.max(initial=0))), NO_LANDMARK, np.int64)
    truth[np.arange(truth.shape[1]) < counts[:, None]] = words.filter(pc.not_equal(words, _EMPTY)).cast(pa.int64())
    return truth


def _urls(table: pa.Table) -> np.ndarray | None:
    if "url" not in table.column_names:
        return None
    return table["url"].to_numpy().astype(np.dtypes.StringDType())


def _check_none(path: Path, cells: pa.ChunkedArray, flawed: pa.ChunkedArray, name: str, right: str) -> None:
    """Raise if any cell is flawed; the text names the first."""
    count = pc.sum(flawed).as_py()
    if count:
        row = pc.index(flawed, pa.scalar(True)).as_py()
        raise LmkError(
            f"{path}, line {_lines(path, [row])[0]}: {name} {_quoted(cells[row])} is not {right}; "
            f"{count:,} {_plural(count, 'row is', 'rows are')} so. Correct the file, or fetch it again."
        )


def _check_unique(path: Path, ids: pa.ChunkedArray, landmarks: np.ndarray | None = None) -> None:
    """Raise if an id stands twice; with landmarks, the text says whether the rows agree."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    codes = pc.dictionary_encode(ids.combine_chunks()).indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    again = np.setdiff1d(np.arange(len(codes)), first)
    agreement = ""
    if landmarks is not None:
        other = int((landmarks[again] != landmarks[first[codes[again]]]).sum())
        agreement = f", {other:,} of them with another landmark" if other else ", always with the same landmark"
    row = int(again[0])
    lines = _lines(path, [int(first[codes[row]]), row])
    raise LmkError(
        f"{path}, line {lines[1]}: id {_quoted(ids[row])} stands in line {lines[0]} already; "
        f"{len(again):,} {_plural(len(again), 'row repeats', 'rows repeat')} an id{agreement}. Remove the wrong rows."
    )


def _lines(path: Path, rows: list[int]) -> list[int]:
    """The lines on which rows end, both in ascending order; rows count from 0 after the header, without blank lines.

    Other columns may hold what is no text, or cells longer than this reader takes, where a row is taken for a line.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        lines = (reader.line_num for row in reader if row)
        found, start = [], 0
        try:
            next(lines)
            for row in rows:
                found.append(next(islice(lines, row - start, None)))
                start = row + 1
        except (csv.Error, StopIteration):
            return [row + 2 for row in rows]
        return found


def _quoted(cell: pa.StringScalar) -> str:
    """A cell on one line of a message, cut where it is long."""
    return quoted(cell.as_py())


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
