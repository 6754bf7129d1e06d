"""DELF without its network: where keypoints lie, which are kept, and what becomes of their descriptors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.local.delf import PUBLISHED, SCALES, Cells, Delf, DelfOptions, Strongest
from lmk.local.pca import Pca
from lmk.local.suppress import suppress
from lmk.util.errors import LmkError
from lmk.util.progress import piece

CELLS = Cells(stride=16, first=7.5, field=16)
"""Of a network that looks at one square of 16 x 16 pixels for each cell."""


class Squares:
    """A network that is easy to follow: a cell's attention is its square's green, its descriptor the mean colour."""

    def __init__(self, most: int = 1000):
        self.most, self.batches = most, []

    def __call__(self, images: np.ndarray) -> Strongest:
        self.batches.append(images.shape)
        count, height, width, _ = images.shape
        rows, columns = height // 16, width // 16
        squares = images[:, : rows * 16, : columns * 16].reshape(count, rows, 16, columns, 16, 3).mean(axis=(2, 4))
        flat = squares.reshape(count, rows * columns, 3)
        order = np.argsort(-flat[:, :, 1], axis=1, kind="stable")[:, : self.most]
        colours = np.take_along_axis(flat, order[:, :, None], 1)
        attention = colours[:, :, 1].astype(np.float32)
        colours = colours / np.maximum(np.linalg.norm(colours, axis=2, keepdims=True), 1e-9)
        return Strongest(attention, order // columns, order % columns, colours.astype(np.float32))


def delf(**changes) -> Delf:
    dense, cells, pca = changes.pop("dense", Squares()), changes.pop("cells", CELLS), changes.pop("pca", None)
    pixels, threads = changes.pop("pixels", 0), changes.pop("threads", 1)
    return Delf(dense, cells, pca, DelfOptions(**({"scales": (1.0,), "most_overlap": 1.0} | changes)), pixels, threads)


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def spot(height: int, width: int, x: int, y: int) -> np.ndarray:
    """A dark photo with one green square of 32 pixels, centred there."""
    dark = np.zeros((height, width, 3), np.uint8)
    dark[y - 16 : y + 16, x - 16 : x + 16, 1] = 200
    return dark


def test_keypoints_are_the_centres_of_receptive_fields():
    found = delf()([photo(32, 48)])[0]
    assert sorted(map(tuple, found.locations.tolist())) == [
        (7.5, 7.5), (7.5, 23.5), (23.5, 7.5), (23.5, 23.5), (39.5, 7.5), (39.5, 23.5),
    ]  # fmt: skip
    assert found.scales.tolist() == [16.0] * 6 and not found.angles.any()
    assert found.size == (48, 32)


@pytest.mark.parametrize("size", [(384, 384), (1000, 700)])
@pytest.mark.parametrize("scale", SCALES)
def test_published_places_are_strides_over_the_scale_in_the_photo_s_own_pixels(scale, size):
    options = {"scales": (scale,), "square": 384, "published": True, "max_features": 3000}
    found = delf(dense=Squares(3000), **options)([photo(*size)])[0]
    cells = max(32, round(384 * scale)) // 16
    steps = 16 * np.arange(cells) / scale  # CELLS has stride 16, and the centre of the first cell counts for 0
    expected = {(x * size[1] / 384, y * size[0] / 384) for x in steps for y in steps}
    assert len(found) == cells**2
    found_sorted, expected_sorted = (np.array(sorted(map(tuple, places))) for places in (found.locations, expected))
    np.testing.assert_allclose(found_sorted, expected_sorted, rtol=1e-5, atol=1e-3)


def test_features_below_the_least_score_are_left_out():
    every = delf()([photo(96, 96)])[0]
    least = float(np.median(every.scores))
    found = delf(least_score=least)([photo(96, 96)])[0]
    assert len(found) == (every.scores >= least).sum() < len(every)
    np.testing.assert_array_equal(found.locations, every.locations[: len(found)])


def test_the_published_options_are_those_of_their_configurations():
    place = PUBLISHED["19th-place"]
    assert (place.square, place.least_score, place.max_features, place.most_overlap) == (384, 100.0, 1000, 1.0)
    assert PUBLISHED["delg"].least_score == 357.48 and PUBLISHED["delf"].square is None
    assert all(options.published and options.scales == SCALES for options in PUBLISHED.values())


@pytest.mark.parametrize("scale", SCALES)
def test_at_every_scale_the_keypoint_lies_where_the_thing_is_in_the_original(scale):
    found = delf(scales=(scale,))([spot(320, 480, 240, 96)])[0]
    assert np.abs(found.locations[0] - (239.5, 95.5)).max() <= 8 / min(scale, 1) + 0.5  # half a cell
    assert found.scales[0] == pytest.approx(16 / scale, rel=0.02)


def test_a_large_photo_is_brought_to_the_side_and_told_in_its_own_pixels():
    dense = Squares()
    found = delf(dense=dense, side=240)([spot(320, 480, 240, 96)])[0]
    assert dense.batches == [(1, 160, 240, 3)]
    assert np.abs(found.locations[0] - (239.5, 95.5)).max() <= 16
    assert found.scales[0] == pytest.approx(32)


def test_a_small_photo_is_not_enlarged_but_by_the_scales():
    dense = Squares()
    delf(dense=dense, side=480, scales=(0.25, 1.0, 2.0))([photo(64, 96)])
    assert dense.batches == [(1, 32, 32, 3), (1, 64, 96, 3), (1, 128, 192, 3)]


def test_scales_that_give_one_size_are_looked_at_once():
    dense = Squares()
    delf(dense=dense, scales=(0.25, 0.5, 1.0))([photo(32, 32)])
    assert dense.batches == [(1, 32, 32, 3)]


def test_the_strongest_come_first_and_no_more_than_asked_for():
    found = delf(max_features=5, scales=(0.5, 1.0))([photo(96, 96)])[0]
    every = delf(scales=(0.5, 1.0))([photo(96, 96)])[0]
    assert len(found) == 5 and len(every) == 36 + 9
    assert (np.diff(every.scores) <= 0).all()
    np.testing.assert_array_equal(found.scores, every.scores[:5])


def test_cells_that_look_from_beyond_the_border_are_left_out():
    beyond = delf(cells=Cells(16, 15.0, 31))
    found = beyond([photo(32, 32)])[0]
    assert (found.locations <= 31).all() and (found.locations >= 0).all()
    away = delf(cells=Cells(16, 20.0, 31))
    assert len(away([photo(32, 32)])[0]) == 1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_photos_of_one_size_go_together_and_the_order_stays(at_once, threads):
    photos = [photo(32, 48, 1), photo(48, 32, 2), photo(32, 48, 3), photo(48, 32, 4), photo(32, 48, 5)]
    dense = Squares()
    together = delf(dense=dense, pixels=at_once * 32 * 48 + 47, threads=threads)(photos)
    assert max(shape[0] for shape in dense.batches) == min(at_once, 3)
    for one, found in zip(photos, together, strict=True):
        alone = delf()([one])[0]
        assert found.size == alone.size
        np.testing.assert_array_equal(found.locations, alone.locations)
        np.testing.assert_array_equal(found.descriptors, alone.descriptors)


def test_photos_are_reported_as_they_are_done():
    told = []
    with piece(told.append, 6):
        delf(pixels=2 * 64 * 64, threads=2)(
            [photo(64, 64, seed) for seed in range(3)] + [photo(64, 48, seed) for seed in range(3)]
        )
    assert sum(told) == 6 and max(told) == 2


def test_descriptors_have_length_1_after_pca():
    every = delf()([photo(160, 160)])[0]
    pca = Pca.fit(every.descriptors, 2)
    found = delf(pca=pca)([photo(160, 160)])[0]
    assert found.descriptors.shape == (100, 2) and found.descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-5)


def test_the_key_names_what_features_depend_on():
    key = DelfOptions().key({"name": "a"})
    others = [
        DelfOptions(side=320),
        DelfOptions(max_features=9),
        DelfOptions(scales=(2.0,)),
        DelfOptions(most_overlap=0.8),
    ]
    assert all(other.key({"name": "a"}) != key for other in others)
    assert DelfOptions().key({"name": "b"}) != key == DelfOptions().key({"name": "a"})


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Of two squares (x, y, side), the slow and clear way."""
    shared = 1.0
    for axis in (0, 1):
        start = max(first[axis] - first[2] / 2, second[axis] - second[2] / 2)
        end = min(first[axis] + first[2] / 2, second[axis] + second[2] / 2)
        shared *= max(0.0, end - start)
    return shared / (first[2] ** 2 + second[2] ** 2 - shared)


@given(st.integers(0, 1000), st.floats(0.05, 0.95), st.integers(1, 30))
def test_suppression_keeps_what_no_stronger_one_that_stays_overlaps(seed, most, count):
    rng = np.random.default_rng(seed)
    squares = np.column_stack([rng.uniform(0, 60, (40, 2)), rng.choice([10.0, 20.0, 40.0], 40)])
    kept: list[int] = []
    for row in range(40):
        if len(kept) < count and all(overlap(squares[row], squares[other]) <= most for other in kept):
            kept.append(row)
    assert suppress(squares[:, :2], squares[:, 2], most, count).tolist() == kept


def test_a_field_inside_a_larger_one_goes_by_the_area_they_share():
    places, sides = np.zeros((2, 2)), np.array([40.0, 20.0])  # a quarter
    assert suppress(places, sides, 0.2, 9).tolist() == [0]
    assert suppress(places, sides, 0.3, 9).tolist() == [0, 1]
    assert suppress(places, sides, 1.0, 1).tolist() == [0]


def test_pca_finds_the_directions_and_makes_them_weigh_the_same():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    values = (rng.normal(size=(20000, 6)) * [9, 5, 3, 0.1, 0.1, 0.1]) @ turn.T + 4
    pca = Pca.fit(values, 3)
    np.testing.assert_allclose(pca.mean, values.mean(axis=0), rtol=1e-5)
    white = (values - pca.mean) @ pca.axes
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(3), atol=0.01)
    along = np.abs(pca.axes.T @ turn[:, :3]) * [9, 5, 3]  # axes are divided by the deviations
    np.testing.assert_allclose(along, np.eye(3), atol=0.05)
    plain = Pca.fit(values, 3, whiten=False)
    np.testing.assert_allclose(np.linalg.norm(plain.axes, axis=0), 1, rtol=1e-5)


def test_pca_keeps_no_more_dimensions_than_there_are_and_does_not_divide_by_zero():
    flat = np.zeros((5, 3))
    assert Pca.fit(flat, 40)(flat).shape == (5, 3)
    assert np.isfinite(Pca.fit(flat, 40)(flat)).all()
    with pytest.raises(ValueError, match="two descriptors"):
        Pca.fit(np.zeros((1, 3)), 2)


def test_pca_is_read_as_it_was_written(tmp_path):
    pca = Pca.fit(np.random.default_rng(0).normal(size=(50, 5)), 3)
    pca.save(tmp_path / "pca.npz")
    again = Pca.load(tmp_path / "pca.npz")
    np.testing.assert_array_equal(again.mean, pca.mean)
    np.testing.assert_array_equal(again.axes, pca.axes)
    (tmp_path / "pca.npz").write_bytes(b"nothing")
    with pytest.raises(LmkError, match="holds no PCA"):
        Pca.load(tmp_path / "pca.npz")
