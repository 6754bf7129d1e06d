"""The full-size benchmark measures what it says: its small form has the rows, the answers and the files it names."""

import json

import numpy as np
import pytest

from benchmarks import scale
from lmk.data.tables import read_train
from lmk.metrics import gap

PHOTOS, LANDMARKS, QUERIES = 900, 60, 70


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tables")
    scale.make(place, PHOTOS, LANDMARKS, QUERIES)
    return place


def test_the_tables_have_the_size_that_was_asked_for(folder):
    ids, landmarks, urls = read_train(folder / "train.csv")
    assert len(set(ids.tolist())) == len(urls) == PHOTOS
    assert {len(name) for name in ids.tolist()} == {16}
    assert len(np.unique(landmarks)) == LANDMARKS
    found = scale.read(folder)
    assert (found["rows"], found["landmarks"], found["queries"]) == (PHOTOS, LANDMARKS, QUERIES)


def test_steps_tell_what_they_did(folder):
    assert scale.rows_to_photos(folder)["found"] == PHOTOS // 2
    assert scale.split(folder)["least_training_photos"] > PHOTOS / 2
    assert LANDMARKS < scale.galleries(folder)["photos"] <= PHOTOS
    lines = (folder / "sample.csv").read_text().count("\n")
    assert scale.submission(folder)["bytes"] > QUERIES * 16
    assert (folder / "submission.csv").read_text().count("\n") == lines


def test_the_gap_that_is_timed_is_the_metric(folder):
    with np.load(folder / "answers.npz") as file:
        truth, answers, scores = file["truth"], file["answers"], file["scores"]
    assert scale.gap(folder)["gap"] == gap(np.arange(QUERIES).astype(str), truth, answers, scores)


def test_a_step_runs_in_a_process_of_its_own_and_tells_its_memory(folder):
    found = scale.in_a_process("split", folder)
    assert found["step"] == "split"
    assert 0.02 < found["peak_gb"] < 2
    assert found["seconds"] > 0


def test_one_step_prints_one_json_object(folder, capsys):
    scale.main(["--step", "submission", "--folder", str(folder)])
    assert json.loads(capsys.readouterr().out)["step"] == "submission"
