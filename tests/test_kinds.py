"""The registry of local features: what each entry promises, and that listing loads nothing heavy."""

import subprocess
import sys

import numpy as np
import pytest

from lmk.local.features import FeatureTable
from lmk.local.kinds import DELF, LOCAL_FEATURES, choices, kinds_of
from lmk.local.rootsift import RootSift


def test_entries_go_by_their_names_and_every_choice_is_of_entries():
    assert all(name == kind.name for name, kind in LOCAL_FEATURES.items())
    assert {kind for choice in choices() for kind in kinds_of(choice)} == LOCAL_FEATURES.keys()


def test_an_entry_makes_its_extractor():
    assert LOCAL_FEATURES["rootsift"].extractor() == RootSift()


def test_what_a_competition_trains_has_no_extractor_of_its_own():
    with pytest.raises(ValueError, match="trained on a competition's photos"):
        LOCAL_FEATURES[DELF].extractor()


def test_the_bytes_of_an_entry_are_those_of_its_table():
    photo = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    extractor = RootSift()
    table = FeatureTable.pack(["a"], extractor([photo]), extractor)
    assert LOCAL_FEATURES["rootsift"].feature_bytes == table.geometry.nbytes + table.descriptors.nbytes


def test_the_registry_loads_neither_numpy_nor_keras():
    code = "import sys, lmk.local.kinds; print(*{'numpy', 'keras', 'cv2'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
