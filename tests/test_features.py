"""The table of local features: what goes in comes out, whatever was stored before and whoever computed it."""

import pickle

import numpy as np
import pytest
from scenes import scene

from lmk.local.features import FeatureTable, extract
from lmk.local.rootsift import RootSift
from lmk.util.store import ArrayStore

EXTRACTOR = RootSift(side=240, max_features=60)
PHOTOS = {f"p{seed}": scene(seed, (240, 180)) for seed in range(9)} | {"plain": np.full((50, 60, 3), 9, np.uint8)}
IDS = list(PHOTOS)


def store(tmp_path, key="a") -> ArrayStore:
    return ArrayStore(tmp_path, "rootsift", EXTRACTOR.key() | {"photos": key})


def test_a_table_gives_back_the_features_of_each_photo(tmp_path):
    table = extract(PHOTOS.__getitem__, IDS, store(tmp_path), EXTRACTOR)
    assert list(table) == IDS and len(table) == 10
    for name, features in zip(IDS, EXTRACTOR(list(PHOTOS.values())), strict=True):
        kept = table[name]
        assert kept.size == features.size and len(kept) == len(features)
        np.testing.assert_array_equal(kept.locations, features.locations)
        np.testing.assert_array_equal(kept.angles, features.angles)
        np.testing.assert_allclose(kept.descriptors, features.descriptors, atol=0.51 / 255)
    with pytest.raises(KeyError):
        table["absent"]


def test_descriptors_with_signs_are_kept_in_half_precision():
    class Signed(RootSift):
        stored_as = np.float16

    features = EXTRACTOR([PHOTOS["p1"]])[0]
    features.descriptors[:] -= 0.1
    table = FeatureTable.pack(["p1"], [features], Signed(max_features=60))
    np.testing.assert_allclose(table["p1"].descriptors, features.descriptors, atol=1e-3)


def test_jobs_do_not_change_the_features(tmp_path):
    one = extract(PHOTOS.__getitem__, IDS, store(tmp_path, "one"), EXTRACTOR)
    two = extract(PHOTOS.__getitem__, IDS, store(tmp_path, "two"), EXTRACTOR, jobs=2)
    for name, values in one.arrays().items():
        np.testing.assert_array_equal(values, two.arrays()[name])


def test_a_photo_that_is_stored_is_not_read_again(tmp_path):
    extract(PHOTOS.__getitem__, IDS[:6], store(tmp_path), EXTRACTOR)
    read = []

    def reader(name):
        read.append(name)
        return PHOTOS[name]

    table = extract(reader, IDS[::-1], store(tmp_path), EXTRACTOR)
    assert sorted(read) == sorted(IDS[6:])
    assert list(table) == IDS[::-1]
    np.testing.assert_array_equal(table["p8"].locations, EXTRACTOR([PHOTOS["p8"]])[0].locations)


def test_a_table_reaches_another_process_whole(tmp_path):
    table = extract(PHOTOS.__getitem__, IDS, store(tmp_path), EXTRACTOR)
    table["p1"]
    copy = pickle.loads(pickle.dumps(table))
    np.testing.assert_array_equal(copy["p3"].descriptors, table["p3"].descriptors)
