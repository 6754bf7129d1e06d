"""A competition's tables are read as the hosts wrote them, and a flaw is named by file and line."""

import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.data.tables import read_sample, read_solution, read_test, read_train
from lmk.predictions import NO_LANDMARK
from lmk.util import csv_text
from lmk.util.errors import LmkError


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "table.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


ROWS = [("00a0", "7"), ("00b1", "900000000000"), ("00c2", "0")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("tail", ["", "\n\n"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_quotes_line_ends_and_byte_order_marks_make_no_difference(write, end, start, tail, quote):
    lines = [",".join(f"{quote}{cell}{quote}" for cell in row) for row in [("id", "landmark_id"), *ROWS]]
    ids, landmarks, urls = read_train(write(start + end.join([*lines, ""]) + tail))
    assert ids.tolist() == ["00a0", "00b1", "00c2"]
    assert landmarks.tolist() == [7, 900000000000, 0]
    assert landmarks.dtype == np.int64
    assert urls is None


def test_the_2018_layout_has_urls_and_may_say_none(write):
    path = write('"id","url","landmark_id"\n"a","http://x/1,2.jpg","5"\n"b","None","None"\n')
    ids, landmarks, urls = read_train(path)
    assert ids.tolist() == ["a", "b"]
    assert landmarks.tolist() == [5, NO_LANDMARK]
    assert urls.tolist() == ["http://x/1,2.jpg", "None"]
    assert read_train(path, with_urls=False)[2] is None


def test_columns_are_found_by_name_in_any_order(write):
    ids, landmarks, _ = read_train(write("landmark_id,more,id\n5,x,a\n"))
    assert (ids.tolist(), landmarks.tolist()) == (["a"], [5])


def test_ids_of_any_length_and_alphabet_stay_as_written(write):
    ids = ["1", "0001", "1e5", "Ünïcode", "x" * 40, "nan", "NULL"]
    assert read_test(write("id\n" + "\n".join(ids)))[0].tolist() == ids


@given(st.lists(st.text("abc019._-é", min_size=1, max_size=12).filter(lambda text: text.strip(".")), unique=True))
def test_ids_come_back_in_their_order(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("ids") / "test.csv"
    path.write_text("\n".join(["id", *ids]) + "\n", encoding="utf-8")
    assert read_test(path)[0].tolist() == ids


def test_a_million_rows_are_read_as_written(tmp_path):
    count = 1_000_000
    numbers = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # wraps: all different, in no order
    path = tmp_path / "train.csv"
    with path.open("w") as file:
        file.write("id,landmark_id\n")
        file.writelines(f"{number:016x},{row % 81_313}\n" for row, number in enumerate(numbers.tolist()))
    ids, landmarks, _ = read_train(path)
    assert ids.dtype == "<U16"
    assert len(ids) == count
    assert (landmarks == np.arange(count) % 81_313).all()
    picked = np.random.default_rng(0).integers(0, count, 2000)
    assert ids[picked].tolist() == [f"{number:016x}" for number in numbers[picked].tolist()]


def test_a_sample_gives_its_ids_in_order(write):
    assert read_sample(write("id,landmarks\nb,8815 0.03\na,\n")).tolist() == ["b", "a"]


def test_a_table_without_rows_is_empty(write):
    assert len(read_sample(write("id,landmarks\n"))) == 0
    ids, landmarks, _ = read_train(write("id,landmark_id\n"))
    assert ids.shape == landmarks.shape == (0,)
    assert read_solution(write("id,landmarks,Usage\n")).truth.shape == (0, 1)


def test_a_solution_may_name_several_landmarks_or_none(write):
    solution = read_solution(write("id,landmarks,Usage\na,5,Public\nb,,Private\nc,7 8  9,Ignored\nd,None,Public\n"))
    assert solution.ids.tolist() == ["a", "b", "c", "d"]
    none = NO_LANDMARK
    assert solution.truth.tolist() == [[5, none, none], [none] * 3, [7, 8, 9], [none] * 3]
    assert solution.usage.tolist() == ["Public", "Private", "Ignored", "Public"]


def test_a_solution_without_usage_is_private(write):
    assert read_solution(write("id,landmarks\na,5\nb,\n")).usage.tolist() == ["Private", "Private"]


TRAIN = "id,landmark_id\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", r"table\.csv is empty"),
        ("\n \n", "is empty"),
        ("<!DOCTYPE html><html>sign in</html>", "is a web page, not a CSV file: perhaps a login page"),
        (b"PK\x03\x04rest", "is an archive, not a CSV file. Unpack it"),
        ("id,landmark_id\na,1\n".encode("utf-16"), "is binary or UTF-16"),
        (b"id,landmark_id\n\xff\xfea,1\n", "is not text in UTF-8"),
        ("id,url\na,b\n", r"line 1: no column `landmark_id` among 'id,url'\. The header is `id,landmark_id`"),
        ("landmark_id,images\n1,a b\n", "line 1: no column `id` among 'landmark_id,images'"),
        ("a,1\nb,2\n", "line 1: no column `id`, `landmark_id` among 'a,1'"),
        ("id,id,landmark_id\na,b,1\n", "line 1: the column 'id' stands twice"),
        (TRAIN + "a,1\nb,2,3\n", "line 3: 3 cells, but the header has 2"),
        (TRAIN + "a,1\n\nb\n", "line 4: 1 cells, but the header has 2"),
        (TRAIN + "a,1\nb,x7\nc,\n", "line 3: landmark_id 'x7' is not an integer >= 0; 2 rows are so"),
        (TRAIN + "a,1\nb,\n", "line 3: landmark_id '' is not an integer >= 0; 1 row is so"),
        (TRAIN + "a,1.0\n", "line 2: landmark_id '1.0' is not an integer"),
        (TRAIN + "a,-1\n", "line 2: landmark_id '-1' is not an integer >= 0"),
        (TRAIN + "a,99999999999999999999\n", "line 2: landmark_id '9{20}' is not an integer"),
        (TRAIN + "\n\na,1\n\nb,no\n", "line 6: landmark_id 'no'"),
        (TRAIN + '"a",1\n"b\nc",2\n', "line 3: a quote .* stands alone"),
        (TRAIN + "a,1\n" + "é" * 128 + ",2\n", "line 3: id 'é.* is not a file's name, which has at most 255 bytes"),
        (TRAIN + "a,1\nb,2\na,1\nb,2\n", r"line 4: id 'a' stands in line 2 already; 2 rows repeat .* same landmark"),
        (TRAIN + "a,1\na,1\na,2\n", "line 3: id 'a' stands in line 2 already; 2 rows repeat an id, 1 of them with an"),
        ("id,landmark_id\ra,1\r", "lines end in a carriage return .CR. alone"),
        (TRAIN + "../evil,1\n", r"line 2: id '\.\./evil' is not a file's name"),
        (TRAIN + "a\\b,1\n", "line 2: id .* is not a file's name"),
        (TRAIN + "..,1\n", r"line 2: id '\.\.' is not"),
        (TRAIN + ",1\n", "line 2: id '' is not"),
        (TRAIN + "a,1\n b,1\n", "line 3: id ' b' is not"),
    ],
)
def test_a_flaw_is_named_with_its_line(write, content, text):
    with pytest.raises(LmkError, match=text) as caught:
        read_train(write(content))
    assert str(caught.value).startswith(str(write(content)))


ROWS_OF_TRAIN = 1_100_000
"""Rows enough for two blocks of the parser."""


@pytest.mark.parametrize("place", [2, 5, ROWS_OF_TRAIN - 3])
@pytest.mark.parametrize("row", ['"{id},{url},{n}', '{id},"{url},{n}', '{id},{url},"{n}', '{id}",{url},{n}'])
def test_one_stray_quote_in_a_large_table_loses_no_row_but_is_named(tmp_path, place, row):
    lines = [f"i{number:07d},u,{number % 50}" for number in range(ROWS_OF_TRAIN)]
    lines[place] = row.format(id="ix", url="u", n=7)
    path = tmp_path / "train.csv"
    path.write_text("id,url,landmark_id\n" + "\n".join(lines) + "\n")
    with pytest.raises(LmkError, match=f"line {place + 2}: a quote"):
        read_train(path)


CELLS = st.text('ab",\n\r é', max_size=4)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_no_row_is_lost_whatever_stands_in_a_column_that_is_not_read(tmp_path_factory, notes, end, quoted):
    """Either every line is a row, or the table is refused."""
    path = tmp_path_factory.mktemp("t") / "train.csv"
    cell = ('"{}"' if quoted else "{}").format
    lines = [f"i{n},{cell(a.replace(chr(34), chr(34) * 2) if quoted else a)},{n}" for n, (a, _) in enumerate(notes)]
    path.write_bytes(end.join(["id,note,landmark_id", *lines]).encode())
    try:
        assert read_train(path)[0].tolist() == [f"i{n}" for n in range(len(notes))]
    except LmkError as error:
        assert "line" in str(error)


def test_lines_are_counted_over_blocks_of_any_size(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_bytes(b'id\n\n"a"\r\n\r\nbb,"x""y"\n\nc')
    for size in range(1, 30):
        monkeypatch.setattr(csv_text, "_BLOCK", size)
        assert csv_text.check_lines(path) == (4, False)
    path.write_bytes(b'id\n\na\n"b\n')
    for size in range(1, 12):
        monkeypatch.setattr(csv_text, "_BLOCK", size)
        with pytest.raises(LmkError, match="line 4: a quote"):
            csv_text.check_lines(path)


def test_a_header_of_many_columns_is_checked_at_once(write):
    names = [f"column{number}" for number in range(60_000)]
    start = time.process_time()
    with pytest.raises(LmkError, match="no column `landmark_id`"):
        read_train(write(",".join(["id", *names]) + "\n"))
    with pytest.raises(LmkError, match="'column7' stands twice"):
        read_train(write(",".join(["id", "landmark_id", *names, "column7"]) + "\n"))
    assert time.process_time() - start < 5


def test_one_long_cell_does_not_widen_all_rows(write):
    with pytest.raises(LmkError, match=r"line 3: id .* at most 255 bytes"):
        read_sample(write("id,landmarks\na,\n" + "x" * 20_000 + ",\n"))
    with pytest.raises(LmkError, match=r"line 3: landmarks .* is not at most 1000 landmarks"):
        read_solution(write("id,landmarks\na,1\nb," + " ".join(["7"] * 1001) + "\n"))


@pytest.mark.parametrize("head", [b"PK\x05\x06", b"BZh9", b"\xfd7zXZ\0", b"7z\xbc\xaf'\x1c", b"\x28\xb5\x2f\xfd"])
def test_an_archive_of_any_kind_is_to_be_unpacked(write, head):
    with pytest.raises(LmkError, match=r"is an archive.*Unpack it"):
        read_train(write(head + b"rest"))


def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(LmkError, match="device or pipe"):
        read_train(tmp_path / "train.csv")


def test_a_missing_table_says_so(tmp_path):
    with pytest.raises(LmkError, match=r"none\.csv does not exist"):
        read_train(tmp_path / "none.csv")
    with pytest.raises(LmkError, match="cannot be read"):
        read_train(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("id,landmarks,Usage\na,5,Public\nb,5,public\n", "line 3: usage 'public' is not one of Public, Private, Ign"),
        ("id,landmarks\na,5 x\n", "line 2: landmarks '5 x' is not integers >= 0 between blanks"),
        ("id,landmarks\na,-1\n", "line 2: landmarks '-1'"),
        ("id,landmarks\na,5\na,5\n", "line 3: id 'a' stands in line 2 already"),
        ("id,Usage\na,Public\n", "no column `landmarks`"),
    ],
)
def test_a_flawed_solution_is_named_with_its_line(write, content, text):
    with pytest.raises(LmkError, match=text):
        read_solution(write(content))


def test_the_real_tables_are_read(shared):
    folder = shared / "data" / "provence"
    ids, landmarks, _ = read_train(folder / "train.csv")
    assert (len(ids), len(np.unique(landmarks))) == (261, 16)
    solution = read_solution(folder / "solution.csv")
    assert (solution.ids == read_sample(folder / "sample_submission.csv")).all()
    assert (solution.truth != NO_LANDMARK).any(axis=1).sum() == 374
    assert len(read_sample(shared / "data" / "submissions-2018" / "lb0.073.csv")) == 117_703
