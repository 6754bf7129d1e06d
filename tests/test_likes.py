"""The two published systems as wholes, on arrays: what is decided from a network's answers and from inliers."""

import numpy as np
import pytest

from lmk.ensemble.fuse import FUSIONS
from lmk.models.recipes import find_recipe
from lmk.pipeline.likes import LIKES, decide, find_like, with_unreadable
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.errors import LmkError

DEV = Predictions(["d", "e"], [[7, 3], [5, 2]], [[0.8, 0.1], [0.4, 0.3]])
TEST = Predictions(["a", "b", "c"], [[7, 3], [5, 9], [2, 1]], [[0.9, 0.05], [0.6, 0.2], [0.5, 0.4]])
TRUTH = np.array([7, NO_LANDMARK])


def counts(*most: int) -> np.ndarray:
    """(n, 1, 4): so many inliers with the second photo, fewer with others, the last not compared."""
    return np.array([[[0, value, value // 2, -1]] for value in most])


def test_each_system_is_made_of_parts_that_there_are():
    assert list(LIKES) == ["vgg16-delf35", "xception-delf32"]
    for like in LIKES.values():
        assert find_recipe(like.recipe).name == like.recipe and like.rule in FUSIONS
        assert (
            like.comparison.asks == "gallery" and like.comparison.method == "samples" and not like.comparison.captions
        )
        assert like.delf.published and like.without_threshold.least_score == 0 < like.delf.least_score
    vgg, xception = LIKES.values()
    assert (vgg.gallery.compared, vgg.comparison.enough, vgg.comparison.frame) == (20, 36, "pixels")
    assert (xception.gallery.kept, xception.gallery.compared, xception.delf.square) == (48, 32, 384)


def test_vgg16_answers_what_more_than_35_inliers_bear_out_and_nothing_else():
    dev, test = decide(find_like("vgg16-delf35"), DEV, TEST, [counts(36, 35)], [counts(35, 99, 36)], TRUTH)
    assert dev.best.tolist() == [7, NO_LANDMARK] and test.best.tolist() == [NO_LANDMARK, 5, 2]
    assert test.confidence.tolist() == [-np.inf, 0.6, 0.5]  # the network's own


def test_xception_weighs_the_most_inliers_of_all_passes_by_dev_s_or_by_the_batch_s_most():
    like = find_like("xception-delf32")
    passes = [counts(10, 40, 0), counts(20, 5, 0)]
    _, test = decide(like, DEV, TEST, [counts(50, 1)], passes, TRUTH)
    np.testing.assert_allclose(test.confidence, 0.85 * np.array([20, 40, 0]) / 50 + 0.15 * TEST.confidence)
    _, batch = decide(like.as_asked(passes=2, divisor="batch"), DEV, TEST, [counts(50, 1)], passes, TRUTH)
    np.testing.assert_allclose(batch.confidence, 0.85 * np.array([20, 40, 0]) / 40 + 0.15 * TEST.confidence)
    assert test.best.tolist() == batch.best.tolist() == [7, 5, 2]  # the network alone proposes


def test_what_is_asked_for_changes_galleries_and_samples_alone():
    like = find_like("xception-delf32").as_asked(passes=3, seed=4)
    assert (like.gallery.passes, like.gallery.seed, like.comparison.seed) == (3, 4, 4)
    assert like.delf == LIKES["xception-delf32"].delf and like.gallery.compared == 32


def test_unreadable_photos_get_the_most_frequent_landmark_where_the_system_did_so():
    landmarks = np.array([4, 9, 9, 4, 9, 1])
    found = with_unreadable(find_like("xception-delf32"), TEST.top(1), ["b", "z"], landmarks)
    assert found.ids.tolist() == ["a", "b", "c", "z"] and found.best.tolist() == [7, 9, 2, 9]
    assert found.confidence.tolist() == [0.9, 0.0, 0.5, 0.0]
    assert with_unreadable(find_like("vgg16-delf35"), TEST, ["b"], landmarks) is TEST


def test_an_unknown_system_names_the_nearest():
    with pytest.raises(LmkError, match="vgg16-delf35"):
        find_like("vgg-delf35")
