"""Augmentation shows the photo it was given, within the published ranges."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.data import augment as module
from lmk.data.augment import CROP, WHOLE, Ranges, augment
from lmk.data.images import resize

STILL = Ranges(rotation=0, shift=0, shear=0, zoom=0, channel=0)


class Fixed:
    """A generator whose every draw lies at the same place of its range: 0 lowest, 0.5 in the middle."""

    def __init__(self, place: float):
        self.place = place

    def random(self) -> float:
        return self.place

    def uniform(self, low, high, size=None):
        value = low + self.place * (np.asarray(high) - low)
        return float(value) if size is None else np.full(size, value)

    def integers(self, low, high, size=None):
        return np.full(size, int(low + self.place * (high - 1 - low)))


@pytest.fixture
def photo() -> np.ndarray:
    """Smooth, so that one pixel's displacement changes little."""
    noise = np.random.default_rng(3).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, 20, 230, cv2.NORM_MINMAX)


def looks(photo, side=48, count=200, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([augment(photo, side, rng) for _ in range(count)])


def test_the_ranges_are_the_published_ones():
    assert Ranges(rotation=4, shift=0.2, shear=0.2, zoom=0.5, channel=25) == WHOLE
    assert Ranges(rotation=4, shift=0, shear=0.2, zoom=0.1, channel=20) == CROP


def test_equal_seeds_give_equal_looks_and_others_do_not(photo):
    assert (looks(photo, count=5, seed=4) == looks(photo, count=5, seed=4)).all()
    assert (looks(photo, count=5, seed=4) != looks(photo, count=5, seed=5)).any()


def test_without_change_the_whole_is_the_photo_resized_or_its_mirror(photo, monkeypatch):
    monkeypatch.setattr(module, "WHOLE", STILL)
    monkeypatch.setattr(module, "CROP_SHARE", 0)
    whole = resize(photo, 48, 48).astype(int)
    kinds = set()
    for look in looks(photo, count=12):
        apart = [np.abs(look - whole).max(), np.abs(look - whole[:, ::-1]).max()]
        assert min(apart) <= 1
        kinds.add(int(np.argmin(apart)))
    assert kinds == {0, 1}


def test_without_change_a_crop_is_a_window_of_the_larger_photo(photo, monkeypatch):
    monkeypatch.setattr(module, "CROP", STILL)
    monkeypatch.setattr(module, "CROP_SHARE", 1)
    # In the middle of all ranges: c = 0.26, so 120 becomes 151, the offset is 15 of [0, 31), no mirror.
    larger = cv2.resize(photo, (151, 151), interpolation=cv2.INTER_LINEAR).astype(int)
    look = augment(photo, 120, Fixed(0.5))
    assert np.abs(look - larger[15:135, 15:135]).max() <= 2


def test_the_share_of_crops_and_of_mirrors_is_a_half(photo, monkeypatch):
    monkeypatch.setattr(module, "WHOLE", STILL)
    whole = resize(photo, 24, 24).astype(int)
    all_looks = looks(photo, side=24, count=600)
    upright = (np.abs(all_looks - whole).max(axis=(1, 2, 3)) <= 1).mean()
    mirrored = (np.abs(all_looks - whole[:, ::-1]).max(axis=(1, 2, 3)) <= 1).mean()
    assert upright == pytest.approx(0.25, abs=0.06)
    assert mirrored == pytest.approx(0.25, abs=0.06)


def test_a_zoom_below_one_enlarges_the_middle_and_a_shift_moves_it(monkeypatch):
    monkeypatch.setattr(module, "CROP_SHARE", 0)
    dot = np.zeros((101, 101, 3), np.uint8)
    dot[40:61, 40:61] = 255  # 21 pixels wide, in the middle
    monkeypatch.setattr(module, "WHOLE", Ranges(0, 0, 0, 0.5, 0))
    assert (augment(dot, 101, Fixed(0.0))[50, :, 0] > 127).sum() == pytest.approx(42, abs=1)  # zoom 0.5
    monkeypatch.setattr(module, "WHOLE", Ranges(0, 0.2, 0, 0, 0))
    seen = np.argwhere(augment(dot, 101, Fixed(0.0))[..., 0] > 127).mean(axis=0)  # both shifts -0.2, mirrored
    assert np.abs(np.abs(seen - 50) - 20.2).max() < 0.6


def test_a_rotation_turns_by_its_angle(monkeypatch):
    monkeypatch.setattr(module, "CROP_SHARE", 0)
    monkeypatch.setattr(module, "WHOLE", Ranges(4, 0, 0, 0, 0))
    bar = np.zeros((201, 201, 3), np.uint8)
    bar[98:103] = 255
    look = augment(bar, 201, Fixed(1.0))[..., 0].astype(float)
    rows = (look * np.arange(201)[:, None]).sum(axis=0) / look.sum(axis=0)
    slope = np.polyfit(np.arange(201), rows, 1)[0]
    assert abs(np.degrees(np.arctan(slope))) == pytest.approx(4, abs=0.1)


def test_channels_move_each_by_its_own_shift_within_the_range(monkeypatch):
    monkeypatch.setattr(module, "CROP_SHARE", 0)
    flat = np.full((20, 20, 3), 128, np.uint8)
    shifts = looks(flat, side=8, count=300).astype(int) - 128
    assert (shifts == shifts[:, :1, :1]).all()
    assert 20 < shifts.max() <= 25
    assert -25 <= shifts.min() < -20
    assert (shifts[:, 0, 0, 0] != shifts[:, 0, 0, 1]).mean() > 0.9


def test_colours_stop_at_black_and_white_instead_of_turning_over():
    black, white = np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)
    assert looks(black, side=8, count=60).max() <= 25
    assert looks(white, side=8, count=60).min() >= 230


@settings(max_examples=100, deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300), side=st.integers(1, 64), seed=st.integers(0, 999))
def test_beyond_a_photo_of_any_shape_its_edge_goes_on(height, width, side, seed):
    flat = np.full((height, width, 3), 100, np.uint8)
    look = augment(flat, side, np.random.default_rng(seed))
    assert look.shape == (side, side, 3)
    assert (look == look[0, 0]).all()  # no black corner


def test_a_large_photo_is_averaged_and_not_sampled():
    checks = np.indices((1024, 1024)).sum(axis=0) % 2 * 255
    photo = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    for look in looks(photo, side=32, count=40).astype(int):
        assert look.std(axis=(0, 1)).max() < 12  # sampling would give black and white


def test_a_look_is_written_where_it_is_wanted(photo):
    batch = np.zeros((2, 16, 16, 3), np.uint8)
    augment(photo, 16, np.random.default_rng(1), out=batch[1])
    assert (batch[1] == augment(photo, 16, np.random.default_rng(1))).all()
    assert not batch[0].any()
