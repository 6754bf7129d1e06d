"""Pairs of photos: compared as verification compares them, each once, whichever of the two stands first."""

import numpy as np
import pytest
from scenes import scene, tilt, view

from lmk.local import pairs as pairs_module
from lmk.local.compare import Settings, compare
from lmk.local.features import FeatureTable
from lmk.local.pairs import pair_inliers
from lmk.local.rootsift import RootSift
from lmk.util.store import ArrayStore

EXTRACTOR = RootSift(side=320, max_features=200)
PHOTOS = {
    f"{place}{take}": view(scene(place, (320, 240)), tilt(3 * take, 1 - 0.05 * take), take)
    for place in range(2)
    for take in range(2)
}
PAIRS = np.array([["00", "01"], ["01", "00"], ["10", "00"], ["11", "10"]])


@pytest.fixture(scope="module")
def table() -> FeatureTable:
    return FeatureTable.pack(list(PHOTOS), EXTRACTOR(list(PHOTOS.values())), EXTRACTOR)


def test_photos_of_one_place_have_many_inliers_and_others_few(table, tmp_path):
    found = pair_inliers(PAIRS, table, ArrayStore(tmp_path, "pairs", {}), Settings())
    assert found[0] == found[1] == len(compare(table["00"], table["01"], Settings()).inliers) > 30
    assert found[2] < 8 < 30 < found[3]


def test_processes_and_chunks_change_no_count_and_what_is_stored_is_not_compared_again(table, tmp_path, monkeypatch):
    store = ArrayStore(tmp_path, "pairs", {})
    monkeypatch.setattr(pairs_module, "CHUNK", 1)
    monkeypatch.setattr(pairs_module, "SHARD", 2)
    found = pair_inliers(PAIRS, table, store, Settings(), jobs=2)
    monkeypatch.setattr(pairs_module, "compare", None)  # would fail if it were called
    np.testing.assert_array_equal(pair_inliers(PAIRS[::-1], table, store, Settings()), found[::-1])
    np.testing.assert_array_equal(found, pair_inliers(PAIRS, table, store, Settings()))
    assert len(store.ids()) == 3


def test_no_pairs_need_no_comparison(table, tmp_path):
    assert pair_inliers(np.empty((0, 2), str), table, ArrayStore(tmp_path, "pairs", {}), Settings()).shape == (0,)


def test_a_photo_without_features_is_named(table, tmp_path):
    with pytest.raises(KeyError, match="nowhere"):
        pair_inliers(np.array([["00", "nowhere"]]), table, ArrayStore(tmp_path, "pairs", {}), Settings())
