"""Code competitions: the scored run simulated, a kernel's version submitted; and wheels for what an image lacks."""

import time
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import kaggle_server
import numpy as np
import pytest

from lmk.kaggle.api import Client
from lmk.kaggle.bundle import make_bundle
from lmk.kaggle.inside import keep_present
from lmk.kaggle.kernels import Kernel, new_kernel, status_of
from lmk.kaggle.push import prepare, push
from lmk.kaggle.records import Record, Records, now
from lmk.kaggle.rerun import check_answers, hide
from lmk.kaggle.run_locally import play
from lmk.kaggle.submit import submit_kernel, wait_for_score
from lmk.kaggle.wheels import publish_wheels
from lmk.predictions import NO_LANDMARK, Predictions, read_submission, write_submission
from lmk.util.errors import LmkError

SLUG = "tiny-landmarks"
HONEST = '''"""Answer what the gallery at hand knows."""

import csv

from lmk.kaggle.inside import attached, working

folder = attached("tiny-landmarks")
known = sorted({int(row["landmark_id"]) for row in csv.DictReader((folder / "train.csv").open())})
ids = [row["id"] for row in csv.DictReader((folder / "sample_submission.csv").open())]
lines = ["id,landmarks", *(f"{name},{known[place % len(known)]} 0.5" for place, name in enumerate(ids))]
(working() / "submission.csv").write_text("\\n".join(lines) + "\\n")
'''


@pytest.fixture
def competition(tmp_path) -> Path:
    """Twelve landmarks with one to four photos, and two photos of none."""
    folder = tmp_path / SLUG
    rows = []
    for landmark in range(12):
        for number in range(landmark % 4 + 1):
            name = f"{landmark:02x}{number}0000000000000"
            path = folder.joinpath("train", *name[:3], f"{name}.jpg")
            path.parent.mkdir(parents=True)
            path.write_bytes(name.encode())
            rows.append(f"{name},{100 + landmark}")
    (folder / "distractors").mkdir()
    for number in range(2):
        (folder / "distractors" / f"ff{number}0000000000000.jpg").write_bytes(b"nothing")
    (folder / "train.csv").write_text("\n".join(["id,landmark_id", *rows]) + "\n")
    (folder / "sample_submission.csv").write_text("id,landmarks\na,100 0.1\nb,100 0.1\n")
    (folder / "solution.csv").write_text("id,landmarks,Usage\na,100,Public\nb,,Private\nc,101,Private\n")
    return folder


@pytest.fixture
def kaggle(competition, tmp_path) -> Iterator[kaggle_server.Kaggle]:
    (competition / "sample_submission.csv").write_text("id,landmarks\na,100 0.1\nb,100 0.1\nc,100 0.1\n")
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, competition, code_only=True)])
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.fixture
def kernel(tmp_path) -> Kernel:
    return new_kernel(tmp_path / "kernels", "honest", HONEST, SLUG, enable_gpu=False)


@pytest.mark.parametrize("seed", range(4))
def test_the_hidden_gallery_has_a_part_of_the_landmarks_and_none_of_the_asked_photos(competition, tmp_path, seed):
    hidden = hide(competition, tmp_path / "hidden", seed)
    rows = (tmp_path / "hidden" / "train.csv").read_text().split()[1:]
    gallery = {row.split(",")[0]: int(row.split(",")[1]) for row in rows}
    # Nine landmarks have two photos or more; six tenths of them are 5.4.
    assert len(hidden.landmarks) == 5
    assert set(gallery.values()) == set(hidden.landmarks.tolist())
    assert not set(gallery) & set(hidden.test_ids.tolist())
    assert len(gallery) + len(hidden.test_ids) == 30 + 2  # every photo is on one side
    for name, shown in zip(hidden.test_ids.tolist(), hidden.truth.tolist(), strict=True):
        landmark = None if name.startswith("ff") else 100 + int(name[:2], 16)
        assert shown == (landmark if landmark in hidden.landmarks.tolist() else NO_LANDMARK)
        assert (tmp_path / "hidden").joinpath("test", *name[:3], f"{name}.jpg").read_bytes()
    assert set(hidden.truth.tolist()) - {NO_LANDMARK} == set(hidden.landmarks.tolist())


def test_the_same_seed_hides_the_same(competition, tmp_path):
    first, second = hide(competition, tmp_path / "1", 7), hide(competition, tmp_path / "2", 7)
    assert first.test_ids.tolist() == second.test_ids.tolist()
    assert first.landmarks.tolist() != hide(competition, tmp_path / "3", 8).landmarks.tolist()


def test_a_kernel_that_reads_what_is_attached_passes_the_scored_run(competition, kernel, tmp_path):
    hidden = hide(competition, tmp_path / "hidden", 0)
    stage = play(make_bundle(kernel.folder / "honest.py"), {SLUG: hidden.folder}, tmp_path / "play", 60, rerun=True)
    check_answers(read_submission(stage.working / "submission.csv"), hidden)


def test_a_kernel_that_keeps_ids_or_landmarks_of_the_public_run_does_not(competition, tmp_path):
    hidden = hide(competition, tmp_path / "hidden", 0)
    count = len(hidden.test_ids)
    known = np.full((count, 1), hidden.landmarks[0])
    with pytest.raises(LmkError, match="do not keep ids from an earlier run"):
        check_answers(Predictions(np.array(["a", "b"]), known[:2], np.ones((2, 1))), hidden)
    absent = next(number for number in range(100, 112) if number not in hidden.landmarks)
    with pytest.raises(LmkError, match=rf"1 landmarks that are not in the hidden train\.csv; first: {absent}"):
        check_answers(Predictions(hidden.test_ids, np.full((count, 1), absent), np.ones((count, 1))), hidden)
    check_answers(Predictions(hidden.test_ids, known, np.ones((count, 1))), hidden)


def test_absent_landmarks_are_masked_and_the_next_best_moves_up():
    found = Predictions(np.array(["a", "b"]), np.array([[1, 2, 3], [1, 4, 5]]), np.array([[0.9, 0.8, 0.7]] * 2))
    masked = keep_present(found, np.array([2, 3]))
    assert masked.landmarks.tolist() == [[2, 3, NO_LANDMARK], [NO_LANDMARK] * 3]
    assert masked.scores.tolist() == [[0.8, 0.7, -np.inf], [-np.inf] * 3]


def pushed_and_run(client: Client, kernel: Kernel):
    version = push(client, kernel, prepare(kernel, client.username, []))
    deadline = time.monotonic() + 60
    while not status_of(client, version.ref).finished and time.monotonic() < deadline:
        time.sleep(0.1)
    return version


def code_record(version) -> Record:
    full = f"{version.ref}/{version.version}"
    return Record(SLUG, "code", "submission.csv", 0, full.encode().hex(), now(), kernel=full)


@pytest.mark.parametrize("fault", [None, "hang-done", "500-done"])
def test_a_kernels_version_is_submitted_once_and_scored(kaggle, kernel, tmp_path, fault):
    client, records = Client(seconds=2.0), Records(tmp_path / "submissions")
    version = pushed_and_run(client, kernel)
    if fault:
        kaggle.fault(fault, times=1)
    record = submit_kernel(client, records, code_record(version), settle_seconds=2)
    record = wait_for_score(client, records, record, 10)
    entries = kaggle.competitions[SLUG].submissions
    assert [entry["kernel"] for entry in entries] == ["tester/lmk-honest/1"]
    assert record.public == 1.0  # `a` is answered with 100, the first landmark
    with pytest.raises(LmkError, match="sent already"):
        submit_kernel(client, records, code_record(version), settle_seconds=2)
    assert len(entries) == 1


def test_a_version_whose_run_has_not_ended_well_is_refused(kaggle, kernel, tmp_path):
    kaggle.fault("kernel-fails", times=1)
    client, records = Client(seconds=2.0), Records(tmp_path / "submissions")
    version = pushed_and_run(client, kernel)
    with pytest.raises(LmkError, match=r"has no output submission\.csv"):
        submit_kernel(client, records, code_record(version), settle_seconds=0.1)
    assert records.all() == []


def wheel(folder: Path, version: str, name: str = "wheeled") -> Path:
    """A wheel of one module that knows its version."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr(f"{name}.py", f"VERSION = '{version}'\n")
        bundle.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        bundle.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        bundle.writestr(f"{info}/RECORD", "")
    return path


def test_wheels_become_a_private_dataset_that_is_sent_anew_only_if_they_changed(kaggle, kernel, tmp_path):
    client = Client(seconds=2.0)
    wheel(tmp_path / "wheels", "1.0")
    assert publish_wheels(client, kernel, tmp_path / "wheels") == "tester/lmk-honest-wheels"
    assert publish_wheels(client, kernel, tmp_path / "wheels") == "tester/lmk-honest-wheels"
    assert (kaggle.count("CreateDataset"), kaggle.count("CreateDatasetVersion")) == (1, 0)
    wheel(tmp_path / "wheels", "2.0")
    publish_wheels(client, kernel, tmp_path / "wheels")
    assert (kaggle.count("CreateDataset"), kaggle.count("CreateDatasetVersion")) == (1, 1)
    with pytest.raises(LmkError, match="holds no wheels"):
        publish_wheels(client, kernel, tmp_path)


def test_a_module_that_the_image_lacks_comes_from_the_attached_wheels_without_the_internet(
    kernel, tmp_path, monkeypatch
):
    wheel(tmp_path / "wheels", "1.0")
    script = kernel.folder / "honest.py"
    script.write_text("import wheeled\nprint('wheeled', wheeled.VERSION, wheeled.__file__)\n")
    bundle = make_bundle(script)
    lacking = type(bundle)(bundle.text.replace('NEEDED = ("cv2",', 'NEEDED = ("wheeled", "cv2",'), bundle.digest)
    stage = play(lacking, {"lmk-honest-wheels": tmp_path / "wheels"}, tmp_path / "play", 60)
    assert "wheeled 1.0" in stage.log.read_text()
    assert str(tmp_path / "play" / "tmp") in stage.log.read_text()  # this machine's own packages stay as they are
    with pytest.raises(LmkError, match="image lacks wheeled"):
        play(lacking, {}, tmp_path / "play", 60)


def test_an_attached_wheel_of_another_version_goes_before_what_the_image_has(kernel, tmp_path):
    script = kernel.folder / "honest.py"
    script.write_text("import importlib.metadata as m, six\nprint('six', m.version('six'), six.__file__)\n")
    installed = metadata.version("six")
    for version, says in (("999.0", "six 999.0"), (installed, f"six {installed}")):
        folder = tmp_path / version
        wheel(folder, version, "six")
        stage = play(make_bundle(script), {"lmk-honest-wheels": folder}, tmp_path / "play", 60)
        assert says in stage.log.read_text()
        assert ("wheels: six" in stage.log.read_text()) == (version != installed)
        assert (str(tmp_path / "play" / "tmp") in stage.log.read_text()) == (version != installed)


def test_a_submission_written_by_lmk_is_read_back_by_the_scored_run(competition, tmp_path):
    hidden = hide(competition, tmp_path / "hidden", 0)
    answers = Predictions(hidden.test_ids, hidden.truth[:, None], np.where(hidden.truth < 0, -np.inf, 1.0)[:, None])
    write_submission(answers, tmp_path / "submission.csv")
    check_answers(read_submission(tmp_path / "submission.csv"), hidden)
