"""Rows and photos are brought together in every layout; what does not fit is an error or a counted, listed finding."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import lmk.cli.data  # noqa: F401 - registers the command
from lmk.cli.app import app
from lmk.data import competitions as module
from lmk.data.competitions import open_competition, read_competition
from lmk.data.photos import find_photos, find_unreadable
from lmk.pipeline import dataset
from lmk.util.errors import LmkError

TRAIN = {"aaa1": 7, "aab2": 7, "abc3": 9}
TEST = ["eee1", "eef2", "fff3"]


def put(path: Path, content: bytes | None = None) -> None:
    """A photo of eight pixels, or any other content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        Image.new("RGB", (4, 2), "red").save(path, {".png": "PNG", ".webp": "WebP"}.get(path.suffix.lower(), "JPEG"))
    else:
        path.write_bytes(content)


def nested(part: str, photo: str) -> str:
    return f"{part}/{photo[0]}/{photo[1]}/{photo[2]}/{photo}.jpg"


def flat(part: str, photo: str) -> str:
    return f"{part}/{photo}.jpg"


@pytest.fixture
def root(tmp_path) -> Path:
    """A whole competition in the 2020 layout."""
    root = tmp_path / "tiny"
    for photo in TRAIN:
        put(root / nested("train", photo))
    for photo in TEST:
        put(root / nested("test", photo))
    put(root / "distractors" / "d0.jpg")
    write_tables(root)
    return root


def write_tables(root: Path, train: str = "id,landmark_id", row: str = "{0},{1}") -> None:
    rows = [row.format(*item) for item in TRAIN.items()]
    (root / "train.csv").write_text("\n".join([train, *rows]) + "\n")
    (root / "sample_submission.csv").write_text("\n".join(["id,landmarks", *(f"{name},7 0.1" for name in TEST)]) + "\n")


def read(root: Path):
    return read_competition("tiny", root)


def findings(root: Path) -> dict[str, list[str]]:
    return {finding.kind: finding.items.tolist() for finding in read(root).findings}


def check_whole(root: Path) -> None:
    """All rows of TRAIN and TEST have their photo."""
    found = read(root)
    assert dict(zip(found.train_ids.tolist(), found.train_landmarks.tolist(), strict=True)) == TRAIN
    assert found.test_ids.tolist() == TEST
    for photo in [*TRAIN, *TEST]:
        path = found.photo(photo)
        assert path is not None
        assert path.stem == photo
        assert path.is_file()


def test_the_2020_layout_is_read_whole(root):
    check_whole(root)
    found = read(root)
    assert found.distractor_ids.tolist() == ["d0"]
    assert found.photo("d0") == root / "distractors" / "d0.jpg"
    assert found.photo("nobody") is None
    assert found.photo("aaa1longer") is None
    assert found.solution_path is None
    assert findings(root) == {"landmarks-with-one-photo": ["9"]}


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".Png", ".webp"])
@pytest.mark.parametrize("place", [nested, flat])
def test_photos_lie_flat_or_nested_under_any_usual_suffix(tmp_path, suffix, place):
    for part, photos in (("train", TRAIN), ("test", TEST)):
        for photo in photos:
            put((tmp_path / place(part, photo)).with_suffix(suffix))
    write_tables(tmp_path)
    check_whole(tmp_path)


@pytest.mark.parametrize("folder", ["images/train|images/test", "images|images", ".|."])
def test_photos_may_lie_in_images_or_beside_the_tables(tmp_path, folder):
    train, test = folder.split("|")
    for part, photos in ((train, TRAIN), (test, TEST)):
        for photo in photos:
            put(tmp_path / flat(part, photo))
    write_tables(tmp_path)
    check_whole(tmp_path)
    assert set(findings(tmp_path)) == {"landmarks-with-one-photo"}


def test_the_2018_layout_is_read_with_quotes_urls_and_landmarks_of_none(root):
    write_tables(root, '"id","url","landmark_id"', '"{0}","http://x/{0}.jpg","{1}"')
    with (root / "train.csv").open("a") as file:
        file.write('"none1","None","None"\n"none2","None","None"\n')
    put(root / flat("train", "none1"))
    (root / "sample_submission.csv").unlink()
    (root / "test.csv").write_text("\n".join(['"id","url"', *(f'"{name}","http://x/1.jpg"' for name in TEST)]))
    check_whole(root)
    assert read(root).distractor_ids.tolist() == ["d0", "none1"]
    assert read(root).photo("none1") == root / "train" / "none1.jpg"
    assert findings(root)["train-rows-of-no-landmark"] == ["none1", "none2"]
    assert findings(root)["train-rows-without-photo"] == ["none2"]


def test_the_2019_names_of_sample_and_solution_are_known(root):
    (root / "sample_submission.csv").rename(root / "recognition_sample_submission.csv")
    (root / "recognition_solution_v2.1.csv").write_text("id,landmarks,Usage\n")
    check_whole(root)
    assert read(root).solution_path == root / "recognition_solution_v2.1.csv"


def test_the_samples_order_rules_over_test_csv_and_differences_are_found(root):
    (root / "test.csv").write_text("id\nfff3\neee1\nzzz9\n")
    assert read(root).test_ids.tolist() == TEST
    assert findings(root)["test-csv-ids-not-in-sample"] == ["zzz9"]
    assert findings(root)["sample-ids-not-in-test-csv"] == ["eef2"]


def test_rows_without_photo_are_left_out_and_listed(root):
    (root / nested("train", "aab2")).unlink()
    (root / nested("train", "abc3")).unlink()
    (root / nested("test", "eef2")).unlink()
    found = read(root)
    assert found.train_ids.tolist() == ["aaa1"]
    assert found.test_ids.tolist() == TEST  # it must be answered all the same
    assert found.has_photo(found.test_ids).tolist() == [True, False, True]
    listed = findings(root)
    assert listed["train-rows-without-photo"] == ["aab2", "abc3"]
    assert listed["landmarks-without-photo"] == ["9"]
    assert listed["landmarks-with-one-photo"] == ["7"]
    assert listed["test-ids-without-photo"] == ["eef2"]


def test_photos_without_rows_are_not_used_and_listed(root):
    put(root / nested("train", "stray"))
    put(root / nested("test", "aaa1"))  # the id of a train row
    found = read(root)
    assert found.photo("stray") is None
    assert found.photo("aaa1") == root / nested("train", "aaa1")
    assert findings(root)["train-photos-without-row"] == ["stray"]
    assert findings(root)["test-photos-without-row"] == ["aaa1"]


def test_odd_files_are_listed(root):
    put(root / "train" / "notes.txt", b"x")
    put(root / "train" / ".DS_Store", b"x")
    put(root / "train" / "a" / "aaa1.png")
    put(root / nested("test", "eee1"), b"")
    (root / "distractors" / "d0.jpg").unlink()
    listed = findings(root)
    assert listed["other-files"] == ["train/notes.txt"]
    assert listed["empty-photos"] == ["eee1"]
    assert listed["empty-distractors"] == ["distractors"]
    assert listed["doubled-photos"] == ["train/a/a/a/aaa1.jpg"]
    assert read(root).photo("aaa1") == root / "train" / "a" / "aaa1.png"


def test_a_finding_counts_all_and_shows_five(root):
    for number in range(8):
        put(root / f"train/stray{number}.jpg")
    finding = next(item for item in read(root).findings if item.kind == "train-photos-without-row")
    assert finding.count == 8
    assert finding.examples == tuple(f"stray{number}" for number in range(5))


def test_the_digest_names_tables_and_photos_and_nothing_else(root, tmp_path):
    whole = read(root).digest
    assert read(root).digest == whole
    (root / "solution.csv").write_text("id,landmarks\n")
    (root / "notes.md").write_text("x")
    put(root / nested("train", "stray"))
    assert read(root).digest == whole
    root.rename(tmp_path / "elsewhere")
    assert read(tmp_path / "elsewhere").digest == whole
    (tmp_path / "elsewhere").rename(root)
    seen = {whole}
    for change in (
        lambda: put(root / nested("train", "aaa1"), b"other content"),
        lambda: (root / nested("test", "eee1")).unlink(),
        lambda: put(root / "distractors" / "d1.jpg"),
        lambda: (root / "train.csv").write_text((root / "train.csv").read_text().replace("9", "8")),
        lambda: (root / "sample_submission.csv").write_text("id,landmarks\nfff3,\neee1,\n"),
    ):
        change()
        seen.add(read(root).digest)
    assert len(seen) == 6


def fail(root: Path, text: str) -> None:
    with pytest.raises(LmkError, match=text) as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_an_id_may_be_in_one_part_alone(root):
    put(root / "distractors" / "more" / "eee1.jpg")
    fail(root, r"sample_submission\.csv and distractors/ both have id 'eee1'; ids that both have: 1\.")
    (root / "distractors" / "more" / "eee1.jpg").rename(root / "distractors" / "aaa1.jpg")
    fail(root, r"train\.csv and distractors/ both have id 'aaa1'")
    (root / "distractors" / "aaa1.jpg").unlink()
    (root / "sample_submission.csv").write_text("id,landmarks\nabc3,\n")
    fail(root, r"train\.csv and sample_submission\.csv both have id 'abc3'")


def test_without_train_csv_the_error_looks_around(root, tmp_path):
    fail(tmp_path, r"has no train\.csv\. .*tiny has one: name that folder")
    (root / "train.csv").rename(root / "train.csv.zip")
    fail(root, r"has no train\.csv\. Unpack train\.csv\.zip there")
    (root / "train.csv.zip").unlink()
    fail(root, r"has no train\.csv\. Fetch it")


def test_without_anything_to_answer_or_to_train_on_there_is_no_competition(root):
    (root / "sample_submission.csv").write_text("id,landmarks\n")
    fail(root, "has no rows, so there is nothing to answer")
    (root / "sample_submission.csv").unlink()
    fail(root, r"has neither test\.csv nor sample_submission\.csv")
    write_tables(root)
    for photo in TRAIN:
        (root / nested("train", photo)).unlink()
    fail(root, r"train holds no photo of the 3 rows of train\.csv; the first would be aaa1\.jpg")


def test_links_that_lead_in_a_circle_are_named(root):
    (root / "train" / "again").symlink_to(root / "train")
    fail(root, "Does a link lead in a circle")


def test_a_folder_is_opened_by_its_path(root, tmp_path):
    found = open_competition(str(root), tmp_path / "competitions")
    assert (found.name, found.root) == ("tiny", root)


def test_a_slug_is_found_among_competitions_or_where_a_kernel_has_it(root, tmp_path, monkeypatch):
    slug = "landmark-recognition-2021"
    monkeypatch.setattr(module, "KAGGLE_INPUTS", (tmp_path / "input",))
    with pytest.raises(LmkError, match=rf"lmk data fetch -c {slug}.*https://www\.kaggle\.com/c/{slug}/data"):
        open_competition(slug, tmp_path / "competitions")
    (tmp_path / "input").mkdir()
    root.rename(tmp_path / "input" / slug)
    assert open_competition(slug, tmp_path / "competitions").root == tmp_path / "input" / slug
    (tmp_path / "competitions").mkdir()
    (tmp_path / "input" / slug).rename(tmp_path / "competitions" / slug)
    found = open_competition(slug, tmp_path / "competitions")
    assert (found.name, found.root) == (slug, tmp_path / "competitions" / slug)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("landmark-recogniton-2020", "Did you mean `landmark-recognition-2020`"),
        ("landmark-recognition", "Did you mean `landmark-recognition"),
        ("https://www.kaggle.com/c/landmark-recognition-2019/", "Did you mean `landmark-recognition-2019`"),
        ("deom", "Did you mean `demo`"),
        ("no/such/folder", "Competitions: demo, landmark-recognition-challenge"),
    ],
)
def test_an_unknown_name_is_answered_by_the_nearest(tmp_path, name, meant):
    with pytest.raises(LmkError, match=meant):
        open_competition(name, tmp_path)


def test_a_table_is_no_competition(root, tmp_path):
    with pytest.raises(LmkError, match="is a file"):
        open_competition(str(root / "train.csv"), tmp_path)


def test_the_demo_is_drawn_where_competitions_lie(root, tmp_path, monkeypatch):
    def make_demo(folder, progress):
        if not folder.exists():
            root.rename(folder)

    monkeypatch.setattr("lmk.pipeline.dataset.make_demo", make_demo)
    assert dataset.open_competition("demo", tmp_path).train_ids.tolist() == list(TRAIN)
    assert dataset.open_competition("demo", tmp_path).root == tmp_path / "demo"


def test_photos_are_found_among_many(tmp_path):
    names = [f"{number:05d}" for number in np.random.default_rng(0).permutation(3000)]
    for name in names:
        path = tmp_path / name[-1] / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * int(name[-2:]))
    photos = find_photos(tmp_path)
    assert photos.ids.tolist() == sorted(names)
    assert photos.sizes.tolist() == [int(name[-2:]) for name in sorted(names)]
    assert photos.rows(np.array(["00017", "x", "02999"])).tolist() == [17, -1, 2999]
    assert photos.keep(np.array([5, 3])).ids.tolist() == ["00003", "00005"]
    assert sorted(photos.paths()) == sorted(tmp_path.rglob("*.jpg"))


def test_unreadable_photos_are_named_with_their_reasons(tmp_path):
    put(tmp_path / "good.jpg")
    put(tmp_path / "bad.jpg", b"<html>")
    put(tmp_path / "empty.jpg", b"")
    flaws = find_unreadable(sorted(tmp_path.iterdir()), 3)
    assert [(flaw.path.name, flaw.reason) for flaw in flaws] == [
        ("bad.jpg", "an HTML page, not a photo"),
        ("empty.jpg", "empty file"),
    ]


def status(root: Path, *words: str) -> str:
    """What `lmk data status` prints on stdout."""
    result = CliRunner().invoke(app, ["data", "status", "-c", str(root), "-w", str(root.parent), *words])
    assert result.exit_code == 0
    assert all(line.startswith("Next: ") for line in result.stderr.splitlines())
    return result.stdout


def test_status_tells_counts_and_findings(root):
    for number in range(7):
        put(root / f"test/stray{number}.jpg")
    put(root / nested("test", "eee1"), b"<html>")
    lines = [" ".join(line.split()) for line in status(root, "--unreadable").splitlines()]
    assert "train photos 3" in lines
    assert "landmarks 2 photos of each: 1 to 2, median 1.5" in lines
    assert "test photos 3 of 3 ids to answer" in lines
    place = lines.index("test photos without an id to answer: 7")
    assert lines[place + 1].startswith("stray0, stray1, stray2, stray3, stray4, ... (all: --list test-photos-")
    place = lines.index("photos that cannot be read: 1")
    assert lines[place + 1] == "test/e/e/e/eee1.jpg: an HTML page, not a photo"
    listed = status(root, "--list", "test-photos-without-row")
    assert listed.split() == [f"stray{number}" for number in range(7)]


def test_status_as_json_holds_every_item(root):
    for number in range(7):
        put(root / f"train/stray{number}.jpg")
    facts = json.loads(status(root, "--json"))
    assert facts["photos_per_landmark"] == {"min": 1, "median": 1.5, "max": 2}
    assert (facts["train_photos"], facts["distractors"], facts["test_ids"], facts["test_photos"]) == (3, 1, 3, 3)
    assert facts["solution"] is None
    stray = next(finding for finding in facts["findings"] if finding["kind"] == "train-photos-without-row")
    assert (stray["count"], len(stray["items"])) == (7, 7)


def test_status_without_a_name_tells_of_what_came_last(root, monkeypatch):
    monkeypatch.delenv("LMK_COMPETITION", raising=False)
    place = root.parent / "workspace" / "competitions"
    for number, name in enumerate(("fetched-first", "fetched-last")):
        shutil.copytree(root, place / name)
        os.utime(place / name, (1_000_000 + number, 1_000_000 + number))
    done = CliRunner().invoke(app, ["data", "status", "-w", str(place.parent)])
    assert done.stdout.startswith("fetched-last  ")
    assert "also holds fetched-first" in done.stderr.replace("\n", " ")
    assert "-c fetched-last --dry-run" in done.stderr
    assert not (place / "demo").exists()


def test_status_of_nothing_is_one_line_and_exit_code_1(tmp_path):
    words = ["data", "status", "-c", "landmark-recognition-2022", "-w", str(tmp_path)]
    command = [sys.executable, "-c", "from lmk.cli.main import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: There is no competition")
    assert done.stderr.count("\n") == 1


def test_the_real_competition_is_read_whole(shared):
    found = open_competition(str(shared / "data" / "provence"), Path("unused"))
    assert (len(found.train_ids), len(found.distractor_ids), len(found.test_ids)) == (261, 150, 839)
    assert len(np.unique(found.train_landmarks)) == 16
    assert found.has_photo(np.concatenate([found.train_ids, found.distractor_ids, found.test_ids])).all()
    assert found.findings == ()
