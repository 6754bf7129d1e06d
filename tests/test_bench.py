"""Benchmarks are found and run by name; their figures are one JSON object or a table."""

import io
import itertools
import json

import cv2
import keras
import numpy as np
import pytest

from benchmarks import gpu, job, scoring
from benchmarks import input as photo_input
from benchmarks.__main__ import benchmarks
from benchmarks.__main__ import run as run_named
from benchmarks.output import parser, show
from benchmarks.timing import in_turns
from lmk.util.errors import LmkError


def test_every_benchmark_says_in_one_line_what_it_measures(capsys):
    assert {"verification", "evidence", "ablation", "kills"} <= benchmarks().keys()
    assert all(len(line) > 20 for _, line in benchmarks().values())
    run_named([])
    assert "verification" in capsys.readouterr().out


def test_a_name_that_is_not_there_is_answered_by_the_nearest_one():
    with pytest.raises(LmkError, match="Did you mean 'verification'"):
        run_named(["verificaton"])


def test_help_after_a_name_is_the_benchmarks_own(capsys):
    with pytest.raises(SystemExit) as stopped:
        run_named(["evidence", "--help"])
    assert stopped.value.code == 0
    assert "--keep-captions" in capsys.readouterr().out


def test_figures_are_one_json_object_where_a_script_asks_for_it(capsys):
    options = parser("some", "What it measures.").parse_args(["--json"])
    show({"ratio": 2.5, "rows": [{"idea": "plain", "gap": 0.5}]}, options.json)
    assert json.loads(capsys.readouterr().out) == {"ratio": 2.5, "rows": [{"idea": "plain", "gap": 0.5}]}


def test_figures_are_a_table_for_a_person(capsys):
    show({"ratio": 2.5, "rows": [{"idea": "plain", "gap": 0.5}]}, False)
    told = capsys.readouterr().out
    assert "ratio" in told and "2.5" in told and "plain" in told and "0.5" in told


def test_ways_are_timed_in_turns_and_the_first_turn_does_not_count():
    told, clock = [], itertools.count()
    ways = {"a": lambda: told.append("a"), "b": lambda: told.append("b")}
    seconds = in_turns(ways, 2, lambda: float(next(clock)))
    assert "".join(told) == "ababab"
    assert seconds == {"a": 1.0, "b": 1.0}


def test_lmk_and_the_public_forms_agree_on_every_step_of_scoring(monkeypatch):
    monkeypatch.setattr(scoring, "QUERIES", 3000)
    monkeypatch.setattr(scoring, "BLOCK", 40)
    found = scoring.run(rounds=1)
    assert len(found["rows"]) == 6
    assert all(row["agree"] is True for row in found["rows"])  # of numpy's kind it is not JSON
    assert all(row["seconds"] > 0 and row["public_seconds"] > 0 for row in found["rows"])


def test_views_of_photos_are_counted_for_each_way(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), photo)
    found = photo_input.run(tmp_path, side=32, rounds=1)
    assert found["lmk"] > 0 and found["tf_data_ratio"] > 0 and found["decoder_share"] > 0


def test_plain_views_are_counted_for_each_way(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), photo)
    found = photo_input.plain(tmp_path, side=32, rounds=1, jobs=2)
    assert found["lmk"] > 0 and found["tf_data_ratio"] > 0 and found["decoder_share"] > 0


def test_a_folder_without_photos_is_a_mistake(tmp_path):
    with pytest.raises(LmkError, match="no JPEGs"):
        photo_input.run(tmp_path)


def test_the_networks_of_the_gpu_benchmark_train_and_predict_on_a_processor(capsys, monkeypatch):
    for name in ("KERAS_BACKEND", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.setenv(name, keras.backend.backend())  # both are set there, and are as before afterwards
    words = ["--worker", "lmk", "--network", "vgg16-bottleneck", "--backend", keras.backend.backend()]
    monkeypatch.setattr("sys.stdin", io.StringIO("training\nprediction\n"))
    gpu.main([*words, "--device", "cpu", "--side", "32", "--batch", "2", "--steps", "1"])
    ready, *found = map(json.loads, capsys.readouterr().out.splitlines())
    assert ready["seconds"] > 0 and len(found) == 2
    assert all(figures["images_a_second"] > 0 for figures in found)


def test_a_stretch_of_work_does_not_count_what_is_inside_it(monkeypatch):
    times = iter([0.0, 1.0, 4.0, 10.0])
    monkeypatch.setattr("benchmarks.job.time.perf_counter", lambda: next(times))
    clock = job.Clock()
    with clock("stage", 1, ""), clock("features", 1, ""):
        pass
    assert clock.seconds == {"features": 3.0, "stage": 7.0}
