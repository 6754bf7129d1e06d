"""The weights that come with lmk: small files of real use, without a network."""

import keras
import numpy as np
import pytest

from lmk.data.images import resize
from lmk.demo import buildings
from lmk.demo.scenes import photograph, settle
from lmk.models.backbones.build import build_backbone
from lmk.models.backbones.catalogue import BACKBONES, TINY, weights_digest, weights_file
from lmk.models.network import build_extractor, calibrate_normalization
from lmk.models.recipe_files import find_recipe
from lmk.retrieval.descriptors import photo_descriptors
from lmk.util.errors import LmkError
from lmk.util.files import digest_of_file

SHIPPED = ("tinymobilenet", "tinymobilenetv2")
RECIPES = tuple(f"{name}-gem" for name in SHIPPED)
BUILDINGS, VIEWS = 7, 3


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """(buildings, views, height, width, 3) uint8, of a demo's buildings; two of them are of one kind."""
    taken = []
    for building in range(BUILDINGS):
        rng = np.random.default_rng([5, 1, building])
        place = settle(buildings.build(building % (BUILDINGS - 1), rng), rng)
        taken.append([resize(photograph(place, rng), 256, 256) for _ in range(VIEWS)])
    return np.array(taken)


def order_of_pairs(recipe_name: str, weights: str, photos: np.ndarray) -> float:
    """How often two photos of one building are nearer than two of different ones; 0.5 is chance."""
    keras.utils.set_random_seed(0)
    recipe = find_recipe(recipe_name)
    extractor = build_extractor(recipe, weights)
    side = recipe.image_size
    images = np.stack([resize(photo, side, side) for photo in photos.reshape(-1, *photos.shape[2:])])
    if weights == "none":
        calibrate_normalization(extractor, images)  # as the recipes do
    descriptors = photo_descriptors(keras.ops.convert_to_numpy(extractor(images)))
    cosines = descriptors @ descriptors.T
    shown = np.arange(len(images)) // VIEWS
    pairs = np.triu_indices(len(images), 1)
    same = shown[pairs[0]] == shown[pairs[1]]
    return float((cosines[pairs][same][:, None] > cosines[pairs][~same]).mean())


@pytest.mark.parametrize("name", RECIPES)
def test_two_views_of_a_building_are_nearer_than_those_of_two_buildings(name, photos):
    untrained = order_of_pairs(name, "none", photos)
    trained = order_of_pairs(name, "tiny", photos)
    assert trained > 0.6
    assert trained > untrained + 0.1


@pytest.mark.parametrize("name", SHIPPED)
def test_the_files_are_small_whole_and_named_by_their_content(name):
    file = weights_file(name, "tiny")
    assert file.stat().st_size < 1_400_000
    assert weights_digest(name, "tiny") == digest_of_file(file)
    features = build_backbone(name, "tiny", 96)(np.full((1, 96, 96, 3), 128, np.uint8))
    assert features.shape == (1, 3, 3, BACKBONES[name].channels)
    assert np.isfinite(keras.ops.convert_to_numpy(features)).all()


def test_nothing_else_is_shipped_with_them():
    assert {file.name for file in TINY.iterdir()} == {f"{name}.weights.h5" for name in SHIPPED}


def test_a_backbone_without_shipped_weights_is_an_error_that_names_those_with_them():
    with pytest.raises(
        LmkError, match=r"no weights of vgg16 \(`tiny` has: tinymobilenet, tinymobilenetv2\)"
    ) as failure:
        build_backbone("vgg16", "tiny", 64)
    assert "\n" not in str(failure.value)
    with pytest.raises(LmkError, match="No backbone is named 'tinynet'"):
        weights_digest("tinynet", "tiny")
