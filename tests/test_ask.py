"""Photos from anywhere, asked of a run: the same answers as for its test photos, a picture, and one line where not."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

from lmk.data.competitions import read_competition
from lmk.pipeline.ask import recognize
from lmk.pipeline.config import Execution, config_of
from lmk.pipeline.dataset import open_dataset
from lmk.pipeline.recorded import config_of_run
from lmk.pipeline.run import Result, make_submission
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.errors import LmkError
from lmk.util.workspace import Workspace

pytestmark = pytest.mark.usefixtures("tiny_recipes")

SETTINGS = {"recipes": tiny.RECIPE_NAMES, "weights": "none", "folds": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tiny.draw_competition(tmp_path_factory.mktemp("competitions") / "walls")
    (root / "landmarks.csv").write_text("landmark_id,name\n40,Old Mill\n7,Chapel\n1000,Gate\n")
    return root


@pytest.fixture(scope="module")
def execution(tmp_path_factory, tiny_recipes, known_results) -> Execution:
    workspace = Workspace.open(tmp_path_factory.mktemp("workspace"))
    known_results.copy_to(workspace.root)
    return Execution(workspace, jobs=1)


def finished(folder: Path, execution: Execution, name: str, **changes) -> Result:
    config = config_of(**SETTINGS | changes)
    dataset = open_dataset(config, read_competition(folder.name, folder), execution)
    return make_submission(config, dataset, execution, name=name)


@pytest.fixture(scope="module")
def alone(folder, execution) -> Result:
    """A run whose photos are answered alone."""
    return finished(folder, execution, "alone", spread=False, each_network=True)


@pytest.fixture(scope="module")
def spread(folder, execution, alone) -> Result:
    return finished(folder, execution, "spread")


def test_a_test_photo_asked_by_its_path_has_the_answer_of_the_submission(folder, execution, alone, tmp_path):
    stored = execution.workspace.predictions / f"{alone.record.predictions['fused']}.test.parquet"
    expected = Predictions.load(stored)
    paths = [shutil.copy(folder / "test" / f"{name}.jpg", tmp_path / f"{name}.jpg") for name in expected.ids.tolist()]
    found = recognize(alone.record, [Path(path) for path in paths], execution)
    for row, one in enumerate(found):
        known = expected.landmarks[row] != NO_LANDMARK
        scores = dict(zip(expected.landmarks[row][known].tolist(), expected.scores[row][known].tolist(), strict=True))
        assert one.candidates[0].landmark == expected.landmarks[row][0]
        # Stored features are rounded to half precision, which may swap proposals that are as good as equal.
        assert {candidate.landmark: candidate.confidence for candidate in one.candidates} == pytest.approx(
            scores, rel=1e-4, abs=1e-4
        )
        assert one.is_probability


def test_asking_about_fewer_photos_changes_no_answer(folder, execution, alone):
    paths = [folder / "test" / f"t0{place}.jpg" for place in (0, 1, 6)]
    together = recognize(alone.record, paths, execution)
    single = recognize(alone.record, paths[1:2], execution)[0]
    assert [c.landmark for c in single.candidates] == [c.landmark for c in together[1].candidates]
    confidences = [[c.confidence for c in one.candidates] for one in (single, together[1])]
    np.testing.assert_allclose(*confidences, rtol=1e-3, atol=1e-5)


def test_a_run_that_spreads_answers_without_spreading_and_stores_what_that_took(folder, execution, spread):
    recognize(spread.record, [folder / "test" / "t00.jpg"], execution)
    before = sorted(path.name for path in execution.workspace.root.rglob("*") if path.is_file())
    found = recognize(spread.record, [folder / "test" / "t00.jpg"], execution)[0]
    assert sorted(path.name for path in execution.workspace.root.rglob("*") if path.is_file()) == before
    assert found.candidates[0].landmark == 40
    assert found.candidates[0].name == "Old Mill"


def test_the_picture_shows_the_photo_beside_one_of_the_landmark(folder, execution, alone, tmp_path):
    found = recognize(alone.record, [folder / "test" / "t00.jpg"], execution)[0]
    inliers = found.draw(tmp_path / "matches.jpg")
    assert inliers == found.candidates[0].inliers > 0
    assert found.candidates[0].gallery_photo.startswith(f"l{found.candidates[0].landmark}n")
    height, width = cv2.imread(str(tmp_path / "matches.jpg")).shape[:2]
    assert width > 1.5 * height


def test_the_configuration_of_a_run_is_read_back_from_its_record(alone):
    assert config_of_run(alone.record) == config_of(**SETTINGS | {"spread": False, "each_network": True})


def test_a_run_of_one_recipe_answers_by_it(folder, execution):
    one = finished(folder, execution, "one", recipes=tiny.RECIPE_NAMES[:1], ensemble=False)
    found = recognize(one.record, [folder / "test" / "t00.jpg"], execution)[0]
    assert not found.is_probability
    assert found.candidates[0].inliers is None
    assert found.candidates[0].gallery_photo.startswith(f"l{found.candidates[0].landmark}n")


def test_a_run_whose_networks_are_gone_is_not_trained_again(folder, execution, alone, tmp_path):
    place = Workspace.open(tmp_path / "other")
    with pytest.raises(LmkError, match="Run it again: "):
        recognize(alone.record, [folder / "test" / "t00.jpg"], Execution(place, jobs=1))


def test_the_command_answers_what_it_can_and_names_what_it_cannot(folder, execution, alone, tmp_path, lmk):
    photo = Path(shutil.copy(folder / "test" / "t00.jpg", tmp_path / "holiday.jpg"))
    (tmp_path / "letter.jpg").write_text("Dear all")
    place = ["-w", str(execution.workspace.root), "-j", "1", "--run", "alone"]
    code, out, err = lmk("predict", str(photo), str(tmp_path / "letter.jpg"), *place)
    assert code == 1
    assert "Old Mill" in out
    assert (tmp_path / "holiday-matches.jpg").is_file()
    assert sum("letter.jpg" in line for line in err.splitlines() if line.startswith("error: ")) == 1
    code, out, _ = lmk("predict", str(photo), *place, "--out", str(tmp_path), "--json")
    found = json.loads(out)
    assert (code, found["run"], found["photos"][0]["name"]) == (0, "alone", "Old Mill")


def test_a_folder_of_folders_is_answered_by_the_pattern_of_photos_in_it(tmp_path, lmk, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "a place").mkdir(parents=True)
    (tmp_path / "own" / "a place" / "x.PNG").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "own"):
        (folder / "notes.txt").write_text("no photo")
    code, _, err = lmk("predict", "own")
    assert code == 2 and "such as 'own/a place'/*.PNG" in " ".join(err.replace("│", "").split())


def test_options_that_change_nothing_for_a_photo_are_a_usage_error(tmp_path, lmk):
    code, _, err = lmk("predict", "holiday.jpg", "--seed", "3", "-w", str(tmp_path))
    assert code == 2
    assert "--seed has no effect" in err
    assert lmk("predict", "mobilenetv2-gem", "mobilenet-gem", "-w", str(tmp_path))[0] == 2
