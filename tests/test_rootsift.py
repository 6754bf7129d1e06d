"""RootSIFT: where it finds things, how it describes them, and photos in which it finds nothing."""

import cv2
import numpy as np
import pytest
from scenes import scene

from lmk.local.rootsift import RootSift


def blobs(size: tuple[int, int], places: list[tuple[float, float]], deviation: float) -> np.ndarray:
    """A dark photo with a bright Gaussian at each place."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    photo = np.full((size[1], size[0]), 60.0)
    for place in places:
        photo += 150 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * deviation**2))
    return np.repeat(photo.round().astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("side", [240, 480, 700])
def test_places_and_scales_are_in_pixels_of_the_original_photo(side):
    places = [(100.3, 80.2), (300.4, 90.1), (180.2, 250.4)]
    features = RootSift(side=side)([blobs((480, 360), places, deviation=8)])[0]
    assert features.size == (480, 360)
    for place in places:
        distances = np.linalg.norm(features.locations - place, axis=1)
        nearest = distances.argmin()
        assert distances[nearest] < 0.25
        # OpenCV tells diameters, of the lower of two Gaussians a third of an octave apart whose geometric mean is 8.
        assert features.scales[nearest] == pytest.approx(2 * 8 / 2 ** (1 / 6), rel=0.03)


def test_the_strongest_features_are_kept_strongest_first():
    photo = scene(1)
    many, few = RootSift(max_features=400)([photo])[0], RootSift(max_features=50)([photo])[0]
    assert len(few) == 50
    assert (np.diff(many.scores) <= 0).all()
    np.testing.assert_array_equal(few.descriptors, many.descriptors[:50])


def test_a_descriptor_is_the_root_of_the_share_of_each_bin():
    photo = scene(2)
    features = RootSift(side=480)([photo])[0]
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    keypoints, histograms = cv2.SIFT.create(enable_precise_upscale=True).detectAndCompute(grey, None)
    order = sorted(range(len(keypoints)), key=lambda row: -keypoints[row].response)
    first = histograms[order[0]]
    np.testing.assert_allclose(features.descriptors[0] ** 2, first / first.sum(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(90, 120, 3), (1, 1, 3), (1, 700, 3)])
def test_a_photo_without_contrast_has_no_features(shape):
    features = RootSift()([np.full(shape, 128, np.uint8)])[0]
    assert len(features) == 0 and features.descriptors.shape == (0, 128) and features.locations.shape == (0, 2)


def test_the_same_photo_gives_the_same_features():
    first, again = RootSift()([scene(4), scene(4)])
    np.testing.assert_array_equal(first.locations, again.locations)
    np.testing.assert_array_equal(first.descriptors, again.descriptors)


def test_every_option_stands_in_the_key():
    keys = [RootSift().key(), RootSift(side=400).key(), RootSift(max_features=100).key()]
    assert all(keys.count(key) == 1 for key in keys)
