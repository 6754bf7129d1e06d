"""What would fail at the end is refused before anything is computed: where to write, and what there is to answer."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lmk.cli.app import app
from lmk.data.checks import check_before_run
from lmk.data.competitions import read_competition
from lmk.data.names import read_names
from lmk.runs import check_run_name
from lmk.util.errors import LmkError, UsageError
from lmk.util.out_path import check_out


def test_a_file_that_can_be_written_is_taken_with_its_home_and_its_link_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert check_out(tmp_path / "new" / "folder" / "a.csv") == tmp_path / "new" / "folder" / "a.csv"
    assert check_out(Path("~/a.csv")) == tmp_path / "a.csv"
    assert check_out(tmp_path / "link.csv") == tmp_path / "real.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "real.csv"]


@pytest.mark.parametrize("name", ["../x", "a/b", "/tmp/x", "", " ", ".", "..", ".hidden", "a\\b", "a\nb", "x" * 151])
def test_a_name_that_is_no_folder_of_the_runs_is_refused(name):
    with pytest.raises(UsageError, match="no name of a run") as caught:
        check_run_name(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["first try", "été-2", "v1.2", "x" * 150])
def test_a_plain_name_of_a_run_is_taken(name):
    check_run_name(name)


@pytest.mark.parametrize(
    ("out", "text"),
    [
        (".", "names no file"),
        ("..", "names no file"),
        ("folder", "is a folder"),
        ("pipe", "device or pipe"),
        ("to-pipe", "device or pipe"),
        ("to-folder", "is a folder"),
        ("circle", "cannot be written"),
        ("file/a.csv", "is a file, not a folder"),
        ("~nobody-of-that-name/a.csv", "no home folder"),
        ("x" * 230, "more than 200 bytes"),
        ("x" * 300, "bytes|too long"),
        ("a\0b", "cannot be written"),
        ("/dev/null", "device or pipe"),
        *((f"/{folder}/lmk/a.csv", "cannot be written") for folder in ("proc", "sys") if Path("/", folder).is_dir()),
    ],
)
def test_what_cannot_become_a_file_is_refused(tmp_path, monkeypatch, out, text):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("")
    os.mkfifo("pipe")
    Path("to-pipe").symlink_to("pipe")
    Path("to-folder").symlink_to("folder")
    Path("circle").symlink_to("circle")
    with pytest.raises(LmkError, match=text) as caught:
        check_out(Path(out))
    assert "\n" not in str(caught.value)


@pytest.fixture
def root(tmp_path) -> Path:
    for name in ("train/a", "train/b", "train/c", "test/t"):
        path = tmp_path / "c" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "c" / "train.csv").write_text("id,landmark_id\na,1\nb,1\nc,2\n")
    (tmp_path / "c" / "sample_submission.csv").write_text("id,landmarks\nt,\n")
    return tmp_path / "c"


def test_a_competition_that_can_be_run_passes(root):
    check_before_run(read_competition("c", root), [], with_dev=True)


def test_without_photos_to_answer_nothing_is_begun(root):
    (root / "test" / "t.png").unlink()
    with pytest.raises(LmkError, match=r"no photo of the 1 ids to answer; the first would be t\.jpg"):
        check_before_run(read_competition("c", root), [], with_dev=False)


@pytest.mark.parametrize(
    ("unreadable", "with_dev", "text"),
    [
        (["t"], False, "None of the 1 photos to answer"),
        (["c"], False, "of 1 landmark"),
        (["a", "b", "c"], False, "of 0 landmark"),
        (["a"], True, "No landmark .* has two readable photos"),
    ],
)
def test_what_is_left_without_unreadable_photos_must_do(root, unreadable, with_dev, text):
    with pytest.raises(LmkError, match=text):
        check_before_run(read_competition("c", root), unreadable, with_dev)
    if with_dev:
        check_before_run(read_competition("c", root), unreadable, with_dev=False)


@pytest.mark.parametrize(
    "table",
    [
        "landmark_id,name\n1,église\n".encode("latin-1"),
        b"id,name\n1,Church\n",
        b"",
        b"landmark_id;name\n1;Church\n",
        b'landmark_id,name\n1,"Church\n',
        b"PK\x03\x04",
    ],
)
def test_a_table_of_names_that_is_no_good_is_a_finding_and_costs_the_names_alone(root, table):
    (root / "landmarks.csv").write_bytes(table)
    finding = next(found for found in read_competition("c", root).findings if found.kind == "names-unreadable")
    assert "landmarks.csv" in finding.remedy
    assert read_names(root) == {}


def test_long_names_are_cut(root):
    (root / "landmarks.csv").write_text("landmark_id,name\n1," + "N" * 2000 + "\n2,\n")
    assert read_names(root) == {1: "N" * 197 + "..."}


def test_names_that_are_not_utf8_and_twins_of_a_name_are_findings(root):
    Path(os.fsdecode(os.fsencode(root / "test") + b"/caf\xe9.png")).write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(root / "test") + b"/caf\xe9.txt")).write_bytes(b"x")
    (root / "train" / "a\nb.png").write_bytes(b"x")
    (root / "train" / "e\u0301glise.png").write_bytes(b"x")
    (root / "train.csv").write_text("id,landmark_id\na,1\nb,1\nc,2\néglise,2\n", encoding="utf-8")
    found = {finding.kind: finding for finding in read_competition("c", root).findings}
    assert found["misnamed-photos"].count == 2
    assert found["names-in-two-forms"].items.tolist() == ["e\u0301glise"]
    assert found["train-rows-without-photo"].items.tolist() == ["église"]
    assert found["other-files"].count == 1


def test_a_table_cut_in_its_last_number_is_a_finding(root):
    text = (root / "train.csv").read_text()
    assert "train-csv-without-last-line-end" not in {f.kind for f in read_competition("c", root).findings}
    (root / "train.csv").write_text(text[:-1])
    found = {finding.kind: finding for finding in read_competition("c", root).findings}
    assert found["train-csv-without-last-line-end"].items.tolist() == ["c"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("id,landmark_id\na,12\nb,12\nd,345\nc,34", "c stands in no other row but begins"),
        ("id,landmark_id\na,12\nb,12\nc,34", "photos in train/ have no row (1; first: d)"),
        ("id,landmark_id\na,12\nb,12\nd,345\nc,34\n", None),  # an ended line was not cut
        ("id,landmark_id\na,12\nb,12\nd,345\nc,12", None),
        ("id,landmark_id\na,12\nb,12\nd,345\nc,45", None),
    ],
)
def test_a_table_that_was_cut_is_refused_before_anything_is_computed(root, table, reason):
    Image.new("RGB", (4, 4)).save(root / "train" / "d.png")
    (root / "train.csv").write_text(table)
    competition = read_competition("c", root)
    if reason is None:
        check_before_run(competition, [], with_dev=True)
        return
    with pytest.raises(LmkError, match=r"train\.csv does not end its last line.* it seems to be cut") as caught:
        check_before_run(competition, [], with_dev=True)
    assert reason in str(caught.value)
    assert reason in refused(root, *RUN)


def test_ids_with_commas_quotes_and_at_signs_are_photos_like_others(root):
    for name in ("a, b", 'the "old" gate', "b@unseen"):
        Image.new("RGB", (4, 4)).save(root / "train" / f"{name}.png")
    rows = 'id,landmark_id\na,1\nb,1\nc,2\n"a, b",2\n"the ""old"" gate",2\nb@unseen,1\n'
    (root / "train.csv").write_text(rows)
    assert read_competition("c", root).train_ids.tolist() == ["a", "b", "c", "a, b", 'the "old" gate', "b@unseen"]
    assert np.array(read_competition("c", root).findings).size == 0


RUN = ("make-submission", "-r", "tinymobilenet-gem")


def refused(root: Path, *words: str) -> str:
    """The one line with which a command refuses the competition; nothing may have been computed by then."""
    workspace = root.parent / "workspace"
    done = CliRunner().invoke(app, [*words, "-c", str(root), "-w", str(workspace)])
    assert isinstance(done.exception, LmkError), done.output
    assert not list(workspace.glob("stores/*/*.npz")) and not list(workspace.glob("weights/*"))
    assert "\n" not in str(done.exception)
    return str(done.exception)


@pytest.mark.parametrize(
    "words",
    [(*RUN, "--ensemble"), (*RUN, "--no-ensemble"), ("train", "tinymobilenet-gem")],
    ids=["ensemble", "recipes", "train"],
)
def test_commands_refuse_a_competition_without_photos_to_answer_before_they_compute(root, words):
    (root / "test" / "t.png").unlink()
    assert "has no photo of the 1 ids to answer" in refused(root, *words)


def test_an_ensemble_of_landmarks_of_one_photo_is_refused_and_names_the_option(root):
    (root / "train.csv").write_text("id,landmark_id\na,1\nc,2\n")
    line = refused(root, *RUN)
    assert "has two readable photos" in line and "--no-ensemble" in line


def test_a_submission_that_cannot_be_written_is_refused_before_anything_is_computed(root):
    (root / "folder").mkdir()
    line = refused(root, *RUN, "--out", str(root / "folder"))
    assert "is a folder" in line
