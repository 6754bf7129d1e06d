"""Candidates: columns point at labels, sums are those of plain dictionaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.ensemble.candidates import gather
from lmk.predictions import NO_LANDMARK, Predictions

LARGE = 2**62 + 3
"""A landmark too large to share 63 bits with a column."""


def as_it_is(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isneginf(scores), 0.0, scores)


LABELS = st.sampled_from([0, 1, 2, 3, 8, LARGE])


@st.composite
def lists(draw):
    """Two or three sources of up to 6 queries and up to 3 labels each."""
    queries = draw(st.integers(1, 6))
    sources = []
    for _ in range(draw(st.integers(2, 3))):
        width = draw(st.integers(1, 3))
        rows = [draw(st.lists(LABELS, max_size=width, unique=True)) for _ in range(queries)]
        landmarks = np.array([row + [NO_LANDMARK] * (width - len(row)) for row in rows], dtype=np.int64)
        scores = np.sort([[draw(st.floats(0, 1, width=16)) for _ in range(width)] for _ in range(queries)])[:, ::-1]
        scores = np.where(landmarks == NO_LANDMARK, -np.inf, scores)
        sources.append(Predictions([f"q{row}" for row in range(queries)], landmarks, scores))
    return sources


@given(lists(), st.lists(st.floats(0, 2), min_size=3, max_size=3))
def test_sums_are_those_of_dictionaries(sources, weights):
    weights = weights[: len(sources)]
    found = gather(sources, [as_it_is] * len(sources))
    sums = found.sums(weights)
    for row in range(len(found.ids)):
        expected: dict[int, float] = {}
        for source, weight in zip(sources, weights, strict=True):
            for landmark, score in zip(source.landmarks[row].tolist(), source.scores[row].tolist(), strict=True):
                if landmark != NO_LANDMARK:
                    expected[landmark] = expected.get(landmark, 0.0) + weight * score
        named = found.landmarks[row] != NO_LANDMARK
        assert found.landmarks[row][named].tolist() == sorted(expected)
        assert sums[row][named].tolist() == pytest.approx([expected[landmark] for landmark in sorted(expected)])
        assert (sums[row][~named] == 0).all()


@given(lists())
def test_every_entry_points_at_its_own_label(sources):
    found = gather(sources, [as_it_is] * len(sources))
    for number, source in enumerate(sources):
        for row in range(len(source)):
            for column, landmark in enumerate(source.landmarks[row]):
                if landmark != NO_LANDMARK:
                    assert found.landmarks[row, found.places[number, row, column]] == landmark


@given(lists())
def test_some_rows_are_those_rows_of_all(sources):
    found = gather(sources, [as_it_is] * len(sources))
    rows = np.arange(len(found.ids))[::-2]
    weights = np.arange(1, len(sources) + 1)
    np.testing.assert_array_equal(found.take(rows).sums(weights), found.sums(weights)[rows])
