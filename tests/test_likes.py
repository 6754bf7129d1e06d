"""The two published systems as wholes: what is decided from a network's answers and from inliers, and their options."""

import json

import numpy as np
import pytest

from lmk.data.splits import Queries
from lmk.ensemble.fusion_rules import FUSIONS
from lmk.local.evidence import Evidence, gather, strongest
from lmk.models.recipe_files import find_recipe
from lmk.pipeline.fuse import Proposed, fuse
from lmk.pipeline.likes import LIKES, Like, find_like, write_statistics
from lmk.pipeline.results import Answers, Verified
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
        assert find_recipe(like.system.recipe).name == like.system.recipe and like.system.rule in FUSIONS
        assert (
            like.comparison.asks == "gallery" and like.comparison.method == "samples" and not like.comparison.captions
        )
        assert like.delf.published and like.without_threshold.least_score == 0 < like.delf.least_score
    vgg, xception = LIKES.values()
    assert (vgg.gallery.compared, vgg.comparison.enough, vgg.comparison.frame) == (20, 36, "pixels")
    assert (xception.gallery.kept, xception.gallery.compared, xception.delf.square) == (48, 32, 384)


def evidence(predictions: Predictions, *passes: np.ndarray) -> dict[str, Evidence]:
    """What several passes of verification found."""
    first = predictions.top(1)
    photos = [["p", "q", "r", "s"]] * len(first)
    found = [
        gather(first.ids, first.landmarks, photos, one, np.zeros(one.shape), np.zeros(one.shape), 8) for one in passes
    ]
    return {"delf": strongest(found)}


def decided(like: Like, dev: np.ndarray, *test: np.ndarray) -> Answers:
    """The step that fuses, from counts of inliers on dev and of each pass on test."""
    asked = Answers(DEV.top(1), TEST.top(1))
    verified = Verified(evidence(DEV, dev), evidence(TEST, *test))
    queries = Queries(DEV.ids, DEV.ids, TRUTH)
    return fuse(Proposed({}, None, asked, verified, queries, {}, 0, like.divisor), like.system.rule)


def test_vgg16_answers_what_more_than_35_inliers_bear_out_and_nothing_else():
    found = decided(find_like("vgg16-delf35"), counts(36, 35), counts(35, 99, 36))
    assert found.dev.best.tolist() == [7, NO_LANDMARK] and found.test.best.tolist() == [NO_LANDMARK, 5, 2]
    assert found.test.confidence.tolist() == [-np.inf, 0.6, 0.5]  # the network's own


def test_xception_weighs_the_most_inliers_of_all_passes_by_dev_s_or_by_the_batch_s_most():
    like = find_like("xception-delf32")
    passes = [counts(10, 40, 0), counts(20, 5, 0)]
    test = decided(like, counts(50, 1), *passes).test
    np.testing.assert_allclose(test.confidence, 0.85 * np.array([20, 40, 0]) / 50 + 0.15 * TEST.confidence)
    batch = decided(like.as_asked(passes=2, divisor="batch"), counts(50, 1), *passes).test
    np.testing.assert_allclose(batch.confidence, 0.85 * np.array([20, 40, 0]) / 40 + 0.15 * TEST.confidence)
    assert test.best.tolist() == batch.best.tolist() == [7, 5, 2]  # the network alone proposes


def test_maximum_mean_and_mean_of_the_best_16_of_all_passes_are_kept(tmp_path):
    passes = [counts(10, 40, 0), counts(20, 5, 0)]
    write_statistics(tmp_path / "inliers.csv", {"test": evidence(TEST, *passes)["delf"]}, compared=4)
    lines = (tmp_path / "inliers.csv").read_text().splitlines()
    # Of a pass three photos were compared: 0, the most, and half of it.
    assert lines[0] == "part,id,landmark,max,mean,mean_best"
    assert lines[1:] == ["test,a,7,20.0,10.0,10.0", "test,b,5,40.0,20.0,20.0", "test,c,2,0.0,0.0,0.0"]


def test_what_is_asked_for_changes_galleries_and_samples_alone():
    like = find_like("xception-delf32").as_asked(passes=3, seed=4)
    assert (like.gallery.passes, like.gallery.seed, like.comparison.seed) == (3, 4, 4)
    assert like.delf == LIKES["xception-delf32"].delf and like.gallery.compared == 32


def test_an_unknown_system_names_the_nearest():
    with pytest.raises(LmkError, match="vgg16-delf35"):
        find_like("vgg-delf35")


def plain(err: str) -> str:
    """An error's text without its frame."""
    return " ".join(err.replace("\u2502", " ").split())


@pytest.mark.parametrize(
    "option", ["--no-spread", "--fusion=learned", "--local-features=both", "--nearest", "--gallery=8"]
)
def test_an_option_that_a_system_decides_itself_is_refused_in_one_line(option, lmk, tmp_path):
    code, _, err = lmk("make-submission", "--like", "vgg16-delf35", option, "-w", str(tmp_path))
    assert code == 2
    told = plain(err)
    assert option.partition("=")[0] in told and "--like vgg16-delf35, which decides" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--like", "vgg16-delf35", "--passes", "2"], "--passes goes with --like xception-delf32"),
        (["--like", "vgg16-delf35", "--no-ensemble"], "--like has no effect with --no-ensemble"),
        (["--no-ensemble", "--no-spread"], "--no-spread has no effect with --no-ensemble"),
        (["--no-ensemble", "--gallery", "4", "--fusion", "learned"], "--fusion, --gallery has no effect"),
        (["--passes", "2"], "--passes goes with --like xception-delf32"),
        (["--like", "vgg16-delf35", "--divisor", "batch"], "--divisor goes with --fusion seed-0.85-0.15"),
        (["--like", "vgg16-delf35", "--unreadable", "last"], "answers what was not verified"),
        (["--fusion", "seed-35-inliers", "--unreadable", "zero"], "answers what was not verified"),
        (["--like", "xception-delf32", "-r", "mobilenet-gem", "-r", "mobilenetv2-gem"], "has one network"),
        (["--retrieval", "a-b-c", "--each-network"], "--each-network goes with --retrieval knn"),
    ],
)
def test_an_option_without_effect_is_refused(words, told, lmk, tmp_path):
    code, _, err = lmk("make-submission", *words, "-w", str(tmp_path))
    assert code == 2 and told in plain(err)


def test_an_unknown_retrieval_names_the_nearest(lmk, tmp_path):
    code, _, err = lmk("make-submission", "--retrieval", "a-b", "-w", str(tmp_path))
    assert code == 2 and "a-b-c" in err


def test_the_systems_are_listed_with_the_recipes(lmk):
    _, out, _ = lmk("recipes")
    assert all(name in out for name in LIKES)
    _, out, _ = lmk("recipes", "--json")
    assert [like["name"] for like in json.loads(out)["likes"]] == list(LIKES)


def test_a_kernel_follows_a_system_with_its_own_recipe(lmk, tmp_path, monkeypatch):
    monkeypatch.setenv("LMK_KERNELS", str(tmp_path))
    words = ["--dataset", "me/weights", "-c", "landmark-recognition-2021"]
    code, _, _ = lmk("kernel", "new", "mine", "--kind", "submission", "--like", "xception-delf32", *words)
    script = next((tmp_path / "mine").glob("*.py")).read_text()
    assert code == 0 and '"--like", "xception-delf32"' in script and '["xception-published"]' in script
    code, _, err = lmk("kernel", "new", "other", "--like", "xception-delf32", *words)
    assert code == 2 and "--kind submission" in err
