"""Readers answer or refuse in one line, whatever a file holds: what fuzzing found, and a short round of it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stress import fuzz

SEEDS = sorted((Path(__file__).parent / "fuzz_seeds").iterdir())
BY_NAME = {reader.name: reader for reader in fuzz.READERS}


def reader_of(seed: Path) -> fuzz.Reader:
    return max((reader for reader in fuzz.READERS if seed.name.startswith(reader.name)), key=lambda r: len(r.name))


@pytest.mark.parametrize("seed", SEEDS, ids=[seed.name for seed in SEEDS])
def test_what_was_found_stays_mended(seed):
    assert fuzz.attempt(reader_of(seed), seed.read_bytes()) is None


@pytest.mark.parametrize("name", BY_NAME)
def test_whole_files_and_a_few_spoiled_ones_are_answered_or_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "BATCH", 25)
    assert fuzz.work((name, 4711, str(tmp_path / "current"))) == []


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(fuzz.READERS), st.binary(max_size=400))
def test_any_bytes_are_answered_or_refused(reader, data):
    assert fuzz.attempt(reader, data) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=4), max_size=6))
def test_any_table_of_text_is_answered_or_refused(rows):
    data = "\n".join(["id,landmarks", *(",".join(row) for row in rows)]).encode("utf-8", "surrogatepass")
    for name in ("table", "submission"):
        assert fuzz.attempt(BY_NAME[name], data) is None


def test_a_reader_that_raises_something_else_is_found():
    def broken(path: Path) -> None:
        raise KeyError(path.read_bytes()[:1])

    reader = fuzz.Reader("broken", broken, lambda: [b"x"], "csv")
    assert "KeyError" in (fuzz.attempt(reader, b"x") or "")


def test_a_line_of_the_journal_with_an_endless_cell_counts_as_none():
    line = b"a,stored,5,4,3,00ff\n"
    assert fuzz.attempt(BY_NAME["journal"], b"x" * 200_000 + b",stored,5,4,3,00ff\n" + line) is None


def test_an_input_that_ends_the_process_is_found_at_once(tmp_path, monkeypatch):
    worker = fuzz._Worker()
    try:
        current = tmp_path / "current"
        current.write_bytes(b"killer")
        worker._process.kill()
        [(problem, data)] = worker.do(("journal", 0, str(current)))
        assert (problem, data) == ("died, exit code -9", b"killer")
    finally:
        worker.end()
