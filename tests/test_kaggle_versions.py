"""Results of a kernel with another Keras: taken as they are and said, never mixed with what is made here."""

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import tiny

from lmk.data.competitions import read_competition
from lmk.kaggle.inside import leave
from lmk.kaggle.pull import read_manifest, take
from lmk.pipeline.build import build
from lmk.pipeline.config import Config, Execution, backend_here, config_of
from lmk.pipeline.dataset import Dataset, open_dataset
from lmk.pipeline.run import make_submission
from lmk.pipeline.steps import RETRIEVAL, execute, networks_of
from lmk.predictions import read_submission
from lmk.util.errors import LmkError
from lmk.util.workspace import Workspace

pytestmark = pytest.mark.usefixtures("tiny_recipes")

SETTINGS = {"recipes": tiny.RECIPE_NAMES, "weights": "none", "folds": 3}
THERE = ("3.0.0", "tensorflow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.draw_competition(tmp_path_factory.mktemp("competitions") / "walls")


def opened(
    folder: Path, workspace: Path, notes: list[str] | None = None, **changes
) -> tuple[Config, Dataset, Execution]:
    note = (lambda text: None) if notes is None else notes.append
    config, execution = config_of(**SETTINGS | changes), Execution(Workspace.open(workspace), jobs=1, note=note)
    return config, open_dataset(config, read_competition(folder.name, folder), execution), execution


def backends_of(folder: Path, workspace: Path) -> dict[str, tuple[str, str]]:
    """Backend in the keys of each recipe's networks."""
    steps = build(*opened(folder, workspace))
    return {step.stage: tuple(step.key.facts["backend"]) for step in steps if step.name.endswith("/networks")}


def keras_is(patch: pytest.MonkeyPatch, version: str) -> None:
    known = metadata.version
    patch.setattr(metadata, "version", lambda name: version if name == "keras" else known(name))
    patch.setattr("lmk.pipeline.config.version", metadata.version)


@pytest.fixture(scope="module")
def left(folder, tmp_path_factory) -> Path:
    """What a kernel with an older Keras left: both recipes, each run by itself."""
    root = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch:
        keras_is(patch, THERE[0])
        patch.setenv("LMK_KAGGLE_WORKING", str(root / "working"))
        for name in tiny.RECIPE_NAMES:
            make_submission(*opened(folder, root / "workspace", recipes=(name,), ensemble=False))
            run = opened(folder, root / "workspace", recipes=(name,))
            execute(build(*run), [RETRIEVAL], run[2])  # as `lmk ensemble` in the kernels that come with lmk
        leave("both", folder.name, tiny.RECIPE_NAMES, root / "workspace")
    return root / "working"


@pytest.fixture
def home(left, tmp_path) -> Path:
    """A workspace into which it was pulled."""
    workspace = tmp_path / "workspace"
    copy = tmp_path / "copy"
    copy.mkdir()
    manifest = read_manifest(left / "lmk-kernel.json")
    for name in manifest.files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((left / name).read_bytes())
    take(manifest, copy, workspace)
    return workspace


def test_they_are_taken_and_named_and_the_rest_is_made_of_them(folder, home, tmp_path, known_results):
    notes: list[str] = []
    run = opened(folder, home, notes)
    found = make_submission(*run)
    assert set(tiny.RECIPE_NAMES) <= set(found.record.reused)
    said = [note for note in notes if "comes from a kernel with Keras 3.0.0 tensorflow" in note]
    assert len(said) == 2
    record = json.loads((home / "runs" / found.name / "run.json").read_text())
    assert set(record["backends"].values()) == {"3.0.0 tensorflow"}
    assert {networks_of(name) for name in tiny.RECIPE_NAMES} <= record["backends"].keys()
    # The Keras that pretended to be older is the one here, so the numbers are those of a run that is all of this place.
    known_results.copy_to(tmp_path / "alone")
    alone = make_submission(*opened(folder, tmp_path / "alone"))
    assert found.record.dev.gap == alone.record.dev.gap
    one = read_submission(found.submission)
    other = read_submission(alone.submission).align(one.ids)
    np.testing.assert_array_equal(one.best, other.best)
    # What was copied may come from another process, whose sums end otherwise.
    np.testing.assert_allclose(one.confidence, other.confidence, rtol=1e-5)
    assert found.name != alone.name


def test_what_was_made_here_goes_before_what_was_pulled(folder, home):
    known = json.loads((home / "makers.json").read_text())
    (home / "makers.json").unlink()
    for name in tiny.RECIPE_NAMES[:1]:
        make_submission(*opened(folder, home, recipes=(name,), ensemble=False))
    (home / "makers.json").write_text(json.dumps(known))
    assert [backend[0] for backend in backends_of(folder, home).values()] == [backend_here().keras, THERE[0]]


@pytest.mark.parametrize(("lost", "what"), [("stores", "features"), ("weights", "networks")])
def test_what_a_kernel_did_not_leave_is_not_computed_by_another_keras(folder, home, lost, what):
    for path in (home / lost).rglob("*.*"):
        path.unlink()
    run = opened(folder, home)
    with pytest.raises(LmkError, match=rf"some of its {what} are not here.*[rR]emove .*makers\.json"):
        make_submission(*run) if lost == "stores" else execute(build(*run), [networks_of("tiny-frozen")], run[2])
    (home / "makers.json").unlink()
    assert backends_of(folder, home)["tiny-frozen"][0] == backend_here().keras


@pytest.mark.parametrize("text", ["[1", "[1]", "{}", '{"ab": 1}', '["ab"]', "[[1, 2]]", '[["3", null]]', "[" * 100_000])
def test_a_damaged_list_of_libraries_is_named(home, text):
    (home / "makers.json").write_text(text)
    with pytest.raises(LmkError, match=r"makers\.json cannot be read"):
        Workspace.open(home).libraries()
