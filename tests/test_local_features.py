"""Local features of a run: kinds by option, DELF trained once and stored, evidence of each kind under its own key."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

from lmk.data.competitions import read_competition
from lmk.local.delf import DelfOptions
from lmk.local.kinds import kinds_of
from lmk.models.backbones.catalogue import backbone_named
from lmk.models.delf.recipe import DelfRecipe, DelfTraining
from lmk.pipeline.building.local import LocalSteps
from lmk.pipeline.building.shared import Shared
from lmk.pipeline.building.verification import VerificationSteps
from lmk.pipeline.config import Config, Execution, config_of
from lmk.pipeline.dataset import Dataset, open_dataset
from lmk.pipeline.delf import recipe_of
from lmk.pipeline.key import Key
from lmk.pipeline.local_features import chosen_local_features, default_local_features
from lmk.pipeline.results import Answers
from lmk.pipeline.steps import DELF_NETWORK, ENSEMBLE, VERIFICATION, execute, local_of
from lmk.predictions import Predictions
from lmk.util.errors import LmkError
from lmk.util.workspace import Workspace

SETTINGS = {"spread": False,
    "recipes": ("tinymobilenetv2-gem",), "weights": "tiny", "folds": 3, "local_features": "both", "candidates": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.draw_competition(tmp_path_factory.mktemp("competitions") / "walls")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


def opened(folder: Path, workspace: Path, **changes) -> tuple[Config, Dataset, Execution]:
    config, execution = config_of(**SETTINGS | changes), Execution(Workspace.open(workspace), jobs=1)
    return config, open_dataset(config, read_competition(folder.name, folder), execution), execution


def local_of_run(folder: Path, workspace: Path, **changes) -> LocalSteps:
    """The local features of a run, whose steps are built."""
    local = LocalSteps(Shared(*opened(folder, workspace, **changes)))
    local.local_features()
    return local


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Two epochs, small views: what is learned is measured elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        recipe = DelfRecipe("tinymobilenetv2", training=DelfTraining(side=64, views=1, epochs=2))
        patch.setattr("lmk.pipeline.delf.default_recipe", lambda weights: recipe)
        patch.setattr("lmk.pipeline.delf.PCA_PHOTOS", 8)
        patch.setattr("lmk.pipeline.building.delf.PCA_PHOTOS", 8)
        yield


@pytest.fixture(scope="module")
def verified(folder, workspace):
    config, dataset, execution = opened(folder, workspace)
    shared = Shared(config, dataset, execution)
    local = LocalSteps(shared)
    proposed = np.tile(np.array([40, 7]), (len(dataset.dev), 1))
    dev = Predictions(dataset.dev.ids, proposed, np.ones(proposed.shape))
    test = Predictions(dataset.test_ids, proposed[: len(dataset.test_ids)], np.ones((len(dataset.test_ids), 2)))
    steps = local.local_features()
    shared.keys[ENSEMBLE] = dataset.split_key
    verification = VerificationSteps(shared, local).verification()
    execute(steps, [local_of("rootsift"), local_of("delf")], execution)
    return verification.compute({ENSEMBLE: Answers(dev, test)})


def test_both_give_evidence_of_two_kinds(verified):
    assert list(verified.dev) == list(verified.test) == ["rootsift", "delf"]
    for evidence in verified.dev.values():
        assert evidence.compared.sum() > 0
        assert evidence.inliers.max() >= 3
    assert (verified.dev["rootsift"].compared == verified.dev["delf"].compared).all()
    assert (verified.dev["rootsift"].inliers != verified.dev["delf"].inliers).any()


def test_features_do_not_depend_on_the_split_nor_on_what_else_is_asked(verified, folder, workspace):
    local = local_of_run(folder, workspace, seed=1, folds=4)
    source, dataset = local.sources["delf"], local.shared.dataset
    ids = dataset.split.train_ids[:3]
    assert not len(source.store.missing(ids))  # of the run before
    stored = source.table(ids)
    alone = source.extractor([dataset.read(ids[1])])[0]
    np.testing.assert_allclose(stored[ids[1]].locations, alone.locations, atol=1e-3)
    np.testing.assert_allclose(stored[ids[1]].descriptors, alone.descriptors, atol=2e-3)


def test_photos_of_landmarks_that_nobody_proposes_are_never_read(verified, folder, workspace):
    local = local_of_run(folder, workspace)
    gallery = {photo for landmark, photos in local.galleries.items() for photo in photos if landmark not in (40, 7)}
    asked = {*local.shared.dataset.dev.photos.tolist(), *local.shared.dataset.test_ids.tolist()}
    assert gallery - asked
    assert set(local.sources["rootsift"].store.ids().tolist()).isdisjoint(gallery - asked)


def test_delf_has_40_dimensions_of_half_precision(verified, folder, workspace):
    table = local_of_run(folder, workspace).sources["delf"].table(np.array(["l40n0", "t00"]))
    assert table.descriptors.dtype == np.float16 and table.descriptors.shape[2] == 40
    assert (table.counts > 10).all() and table.sizes.tolist() == [[96, 96], [96, 96]]


def test_keys_name_the_kinds_and_the_network(folder, workspace, monkeypatch):
    def digests(**changes) -> dict[str, str]:
        local = local_of_run(folder, workspace, **changes)
        local.shared.keys[ENSEMBLE] = local.shared.dataset.split_key
        VerificationSteps(local.shared, local).verification()
        return {name: key.digest for name, key in local.shared.keys.items()}

    kinds = {kind: digests(local_features=kind) for kind in ("rootsift", "delf", "both")}  # others need weights
    assert len({found[VERIFICATION] for found in kinds.values()}) == 3
    plain, features = digests(), local_of("delf")
    assert recipe_of("tiny", None, 2).training.tune_epochs == 2
    tuned = digests(delf_tune=2)
    assert tuned[DELF_NETWORK] != plain[DELF_NETWORK] and tuned[features] != plain[features]
    published = digests(delf_attention="published")
    assert published[DELF_NETWORK] not in (plain[DELF_NETWORK], tuned[DELF_NETWORK])
    recipe = recipe_of("tiny", None, 0)
    for other in (replace(recipe, dimensions=20), replace(recipe, training=DelfTraining(seed=1))):
        monkeypatch.setattr("lmk.pipeline.delf.default_recipe", lambda weights, other=other: other)
        assert digests()[features] != plain[features]
    monkeypatch.setattr("lmk.pipeline.delf.default_recipe", lambda weights: recipe)
    monkeypatch.setattr("lmk.pipeline.building.delf.DelfOptions", lambda: DelfOptions(side=240))
    found = digests()
    assert found[DELF_NETWORK] == plain[DELF_NETWORK] and found[features] != plain[features]


def test_the_pca_of_few_photos_is_fitted_to_features_of_all_scales(folder, workspace, monkeypatch):
    def key() -> Key:
        return local_of_run(folder, workspace).shared.keys[DELF_NETWORK]

    many = key()  # of the eight photos that are enough here
    assert many.facts["pca"][-1] == 1.0
    monkeypatch.setattr("lmk.pipeline.delf.PCA_PHOTOS", 1000)
    few = key()
    assert few.facts["pca"][-1] == max(DelfOptions().scales) == 2.0
    assert few.digest != many.digest


def test_a_published_delf_is_not_tuned(tmp_path):
    with pytest.raises(LmkError, match="--delf-tune"):
        recipe_of("tiny", str(tmp_path), 1)


def test_attention_of_a_published_delf_is_not_trained(folder, workspace, tmp_path):
    with pytest.raises(LmkError, match="--delf-attention"):
        local_of_run(folder, workspace, delf=str(tmp_path), delf_attention="published")


def test_without_weights_delf_is_refused_and_is_no_default(folder, workspace):
    with pytest.raises(LmkError, match="DELF needs pretrained weights"):
        local_of_run(folder, workspace, weights="none")
    assert default_local_features("none") == default_local_features("tiny") == "rootsift"


@pytest.fixture
def nothing_installed(monkeypatch):
    """No package with weights of learned local features, whatever this machine has."""
    monkeypatch.setattr("lmk.local.glue.installed_file", lambda package, file: None)


def test_xfeat_verifies_by_default_where_it_has_weights_and_delf_has_none(nothing_installed, tmp_path, monkeypatch):
    assert default_local_features(str(tmp_path)) == "rootsift"
    (tmp_path / "xfeat.pt").write_text("XFeat's")
    assert default_local_features(str(tmp_path)) == "rootsift,xfeat"
    assert default_local_features("tiny") == default_local_features("none") == "rootsift"
    assert default_local_features(str(tmp_path), delf="mobilenet") == "both"
    (tmp_path / backbone_named("mobilenetv2").weights_files[0]).write_text("DELF's")
    assert default_local_features(str(tmp_path)) == "both"
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("lmk.local.glue.installed_file", lambda package, file: tmp_path / "xfeat.pt")
    assert default_local_features(str(tmp_path / "other")) == "rootsift,xfeat"


def test_both_kinds_verify_by_default_where_delf_has_weights_of_real_photos(nothing_installed, tmp_path):
    assert default_local_features("imagenet") == "both"
    (tmp_path / backbone_named("xception").weights_files[0]).write_text("another backbone's")
    assert default_local_features(str(tmp_path)) == "rootsift"
    (tmp_path / backbone_named("mobilenetv2").weights_files[0]).write_text("DELF's")
    assert default_local_features(str(tmp_path)) == "both"
    assert default_local_features("tiny", delf="tinymobilenet") == "both"


def test_a_file_of_another_backbones_weights_is_not_taken_for_delfs(nothing_installed, tmp_path):
    for backbone, kinds in (("xception", "rootsift"), ("mobilenetv2", "both")):
        file = tmp_path / backbone_named(backbone).weights_files[0]
        file.write_text("weights")
        assert default_local_features(str(file)) == kinds


@pytest.mark.parametrize(
    ("asked", "kinds"),
    [
        ("xfeat", ("xfeat",)),
        ("both", ("rootsift", "delf")),
        ("rootsift, xfeat", ("rootsift", "xfeat")),
        ("delf,both,delf", ("delf", "rootsift")),
    ],
)
def test_several_kinds_are_asked_for_with_commas_each_once(asked, kinds):
    assert kinds_of(chosen_local_features(asked, "none")) == kinds


def test_training_is_stored_and_told(verified, folder, workspace, lmk):
    files = {path: path.stat().st_mtime_ns for path in (workspace / "weights").glob("delf-*")}
    assert {path.suffix for path in files} == {".h5", ".json", ".npz", ".sha256"}
    common = ["-c", str(folder), "-w", str(workspace), "--weights", "tiny", "--jobs", "1", "--json"]
    code, out, _ = lmk("delf", "train", *common)
    told = json.loads(out)
    assert code == 0
    assert told["backbone"] == "tinymobilenetv2" and len(told["history"]) == 2
    assert {path: path.stat().st_mtime_ns for path in (workspace / "weights").glob("delf-*")} == files
    code, out, _ = lmk("delf", "extract", *common)
    told = json.loads(out)
    assert code == 0 and told["photos"] == 25 + 8 + 8 and told["computed"] <= 8


def test_the_match_picture_follows_the_option(verified, folder, workspace, tmp_path, lmk):
    common = ["-c", str(folder), "-w", str(workspace), "--weights", "tiny", "--jobs", "1"]
    told = {}
    for kind in ("rootsift", "delf"):
        picture = tmp_path / f"{kind}.png"
        arguments = ["verify", "show", "l40n0", "l40n1", "--out", str(picture), "--local-features", kind]
        code, out, _ = lmk(*arguments, *common)
        assert code == 0 and cv2.imread(str(picture)).shape == (480, 968, 3)
        told[kind] = out.split()[0]
    assert told["rootsift"] != told["delf"]


def test_an_unknown_kind_is_one_line(folder, workspace, lmk):
    code, _, err = lmk("verify", "-c", str(folder), "--local-features", "surf")
    known = "rootsift, delf, xfeat, aliked-t16, aliked-n16, xfeat-lighterglue, aliked-lightglue, both"
    assert code == 2 and err.strip() == f"error: No local features are named 'surf'; there are {known}."
