"""A competition of one's own photos: a folder for each landmark."""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.data.competitions import read_competition
from lmk.data.names import read_names
from lmk.data.own import KEPT, held_out, make_competition
from lmk.util.errors import LmkError


def shoot(path: Path, colour: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((32, 32, 3), colour, np.uint8))
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two landmarks whose photos have the same names, photos of none in three places, and other files."""
    folder = tmp_path / "my photos"
    for number in range(12):
        shoot(folder / "Old Mill" / f"IMG_{number}.jpg", number)
        shoot(folder / "Église St-Jean, côté nord" / "2024" / f"IMG_{number}.JPG", 100 + number)
    shoot(folder / "lane.png")
    shoot(folder / "None" / "cat.jpg")
    shoot(folder / "distractors" / "dog.webp")
    shoot(folder / ".trash" / "old.jpg")
    (folder / "Old Mill" / "notes.txt").write_text("built 1804")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_folders_are_landmarks_by_name_and_all_other_photos_show_none(photos, tmp_path):
    made = make_competition(photos, tmp_path / "own")
    opened = read_competition("own", made.folder)
    assert sorted(read_names(made.folder).values()) == ["Old Mill", "Église St-Jean, côté nord"]
    assert (made.landmarks, made.others) == (2, 1)
    assert made.train + made.test + made.distractors == 27
    assert len(opened.train_ids) == made.train
    assert len(opened.distractor_ids) == made.distractors
    assert opened.findings == ()
    files = {row["id"]: row["file"] for row in rows(made.folder / "photos.csv")}
    for photo_id, landmark in zip(opened.train_ids.tolist(), opened.train_landmarks.tolist(), strict=True):
        assert files[photo_id].startswith(read_names(made.folder)[landmark])
        assert opened.photo(photo_id).read_bytes() == (photos / files[photo_id]).read_bytes()


def test_a_tenth_is_held_out_with_a_solution_and_no_landmark_loses_all_its_photos(photos, tmp_path):
    made = make_competition(photos, tmp_path / "own")
    names = {name: number for number, name in read_names(made.folder).items()}
    files = {row["id"]: row["file"] for row in rows(made.folder / "photos.csv")}
    solution = rows(made.folder / "solution.csv")
    assert len(solution) == made.test == 3
    assert [row["id"] for row in rows(made.folder / "sample_submission.csv")] == [row["id"] for row in solution]
    for row in solution:
        shown = [number for name, number in names.items() if files[row["id"]].startswith(name)]
        assert row["landmarks"] == "".join(map(str, shown))
    trained = {row["id"] for row in rows(made.folder / "train.csv")}
    assert not trained & {row["id"] for row in solution}


def test_a_folder_of_test_photos_is_answered_and_nothing_else_is_held_out(photos, tmp_path):
    shoot(photos / "Test" / "holiday.jpg")
    made = make_competition(photos, tmp_path / "own")
    assert (made.test, made.held_out, made.train) == (1, False, 24)
    opened = read_competition("own", made.folder)
    assert opened.test_ids.tolist() == ["holiday"]
    assert opened.solution_path is None
    with pytest.raises(LmkError, match="Leave out --hold-out"):
        make_competition(photos, tmp_path / "own", hold_out=0.2)


def test_copies_stay_when_the_folder_goes_and_links_take_no_room(photos, tmp_path):
    linked, copied = make_competition(photos, tmp_path / "a"), make_competition(photos, tmp_path / "b", copy=True)
    assert all(path.is_symlink() for path in (linked.folder / "train").iterdir())
    shutil.rmtree(photos)
    assert len(read_competition("b", copied.folder).train_ids) == copied.train
    with pytest.raises(LmkError, match="holds no photo"):
        read_competition("a", linked.folder)


def test_making_it_again_gives_the_same_files_and_new_landmarks_get_new_numbers(photos, tmp_path):
    make_competition(photos, tmp_path / "own")
    before = {path.name: path.read_text() for path in (tmp_path / "own").glob("*.csv")}
    make_competition(photos, tmp_path / "own")
    assert {path.name: path.read_text() for path in (tmp_path / "own").glob("*.csv")} == before
    known = read_names(tmp_path / "own")
    for number in range(2):
        shoot(photos / "Abbey" / f"a{number}.jpg")
    make_competition(photos, tmp_path / "own")
    assert read_names(tmp_path / "own") == known | {3: "Abbey"}


def test_what_cannot_be_a_competition_is_refused_in_one_line(photos, tmp_path):
    with pytest.raises(LmkError, match="does not exist"):
        make_competition(tmp_path / "nowhere", tmp_path / "own")
    shutil.move(photos / "Old Mill", tmp_path / "elsewhere")
    with pytest.raises(LmkError, match=r"one landmark only \(Église"):
        make_competition(photos, tmp_path / "own")
    assert not (tmp_path / "own").exists()
    shutil.move(tmp_path / "elsewhere", photos / "Old Mill")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("years of work")
    with pytest.raises(LmkError, match="did not make"):
        make_competition(photos, tmp_path / "own")
    (photos / "train.csv").write_text("id,landmark_id\n")
    with pytest.raises(LmkError, match="a competition already"):
        make_competition(photos, tmp_path / "other")


def test_a_workspace_in_the_folder_is_no_landmark(photos):
    place = photos / "workspace"
    first = make_competition(photos, place / "competitions" / "own", apart=(place,))
    again = make_competition(photos, place / "competitions" / "own", apart=(place,))
    assert (first.landmarks, first.train) == (again.landmarks, again.train) == (2, first.train)


@given(
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=3, max_size=60), st.floats(0.01, 0.5), st.integers(0, 9)
)
def test_held_out_photos_are_the_share_asked_for_where_landmarks_can_spare_them(landmarks, share, seed):
    chosen = held_out(landmarks, share, seed)
    spare = 0
    for landmark in set(landmarks):
        count = landmarks.count(landmark)
        kept = KEPT if landmark is not None else 0
        spare += max(0, count - kept)
        held = sum(chosen[row] for row in range(len(landmarks)) if landmarks[row] == landmark)
        assert held <= max(0, count - kept)
    assert chosen.sum() == min(max(1, round(share * len(landmarks))), spare)
    assert (chosen == held_out(landmarks, share, seed)).all()


def test_every_landmark_gives_its_share_of_held_out_photos():
    landmarks = [name for name in "abcdefghij" for _ in range(20)] + [None] * 40
    chosen = held_out(landmarks, 0.1, seed=3)
    shares = {
        name: sum(chosen[row] for row, one in enumerate(landmarks) if one == name) for name in (*"abcdefghij", None)
    }
    assert sum(shares.values()) == 24
    assert all(1 <= shares[name] <= 3 for name in "abcdefghij")
    assert 3 <= shares[None] <= 5


def test_the_command_makes_it_and_its_name_opens_it_although_a_folder_is_called_so(photos, tmp_path, lmk, monkeypatch):
    monkeypatch.chdir(photos.parent)
    code, out, err = lmk("data", "new", "my photos")
    assert code == 0, err
    assert "2 landmarks" in out
    assert "lmk make-submission -c 'my photos'" in err
    code, out, err = lmk("data", "status", "-c", "my photos")
    assert code == 0, err
    assert "solution.csv" in out
    code, _, err = lmk("data", "new", "my photos", "--name", "demo")
    assert code == 1
    assert "--name" in err
