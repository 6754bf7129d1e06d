"""What a day with kernels asks of the command line: quota, weights, push with --wait and --pull, logs, pull."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import kaggle_server
import pytest

from lmk.cli.kernel_run import attached_folders
from lmk.kaggle import kernels
from lmk.kaggle.inside import weights_folder
from lmk.kaggle.pull import Entry, Manifest
from lmk.kaggle.push import prepare
from lmk.kaggle.reuse import reuse_command
from lmk.kaggle.weights import Published
from lmk.models.backbones.catalogue import TINY
from lmk.util.errors import LmkError

SLUG = "tiny-landmarks"
SCRIPT = '''"""Answer each query with its row's number; then leave a store, too."""

import time

import numpy as np

from lmk.kaggle.inside import attached, leave, lmk, scratch
from lmk.predictions import Predictions

lmk("recipes", "--json")
rows = (attached("tiny-landmarks") / "sample_submission.csv").read_text().splitlines()[1:]
ids = np.array([row.split(",")[0] for row in rows])
answers = Predictions(ids, np.arange(len(ids))[:, None], np.random.default_rng(0).random((len(ids), 1)))
answers.save(scratch() / "predictions" / "rows-0123456789ab.parquet")
(scratch() / "stores" / "x-0123456789ab").mkdir(parents=True)
np.savez(scratch() / "stores" / "x-0123456789ab" / "000000.npz", values=np.arange(3))
print("half", flush=True)
time.sleep(1)
print("whole", flush=True)
leave("rows", "tiny-landmarks", ["rows"], scratch())
'''


@pytest.fixture
def kaggle(tmp_path, monkeypatch) -> Iterator[kaggle_server.Kaggle]:
    folder = tmp_path / "served" / SLUG
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("id,landmark_id\nt1,7\n")
    (folder / "sample_submission.csv").write_text("id,landmarks\na,7 0.1\nb,7 0.1\nc,7 0.1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lmk.kaggle.datasets.POLL_SECONDS", 0.1)
    for name in ("LMK_KERNELS", "LMK_WORKSPACE", "LMK_COMPETITION"):
        monkeypatch.delenv(name, raising=False)
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, folder)])
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.fixture
def rows(kaggle) -> kernels.Kernel:
    return kernels.new_kernel(Path("kernels"), "rows", SCRIPT, SLUG, enable_gpu=False)


@pytest.fixture
def backbones(tmp_path) -> Path:
    folder = tmp_path / "backbones"
    folder.mkdir()
    (folder / "mobilenet_1_0_224_tf_no_top.h5").write_bytes(b"\x89HDF one")
    (folder / "xfeat.pt").write_bytes(b"two")
    (folder / "README.md").write_text("not weights")
    return folder


def test_quota_shows_hours_used_and_left_and_when_they_come_back(kaggle, lmk):
    kaggle.gpu_hours_used = 28.5
    code, out, err = lmk("quota")
    assert (code, out.splitlines()[0]) == (0, "GPU  1.5 of 30 h left; the week begins anew 2026-12-01 00:00 UTC")
    assert "Next: lmk kernel train NAME" in err
    told = json.loads(lmk("quota", "--json")[1])
    assert told["gpu"]["left"] == 1.5 and told["tpu"]["allowed"] == 20


def test_push_waits_and_pulls_in_one_command(kaggle, rows, lmk):
    code, out, err = lmk("kernel", "push", "rows", "--pull", "--every", "0.2", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["version"], told["status"]) == (1, "complete")
    assert sorted(told["new"]) == ["predictions/rows-0123456789ab.parquet", "stores/x-0123456789ab/000000.npz"]


def test_after_a_run_its_output_is_pulled_and_a_submission_is_submitted(kaggle, rows, lmk):
    wait = ("--wait", "--every", "0.2")
    assert "Next: lmk kernel pull rows" in lmk("kernel", "push", "rows", *wait)[2]
    assert "Next: lmk kernel pull rows" in lmk("kernel", "status", "rows", *wait)[2]
    script = rows.folder / "rows.py"
    script.write_text(SCRIPT + 'print("no submission.csv")\n')
    err = lmk("kernel", "push", "rows", *wait)[2]
    assert "Next: lmk submit --kernel rows --wait\n      lmk kernel pull rows" in err


def test_push_that_waits_fails_with_the_run(kaggle, rows, lmk):
    kaggle.fault("kernel-fails", times=1)
    code, _, err = lmk("kernel", "push", "rows", "--wait", "--every", "0.2")
    assert code == 1 and "version 1 failed: Your notebook exited with code 1. See `lmk kernel logs rows`." in err


def test_predictions_come_alone_where_they_are_asked_for_alone(kaggle, rows, lmk):
    lmk("kernel", "push", "rows", "--wait", "--every", "0.2")
    told = json.loads(lmk("kernel", "pull", "rows", "--predictions", "--json")[1])
    assert told["new"] == ["predictions/rows-0123456789ab.parquet"]
    assert not Path("workspace", "stores").exists()
    assert {"python", "keras", "numpy"} <= set(told["versions"])
    assert told["command"] == "lmk recipes --json"


def test_the_log_is_followed_to_its_end_and_nothing_is_printed_twice(kaggle, rows, lmk):
    lmk("kernel", "push", "rows")
    code, out, _ = lmk("kernel", "logs", "rows", "--follow", "--every", "0.2")
    lines = [line for line in out.splitlines() if line in ("half", "whole")]
    assert (code, lines) == (0, ["half", "whole"])


def test_the_output_of_a_version_that_was_pushed_elsewhere_is_refused(kaggle, rows, lmk):
    lmk("kernel", "push", "rows", "--wait", "--every", "0.2")
    kaggle.kernels["tester/lmk-rows"]["version"] = 4
    code, _, err = lmk("kernel", "pull", "rows")
    assert code == 1 and "Kaggle's last version of tester/lmk-rows is 4, but the last one pushed from here is 1" in err


def test_a_kernel_without_weights_is_refused_when_it_is_made_and_when_it_is_pushed(kaggle, lmk):
    new = ("kernel", "new", "mine", "--recipe", "mobilenet-gem", "-c", SLUG)
    code, _, err = lmk(*new)
    assert code == 1 and "would have no weights" in err and not Path("kernels", "mine").exists()
    tiny = " ".join(lmk("kernel", "new", "mine", "--recipe", "tinymobilenet-gem", "-c", SLUG)[2].split())
    assert f"`lmk weights push {TINY}` and then this command with --dataset lmk-backbones" in tiny
    assert lmk(*new, "--dataset", "lmk-backbones")[0] == 0
    code, _, err = lmk("kernel", "push", "mine")
    assert code == 1 and "attaches dataset tester/lmk-backbones, which is not on Kaggle" in err
    path = Path("kernels", "mine", "kernel-metadata.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dataset_sources": []}))
    for words in (("push", "mine"), ("push", "mine", "--check"), ("train", "mine", "--no-wait")):
        code, _, err = lmk("kernel", *words)
        assert code == 1 and "attaches no weights, and mine.py needs them" in err
    assert kaggle.count("SaveKernel") == 0


def test_weights_are_sent_once_versioned_when_they_change_and_attached(kaggle, backbones, lmk):
    lmk("kernel", "new", "mine", "--recipe", "mobilenet-gem", "-c", SLUG, "--dataset", "someone/other")
    kaggle.dataset_seconds = 0.5  # Kaggle processes what it was sent
    code, out, err = lmk("weights", "push", str(backbones), "--attach", "mine", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["dataset"], told["sent"], told["attached"]) == ("tester/lmk-backbones", True, ["mine"])
    assert sorted(told["files"]) == ["mobilenet_1_0_224_tf_no_top.h5", "xfeat.pt"]
    sent = {kaggle.blobs[token].name for token in kaggle.datasets["tester/lmk-backbones"]["files"]}
    assert sent == set(told["files"])
    again = json.loads(lmk("weights", "push", str(backbones), "--attach", "mine", "--json")[1])
    assert (again["sent"], again["attached"]) == (False, [])
    (backbones / "xfeat.pt").write_bytes(b"three")
    assert json.loads(lmk("weights", "push", str(backbones), "--json")[1])["sent"] is True
    assert kaggle.datasets["tester/lmk-backbones"]["version"] == 2
    model = "google/mobilenet/keras/base/1"
    assert lmk("weights", "attach", model, "mine")[1] == "mine: attached\n"
    listed = json.loads(lmk("weights", "list", "--json")[1])
    assert listed["kernels"] == {"mine": ["someone/other", "lmk-backbones", model]}
    assert "attached to mine" in lmk("weights", "list")[1]
    lmk("kernel", "push", "mine", "--check")
    body = json.loads(Path("kernels", "mine", "kernel-metadata.json").read_text())
    assert (body["machine_shape"], body["model_sources"]) == ("NvidiaTeslaT4", [model])


def test_weights_that_were_sent_from_here_are_read_from_their_folder_when_the_kernel_runs_here(
    kaggle, rows, backbones, lmk, tmp_path
):
    assert lmk("weights", "push", str(backbones), "--attach", "rows")[0] == 0
    prepared = prepare(rows, "local", [])
    assert attached_folders(prepared, [], tmp_path)["lmk-backbones"] == backbones.resolve()
    assert attached_folders(prepared, [f"lmk-backbones={tmp_path}"], tmp_path)["lmk-backbones"] == tmp_path


@pytest.mark.parametrize("source", ["a/b/c", "a/", "", "a/b/c/d/e/f"])
def test_what_is_neither_a_dataset_nor_a_model_is_not_attached(kaggle, rows, lmk, source):
    code, _, err = lmk("weights", "attach", source, "rows")
    assert code == 1 and "is neither" in err


def test_weights_list_names_the_backbones_of_a_folder(kaggle, tmp_path, lmk):
    from lmk.models.backbones.catalogue import backbone_named

    folder = tmp_path / "own"
    folder.mkdir()
    file = backbone_named("mobilenet").weights_files[0]
    (folder / file).write_bytes(b"")
    assert json.loads(lmk("weights", "list", str(folder), "--json")[1])["backbones"] == {"mobilenet": file}


@pytest.mark.parametrize(
    "place",
    ["lmk-backbones", "datasets/me/lmk-backbones", "models/google/mobilenet/keras/base/1"],
)
def test_weights_are_found_wherever_kaggle_attaches_them(tmp_path, monkeypatch, place):
    monkeypatch.setenv("LMK_KAGGLE_INPUT", str(tmp_path))
    (tmp_path / "lmk-train-x" / "weights").mkdir(parents=True)  # another kernel's output is no backbone
    (tmp_path / "lmk-train-x" / "lmk-kernel.json").write_text("{}")
    (tmp_path / "lmk-train-x" / "weights" / "a.weights.h5").write_bytes(b"")
    with pytest.raises(LmkError, match="holds no weights"):
        weights_folder()
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "vgg16_notop.h5").write_bytes(b"")
    assert weights_folder() == tmp_path / place


def manifest(*commands: list[str]) -> Manifest:
    return Manifest("k", "", SLUG, ["r"], "3", "tensorflow", {"a": Entry(0, "")}, commands=[*commands])


def test_the_command_that_reuses_a_kernels_output_is_whole_and_names_the_paths_of_this_machine():
    words = ["make-submission", "--recipe", "r", "--competition", f"input:{SLUG}", "--workspace", "/tmp/workspace"]
    words += ["--weights", "input:datasets/me/lmk-backbones", "--folds", "3", "--fusion", "seed 1"]
    ran = manifest(words, ["ensemble", "--recipe", "r"])
    known = [Published("me/lmk-backbones", "", "/home/me/weights", {}, "")]
    assert reuse_command(ran, known) == (
        f"lmk make-submission --recipe r --competition {SLUG} --weights /home/me/weights --folds 3 --fusion 'seed 1'"
    )
    assert shlex.split(reuse_command(ran, [], Path("my place")) or "")[-6:] == [
        *["--folds", "3", "--fusion", "seed 1"],
        *["--workspace", "my place"],
    ]
    assert "--weights FOLDER-OF-WEIGHTS" in (reuse_command(ran, []) or "")
    delf = manifest(["delf", "train", "--competition", f"input:{SLUG}"])
    assert reuse_command(delf, []) == f"lmk make-submission --local-features delf --competition {SLUG}"
    assert reuse_command(manifest(), []) is None


def test_a_training_that_is_not_finished_ends_with_75_and_a_spent_quota_with_4(kaggle, rows, lmk):
    code, out, err = lmk("kernel", "train", "rows", "--no-wait", "--json")
    assert code == 75 and "Call `lmk kernel train rows` again" in err
    assert [session["version"] for session in json.loads(out)["sessions"]] == [1]
    code, out, _ = lmk("kernel", "train", "rows", "--every", "0.2")
    assert code == 0 and out.startswith("rows: trained in 1 session\n")
    path = Path("kernels", "rows", "kernel-metadata.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"enable_gpu": True}))
    kaggle.gpu_hours_used = 30.0
    code, _, err = lmk("kernel", "train", "rows", "--no-wait", "--again")
    assert code == 4 and "0 s of GPU are left this week; hours come back 2026-12-01 00:00 UTC" in err
