"""The 1, 12 and 22 views of a photo are what the published solution voted over."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.data.images import resize
from lmk.data.views import VIEW_COUNTS, larger_side, make_views


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def test_the_larger_sides_at_299_are_the_published_ones():
    assert [larger_side(299, percent) for percent in (5, 10, 15)] == [313, 328, 343]


def test_a_larger_side_is_rounded_down_from_the_exact_product():
    assert int(100 * (1 + 0.15)) == 114  # what floating point makes of 115
    assert larger_side(100, 15) == 115
    assert larger_side(20, 5) == 21


@pytest.mark.parametrize("count", VIEW_COUNTS)
def test_views_are_as_many_squares_as_asked_for(photo, count):
    views = make_views(photo, 32, count)
    assert views.shape == (count, 32, 32, 3)
    assert views.dtype == np.uint8


@pytest.mark.parametrize("count", VIEW_COUNTS)
def test_the_first_view_is_the_whole_photo(photo, count):
    assert (make_views(photo, 40, count)[0] == resize(photo, 40, 40)).all()


@pytest.mark.parametrize("count", [12, 22])
def test_every_view_is_followed_by_its_mirror(photo, count):
    views = make_views(photo, 32, count)
    assert (views[1::2] == views[0::2, :, ::-1]).all()


def test_the_twenty_two_views_at_299_are_the_published_windows_in_their_order(photo):
    views = make_views(photo, 299, 22)
    expected = [resize(photo, 299, 299)]
    for size, centre in ((313, 7), (343, 22)):
        larger, end = resize(photo, size, size), size - 299
        expected += [
            larger[:299, :299],
            larger[end:, :299],
            larger[:299, end:],
            larger[end:, end:],
            larger[centre : centre + 299, centre : centre + 299],
        ]
    assert (views[::2] == np.stack(expected)).all()


def test_the_twelve_views_at_299_come_from_side_328(photo):
    larger = resize(photo, 328, 328)
    views = make_views(photo, 299, 12)
    assert (views[4] == larger[29:, :299]).all()  # bottom left
    assert (views[10] == larger[14:313, 14:313]).all()  # centre


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), side=st.integers(1, 50), count=st.sampled_from(VIEW_COUNTS))
def test_a_flat_photo_of_any_shape_has_flat_views(height, width, side, count):
    flat = np.full((height, width, 3), (10, 120, 250), np.uint8)
    assert (make_views(flat, side, count) == (10, 120, 250)).all()


def test_views_are_written_where_they_are_wanted(photo):
    batch = np.zeros((3, 22, 24, 24, 3), np.uint8)
    views = make_views(photo, 24, 22, out=batch[1])
    assert np.shares_memory(views, batch)
    assert (batch[1] == make_views(photo, 24, 22)).all()
    assert not batch[[0, 2]].any()


def test_a_wrong_place_or_count_is_a_mistake_in_code(photo):
    with pytest.raises(ValueError, match="1, 12 or 22"):
        make_views(photo, 24, 10)
    with pytest.raises(ValueError, match="must be"):
        make_views(photo, 24, 12, out=np.zeros((12, 24, 25, 3), np.uint8))
    with pytest.raises(ValueError, match="must be"):
        make_views(photo, 24, 12, out=np.zeros((12, 24, 24, 3), np.float32))
    with pytest.raises(ValueError, match="contiguous"):
        make_views(photo, 24, 12, out=np.zeros((12, 24, 24, 6), np.uint8)[..., ::2])
