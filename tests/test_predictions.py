"""Predictions keep their order, their empty places and their digits."""

import bz2
import gzip
import lzma

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lmk.predictions
from lmk.predictions import (
    NO_LANDMARK,
    UNSEEN,
    Predictions,
    best_of,
    in_order,
    largest,
    photo_of_query,
    read_submission,
    write_submission,
)
from lmk.util.arrays import positions
from lmk.util.errors import LmkError


def example():
    return Predictions(["a", "b", "c"], [[5, 7], [9, -1], [-1, -1]], [[0.9, 0.1], [0.4, -np.inf], [-np.inf, -np.inf]])


def test_aligning_reorders_rows_and_leaves_unknown_queries_empty():
    aligned = example().align(np.array(["c", "x", "a"]))
    assert aligned.best.tolist() == [NO_LANDMARK, NO_LANDMARK, 5]
    assert aligned.confidence.tolist() == [-np.inf, -np.inf, 0.9]


def test_the_best_of_candidates_are_sorted_and_ties_go_to_the_smaller_landmark():
    best = best_of(["q"], [[4, 2, 9, NO_LANDMARK]], [[0.5, 0.5, 0.7, 99.0]], k=4)
    assert best.landmarks.tolist() == [[9, 2, 4, NO_LANDMARK]]
    assert best.scores.tolist() == [[0.7, 0.5, 0.5, -np.inf]]


def test_parquet_returns_what_was_saved(tmp_path):
    example().save(tmp_path / "p.parquet")
    loaded = Predictions.load(tmp_path / "p.parquet")
    for name in ("ids", "landmarks", "scores"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(example(), name))
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


@pytest.mark.parametrize("content", [b"", b"<html>", b"PAR1" + bytes(40)])
def test_a_file_that_holds_no_predictions_is_named(tmp_path, content):
    path = tmp_path / "p.parquet"
    path.write_bytes(content)
    with pytest.raises(LmkError, match=r"p\.parquet"):
        Predictions.load(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20))
def test_a_submission_keeps_sixteen_digits(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("s") / "s.csv"
    ids = [f"{row:016x}" for row in range(len(scores))]
    write_submission(Predictions(ids, [[7]] * len(scores), np.reshape(scores, (-1, 1))), path)
    np.testing.assert_allclose(read_submission(path).confidence, scores, rtol=1e-15)


def test_a_submission_with_and_without_answers_reads_back(tmp_path):
    write_submission(example(), tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == "id,landmarks\na,5 0.9\nb,9 0.4\nc,\n"
    assert read_submission(tmp_path / "s.csv").best.tolist() == [5, 9, NO_LANDMARK]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("id,landmark\n", "line 1"),
        ("<html>no</html>\n", "web page"),
        ("id,landmarks\na,5 0.1\nb,5 0.1 0.2\n", "line 3"),
        ("id,landmarks\na,5\n", "line 2"),
        ("id,landmarks\na,5  0.1\n", "line 2"),
        ("id,landmarks\na,5.0 0.1\n", "line 2"),
        ("id,landmarks\na,5 nan\n", "not finite"),
        ("id,landmarks\na,5 inf\n", "not finite"),
        ("id,landmarks\na,-5 0.1\n", "not an integer"),
        ("id,landmarks\na,5 0.1\na,5 0.2\n", "twice"),
        ("id,landmarks\na,5 0.1,9\n", "line 2"),
        *(
            (f"id,landmarks\na,1 1\nb,{cell}\n", "line 3")
            for cell in (
                "4_338 0.5",
                "٤ 0.5",
                "+4338 .5",
                "4338 1_0.5",
                "007 0.5",
                "4338  0.5",
                "4338 ٠.٥",
                "4338 0x1p3",
                "4338 1e",
                "4338\t0.5",
                "4338 0.5  ",
                "4338 .",
                "4338 1e400",
                "9223372036854775808 1",
                "4338 0,5",
                "4338 0.5 7 0.4",
            )
        ),
        ('id,landmarks\na,1 1\n"b,2 1\nc,3 1\n', "line 3: a quote"),
        ("id,landmarks\n" + "x" * 256 + ",1 1\n", "line 2: the id .* more than 255 bytes"),
        ("id,landmarks\n,5 0.1\n", "line 2"),
    ],
)
def test_a_wrong_submission_is_refused_with_its_place(tmp_path, text, told):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(LmkError, match=told):
        read_submission(path)


@pytest.mark.parametrize(
    "cell", ["4338 .5", "4338 5.", "4338 1e5", "4338 -1E-05", "0 -0.0", "4338 +2", "9223372036854775807 1"]
)
def test_what_every_reader_takes_for_a_number_is_taken(tmp_path, cell):
    (tmp_path / "s.csv").write_text(f"id,landmarks\na,{cell}\n")
    found = read_submission(tmp_path / "s.csv")
    assert [found.best[0], found.confidence[0]] == [int(cell.split()[0]), float(cell.split()[1])]


def test_blank_lines_count_for_nothing(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"\nid,landmarks\n\na,5 0.1\r\n\r\nb,\n\n\n")
    assert read_submission(tmp_path / "s.csv").ids.tolist() == ["a", "b"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: b"PK\x03\x04" + data])
def test_a_packed_submission_is_to_be_unpacked(tmp_path, pack):
    (tmp_path / "s.csv").write_bytes(pack(b"id,landmarks\na,5 0.1\n"))
    with pytest.raises(LmkError, match="Unpack it"):
        read_submission(tmp_path / "s.csv")


IDS = st.lists(st.text("ab,'\"@; é\\", min_size=1, max_size=6), unique=True, min_size=1, max_size=8)


@given(IDS, st.randoms(use_true_random=False))
def test_ids_with_commas_and_quotes_come_back_and_rows_are_put_in_order(tmp_path_factory, ids, random):
    path = tmp_path_factory.mktemp("s") / "s.csv"
    landmarks = np.arange(len(ids))[:, None] - 1  # the first has no answer
    write_submission(Predictions(ids, landmarks, np.where(landmarks < 0, -np.inf, landmarks / 3)), path)
    found = read_submission(path)
    assert found.ids.tolist() == ids
    order = list(ids)
    random.shuffle(order)
    path.write_bytes(in_order(path.read_bytes(), np.array(order)))
    again = read_submission(path)
    assert again.ids.tolist() == order
    np.testing.assert_array_equal(again.align(found.ids).scores, found.scores)
    path.write_bytes(in_order(path.read_bytes(), np.array(ids)))
    np.testing.assert_array_equal(read_submission(path).landmarks, found.landmarks)


def test_cells_are_put_in_order_as_they_were_written():
    content = b'\xef\xbb\xbfid,landmarks\r\n\r\nb,5 1e-05 \r\n"a",4338 .50\r\n'
    assert in_order(content, np.array(["a", "b"])) == b"id,landmarks\na,4338 .50\nb,5 1e-05 \n"


def test_a_photo_whose_id_holds_an_at_sign_is_its_own_query():
    assert photo_of_query("Nice @ night") == "Nice @ night"
    assert photo_of_query(f"a@b{UNSEEN}") == "a@b"


def bomb(path, rows, width, name="q"):
    """Predictions of few kB that ask for much: every row is the same."""
    column = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.zeros(rows * width, np.int64)), width)
    scores = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.zeros(rows * width)), width)
    ids = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(rows, np.int32)), [name])
    table = pyarrow.table({"id": ids, "landmarks": column, "scores": scores})
    pyarrow.parquet.write_table(table, path, compression="zstd")


@pytest.mark.parametrize(("rows", "width", "name"), [(600, 1000, "q"), (90_000, 1, "q" * 100_000)])
def test_a_small_file_that_asks_for_gigabytes_is_refused_before_it_is_decoded(tmp_path, rows, width, name, monkeypatch):
    monkeypatch.setattr(lmk.predictions, "MOST_VALUES", 100_000)
    path = tmp_path / "p.parquet"
    bomb(path, rows, width, name)
    assert path.stat().st_size < 1 << 20
    before = pyarrow.total_allocated_bytes()
    with pytest.raises(LmkError, match=r"p\.parquet holds no predictions"):
        Predictions.load(path)
    assert pyarrow.total_allocated_bytes() - before < 1 << 26


def test_stored_scores_that_are_not_finite_are_refused(tmp_path):
    for value in (np.nan, np.inf):
        Predictions(["a"], [[1, NO_LANDMARK]], [[value, -np.inf]]).save(tmp_path / "p.parquet")
        with pytest.raises(LmkError, match="not finite"):
            Predictions.load(tmp_path / "p.parquet")


def test_too_little_memory_is_not_the_files_fault(tmp_path, monkeypatch):
    Predictions(["a"], [[1]], [[1.0]]).save(tmp_path / "p.parquet")

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", fail)
    with pytest.raises(MemoryError):
        Predictions.load(tmp_path / "p.parquet")


def test_one_trailing_space_in_a_cell_is_tolerated_as_the_hosts_do(tmp_path):
    (tmp_path / "s.csv").write_text("id,landmarks\na,5 0.1 \n")
    assert read_submission(tmp_path / "s.csv").confidence.tolist() == [0.1]


def test_a_real_submission_of_2018_reads_whole(shared):
    predictions = read_submission(shared / "data" / "submissions-2018" / "lb0.073.csv")
    assert len(predictions) == 117_703
    assert (predictions.best == NO_LANDMARK).sum() == 1_675


def test_scores_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="finite"):
        write_submission(Predictions(["a"], [[1]], [[np.nan]]), tmp_path / "s.csv")
    assert not list(tmp_path.iterdir())


@given(st.lists(st.text("abc", max_size=3), unique=True), st.lists(st.text("abc", max_size=3)))
def test_positions_find_each_id_or_say_that_it_is_absent(ids, wanted):
    expected = [ids.index(name) if name in ids else -1 for name in wanted]
    assert positions(np.array(ids, dtype=str), np.array(wanted, dtype=str)).tolist() == expected


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(40, 700)), elements=st.integers(-3, 4).map(float)),
    st.integers(1, 30),
)
def test_the_k_largest_are_those_of_a_full_sort_equal_values_in_their_order(values, k):
    np.testing.assert_array_equal(largest(values, k), np.argsort(-values, axis=1, kind="stable")[:, :k])


def test_the_k_largest_of_distinct_values_in_long_rows_are_those_of_a_full_sort():
    values = np.random.default_rng(0).random((20, 15_000), np.float32)
    np.testing.assert_array_equal(largest(values, 20), np.argsort(-values, axis=1)[:, :20])


def test_the_largest_of_wide_rows_may_be_minus_infinity():
    values = np.full((2, 5000), -np.inf)
    values[0, [4999, 70]] = 1, 2
    assert largest(values, 3).tolist() == [[70, 4999, 0], [0, 1, 2]]
