"""What Parquet files declare is read without the library that decodes them, and does not trust one header alone."""

from contextlib import suppress

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.predictions import Predictions
from lmk.util.errors import LmkError
from lmk.util.parquet import Declared, declared_by


def predictions(count, k=2):
    ids = np.array([f"q{row}" for row in range(count)], dtype=str)
    return Predictions(ids, np.arange(count * k).reshape(-1, k), np.ones((count, k)))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "p.parquet"
    predictions(3).save(path)
    return path.read_bytes()


@pytest.mark.parametrize(("count", "k"), [(0, 1), (1, 1), (3, 2), (500, 20)])
def test_amounts_are_those_that_were_written(tmp_path, count, k):
    predictions(count, k).save(tmp_path / "p.parquet")
    found = declared_by((tmp_path / "p.parquet").read_bytes())
    assert (found.rows, found.values) == (count, count * k)
    assert count * k * 8 <= found.unpacked <= count * k * 50 + 1000


@pytest.mark.parametrize("options", [{"row_group_size": 70}, {"data_page_size": 100}, {"data_page_version": "2.0"}])
def test_groups_of_rows_and_pages_of_every_kind_are_summed(tmp_path, options):
    values = np.random.default_rng(0).random(1000)
    pyarrow.parquet.write_table(pyarrow.table({"a": values, "b": ["x"] * 1000}), tmp_path / "p.parquet", **options)
    found = declared_by((tmp_path / "p.parquet").read_bytes())
    assert (found.rows, found.values) == (1000, 1000)
    assert 8000 <= found.unpacked < 30_000


def test_a_page_that_holds_more_than_the_footer_says_is_refused(stored, tmp_path):
    column = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(stored)).metadata.row_group(0).column(1)
    place = stored.index(b"\x2c\x15\x0c", column.data_page_offset) + 2  # the header of a data page, and its 6 values
    spoiled = stored[:place] + b"\x7e" + stored[place + 1 :]
    with pytest.raises(ValueError, match="pages hold 63 values, its header says 6"):
        declared_by(spoiled)
    (tmp_path / "p.parquet").write_bytes(spoiled)
    with pytest.raises(LmkError, match=r"p\.parquet holds no predictions"):
        Predictions.load(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("footer", "told"),
    [
        (b"\x19" + b"\x19" * 200, "too deep"),  # lists in lists
        (b"\x1c" * 200, "too deep"),  # structures in structures
        (b"\x19\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a list of"),  # a list without end
        (b"\x18\xff\xff\xff\xff\x0f", "cut"),  # a text beyond the end
        (b"\x16" + b"\xff" * 12, "64 bits"),  # a number without end
        (b"\x15\x02\x05\x02\x04\x00", "twice"),  # field 1 twice
        (b"\x1b\x00\x00", "type 11"),  # a map
        (b"\x00", "field 2"),  # nothing
    ],
)
def test_footers_that_no_writer_writes_are_refused(footer, told):
    with pytest.raises(ValueError, match=told):
        declared_by(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_changed_bytes_are_counted_or_refused(stored, data):
    spoiled = bytearray(stored)
    for _ in range(data.draw(st.integers(1, 3))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        assert isinstance(declared_by(bytes(spoiled)), Declared)
