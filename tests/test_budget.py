"""What a run does to stay within its pairs and its disk, and the settings that `lmk plan --fit` finds."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.cli.main import main
from lmk.data.sizes import Size
from lmk.data.splits import make_holdout
from lmk.pipeline.amounts import dev_queries
from lmk.pipeline.budget import changes, disk_needed, within_budget, within_disk, within_pairs
from lmk.pipeline.config import Config, config_of
from lmk.util.disk import IN_A_KERNEL, disk_for, parse_size
from lmk.util.errors import LmkError

FROZEN, TUNED = "mobilenetv2-gem", "xception-gem"


def size_of(landmarks: int, photos: int, test: int = 1000, distractors: int = 500) -> Size:
    return Size("some", np.full(landmarks, photos), distractors, test, 100.0, "by hand")


def pairs(config: Config, size: Size) -> float:
    return (dev_queries(config, size) + size.test) * config.candidates * size.compared(config.gallery)


def test_a_small_competition_is_verified_as_it_is_asked_for():
    config = config_of((FROZEN,))
    assert within_pairs(config, size_of(34, 30, test=128)) == config


@settings(deadline=None, max_examples=30)
@given(st.integers(1000, 200_000), st.integers(2, 60), st.integers(10_000, 3_000_000))
def test_pairs_stay_within_their_number_and_no_more_is_given_up_than_needed(test, photos, most):
    size, asked = size_of(100, photos, test), config_of((FROZEN,), pairs=most)
    config = within_pairs(asked, size)
    assert pairs(config, size) <= most or (config.candidates, config.gallery) == (1, 1)
    assert within_pairs(config, size) == config  # a budgeted run is planned as itself
    if config != asked:  # one more of either would be too much, or as much as was asked for
        more = [replace(config, gallery=config.gallery + 1), replace(config, candidates=config.candidates + 1)]
        assert max(pairs(one, size) for one in more) > most


def test_photos_of_a_landmark_go_before_landmarks_of_a_query():
    size = size_of(100, 40, test=10_000)
    asked = config_of((FROZEN,), pairs=1_200_000)
    found = within_pairs(asked, size)
    assert (found.candidates, found.gallery) == (5, 1_200_000 // (5 * (dev_queries(asked, size) + size.test)))
    assert 8 < found.gallery < 32


def test_a_published_system_is_verified_as_published():
    config = config_of((TUNED,), like="xception-delf32", local_features="delf", pairs=1000)
    assert within_pairs(config, size_of(100, 40, test=10_000)) == config


def test_a_disk_that_is_too_small_is_kept_to_and_what_fits_stays_as_it_is():
    config, size = config_of((FROZEN, TUNED), local_features="rootsift"), size_of(5000, 40)
    whole = disk_needed(config, size)
    assert within_disk(config, size, whole) == config
    for share in (0.8, 0.4, 0.2):
        found = within_disk(config, size, share * whole)
        assert disk_needed(found, size) <= share * whole
        assert within_disk(found, size, share * whole) == found  # a budgeted run is planned as itself


def test_descriptors_shrink_first_and_the_views_of_a_frozen_network_last():
    config, size = config_of((FROZEN, TUNED), local_features="rootsift"), size_of(5000, 40)
    steps = [within_disk(config, size, share * disk_needed(config, size)) for share in np.linspace(1, 0.05, 40)]
    first = next(one for one in steps if one != config)
    assert first.descriptor_width == 256 and first.recipes[0] == config.recipes[0] and first.gallery == config.gallery
    views = next(one for one in steps if one.recipes[0].views == 1)
    assert views.most_features == 200 and views.gallery == 4
    assert views.recipes[1].stages[0].train_from is not None and views.recipes[1].views == config.recipes[1].views


def test_what_a_budget_changed_is_said_and_nothing_else():
    config, size = config_of((FROZEN, TUNED), pairs=50_000), size_of(1000, 40)
    assert changes(config, config) == []
    found = within_budget(config, size, 0.2 * disk_needed(config, size))
    lines = changes(config, found)
    assert any("--pairs" in line for line in lines) and any("--disk" in line for line in lines)


@pytest.mark.parametrize(("photos", "distractors"), [(40, 500), (3, 0), (200, 5000)])
def test_queries_of_a_holdout_are_about_as_many_as_are_held_out(photos, distractors):
    size = size_of(400, photos, distractors=distractors)
    landmarks = np.repeat(np.arange(400), photos)
    ids = np.array([f"t{row:06d}" for row in range(len(landmarks))])
    others = np.array([f"d{row:06d}" for row in range(distractors)])
    split = make_holdout(ids, landmarks, others, 3000, 0.6, 0)
    assert size.holdout_queries(0.6, 3000) == pytest.approx(len(split.queries(0)), rel=0.05)


@pytest.mark.parametrize(
    ("text", "expected"), [("18GB", 18e9), ("500 mb", 5e8), ("1.5T", 1.5e12), ("2000", 2000.0), ("20 g", 2e10)]
)
def test_a_size_is_read_as_people_write_it(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "0GB", "-3GB", "3 PB", "a lot"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(LmkError, match="is no size"):
        parse_size(text)


def test_what_a_run_stored_counts_as_free_and_a_kernel_has_its_own_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    assert disk_for(tmp_path / "absent") == pytest.approx(900)
    (tmp_path / "shard").write_bytes(bytes(500))
    assert disk_for(tmp_path) == pytest.approx(1350)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert disk_for(tmp_path) == IN_A_KERNEL


def run(words: str, monkeypatch) -> int:
    monkeypatch.setattr("sys.argv", ["lmk", "plan", *shlex.split(words)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def planned(words: str, capsys, monkeypatch) -> dict:
    assert run(f"{words} --json", monkeypatch) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "slug", ["landmark-recognition-challenge", "landmark-recognition-2020", "landmark-recognition-2021"]
)
def test_the_command_that_fit_prints_has_a_plan_that_fits(slug, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = f"-c {slug} -r xception-gem -r efficientnet-gem --weights imagenet --disk 20GB"
    found = planned(f"{words} --gpu t4x2 --fit 30h", capsys, monkeypatch)
    assert found["command"].startswith("lmk make-submission ")
    again = planned(f"{found['command'].removeprefix('lmk make-submission ')} --gpu t4x2", capsys, monkeypatch)
    fetching = sum(step["seconds"] for step in again["steps"] if step["step"] == "fetch")  # a kernel has the photos
    assert again["total"]["seconds_with_gpu"] - fetching <= 30 * 3600
    photos = sum(step["disk"] for step in again["steps"] if step["step"] == "fetch")
    assert again["total"]["disk"] - photos + again["total"]["scratch"] <= 20e9


def test_what_is_given_stays_and_what_cannot_fit_is_said(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = "-c landmark-recognition-2020 -r xception-gem --weights imagenet --disk 40GB --gpu t4x2"
    assert "--image-size 256" in planned(f"{words} --image-size 256 --fit 12h", capsys, monkeypatch)["command"]
    assert run(f"{words} --fit 1m", monkeypatch) == 1
    assert "The smallest settings" in capsys.readouterr().err
