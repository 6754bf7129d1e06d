"""The embedded competition: what it promises, and that a seed is all it depends on."""

import csv
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from lmk.demo import buildings, distractors
from lmk.demo import competition as demo
from lmk.demo.canvas import Canvas
from lmk.demo.competition import Amounts, make_demo, plan
from lmk.demo.raycast import Camera, Frame, Panel, Revolved, vector
from lmk.demo.scenes import photograph, settle
from lmk.predictions import NO_LANDMARK
from lmk.util.errors import LmkError

SMALL = Amounts(train=(2, 1), test=(1, 1), train_scenes=1, test_scenes=2, train_others=(1,), test_others=(1,))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "demo"
    make_demo(folder, seed=3, jobs=1, amounts=SMALL)
    return folder


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_plan_holds_a_long_tail_of_landmarks_and_mostly_other_photos_in_the_test_set(seed):
    photos = plan(seed).photos
    train = Counter(photo.landmark for photo in photos if photo.part == "train")
    test = [photo for photo in photos if photo.part == "test"]
    assert len(train) >= 12
    assert min(train.values()) == 2
    assert max(train.values()) == 30
    assert sum(count <= 8 for count in train.values()) > sum(count > 8 for count in train.values())
    assert NO_LANDMARK not in train
    assert 0.6 < np.mean([photo.landmark == NO_LANDMARK for photo in test]) < 0.7
    assert {photo.landmark for photo in test} - {NO_LANDMARK} == set(train)
    assert len({photo.id for photo in photos}) == len(photos)
    assert all(len(photo.id) == 16 and int(photo.id, 16) >= 0 for photo in photos)
    assert {photo.usage for photo in test} == {"Public", "Private"}


def test_a_building_has_one_label_and_unseen_buildings_stay_unseen():
    photos = plan(0).photos
    labels: dict[int, set[int]] = {}
    parts: dict[int, set[str]] = {}
    for photo in photos:
        labels.setdefault(photo.building, set()).add(photo.landmark)
        parts.setdefault(photo.building, set()).add(photo.part)
    assert all(len(found) == 1 for found in labels.values())
    unseen = [building for building, found in labels.items() if found == {NO_LANDMARK} and building >= 0]
    assert {frozenset(parts[building]) for building in unseen} == {frozenset({"test"}), frozenset({"distractors"})}
    landmarks = [building for building, found in labels.items() if found != {NO_LANDMARK}]
    assert all(parts[building] == {"train", "test"} for building in landmarks)


def test_tables_and_photos_agree(small):
    train, truth = rows(small / "train.csv"), rows(small / "solution.csv")
    sample = rows(small / "sample_submission.csv")
    assert [row["id"] for row in sample] == [row["id"] for row in truth]
    assert list(sample[0]) == ["id", "landmarks"]
    assert list(truth[0]) == ["id", "landmarks", "Usage"]
    assert Counter(row["landmark_id"] for row in train).most_common(1)[0][0] == sample[0]["landmarks"].split()[0]
    assert len(train) == 3
    assert sum(row["landmarks"] == "" for row in truth) == 3
    assert {row["landmark_id"] for row in rows(small / "landmarks.csv")} == {row["landmark_id"] for row in train}
    listed = {("train", row["id"]) for row in train} | {("test", row["id"]) for row in truth}
    found = {(path.parts[-5], path.stem) for part in ("train", "test") for path in (small / part).rglob("*.jpg")}
    assert found == listed
    for path in small.rglob("*.jpg"):
        assert sorted(cv2.imread(str(path)).shape) == [3, 270, 360]
        if "distractors" not in path.parts:
            assert path.parts[-4:-1] == tuple(path.stem[:3])
    assert len(list((small / "distractors").glob("*.jpg"))) == 2


def test_the_same_seed_gives_the_same_bytes_in_one_process_or_two(small, tmp_path):
    make_demo(tmp_path / "again", seed=3, jobs=2, amounts=SMALL)
    assert contents(tmp_path / "again") == contents(small)


def test_another_seed_gives_another_competition_in_place_of_the_old_one(small, tmp_path):
    folder = tmp_path / "demo"
    make_demo(folder, seed=4, jobs=1, amounts=SMALL)
    first = contents(folder)
    assert not set(first) & {name for name in contents(small) if name.endswith(".jpg")}
    make_demo(folder, seed=3, jobs=1, amounts=SMALL)
    assert contents(folder) == contents(small)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_drawn_competition_is_not_drawn_again(small, monkeypatch):
    def draw(*_):
        raise AssertionError("drawn again")

    monkeypatch.setattr(demo, "_draw", draw)
    make_demo(small, seed=3, amounts=SMALL)


def test_a_run_that_broke_off_leaves_nothing_and_the_next_one_succeeds(small, tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    killed = tmp_path / ".demo.draft.999999999.abc"
    (killed / "train").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(demo, "_write", _fail)
        with pytest.raises(LmkError, match="cannot be written"):
            make_demo(folder, seed=3, jobs=1, amounts=SMALL)
    assert list(tmp_path.iterdir()) == []
    make_demo(folder, seed=3, jobs=1, amounts=SMALL)
    assert contents(folder) == contents(small)


def test_drawing_goes_on_where_it_was_interrupted(small, tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    drawn = []
    really_save = demo._save

    def save(path, *rest):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(path.name)
        really_save(path, *rest)

    monkeypatch.setattr(demo, "_save", save)
    with pytest.raises(KeyboardInterrupt):
        make_demo(folder, seed=3, jobs=1, amounts=SMALL)
    assert not folder.exists()
    monkeypatch.setattr(demo, "_save", lambda path, *rest: (drawn.append(path.name), really_save(path, *rest)))
    make_demo(folder, seed=3, jobs=1, amounts=SMALL)
    assert contents(folder) == contents(small)
    assert len(drawn) == len(set(drawn)) == len(list(small.rglob("*.jpg")))
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_the_test_photos_are_drawn_as_dev_asks():
    amounts = Amounts()
    shown, trained = np.array(amounts.test), np.array(amounts.train)
    assert abs(shown / shown.sum() - trained / trained.sum()).max() < 0.02
    others = sum(amounts.test_others)
    assert 0.7 < others / (others + amounts.test_scenes) < 0.8
    for seed in range(3):
        for part in ("train", "test"):
            views = Counter(p.view for p in plan(seed).photos if p.part == part and p.landmark != NO_LANDMARK)
            shares = np.array([views[view] for view in demo._VIEWS]) / views.total()
            assert abs(shares - demo._SHARES).max() < 0.01
        assert set(Counter(plan(seed).kinds[: len(amounts.train)]).values()) == {2}  # each landmark has one like it


def _fail(*_):
    raise OSError(28, "No space left on device")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LmkError, match="did not draw"):
        make_demo(tmp_path, amounts=SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("kind", range(len(buildings.KINDS)), ids=[kind.__name__ for kind in buildings.KINDS])
def test_every_kind_of_building_stands_on_the_ground_and_fills_its_bounds(kind):
    house = buildings.build(kind, np.random.default_rng(7))
    assert 8 < house.height < 60
    assert 5 < house.width < 60
    assert house.low[1] == 0
    assert house.details
    camera = Camera(vector(0, 10, 120), vector(0, house.height / 2, 0), 300, 240, 240)
    frame = Frame(camera)
    for surface in house.surfaces:
        surface.draw(frame)
    assert np.count_nonzero(frame.depth < 1e8) > 400


@pytest.mark.parametrize("draw", distractors.KINDS, ids=[kind.__name__ for kind in distractors.KINDS])
def test_every_scene_is_a_photo_with_something_on_it(draw):
    image = draw(np.random.default_rng(5))
    assert image.dtype == np.uint8
    assert sorted(image.shape) == [3, 270, 360]
    assert image.std() > 15


def matches(one: np.ndarray, other: np.ndarray) -> int:
    """SIFT pairs (ratio test) that one homography explains."""
    sift = cv2.SIFT_create(500)
    (here, a), (there, b) = (
        sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None) for image in (one, other)
    )
    pairs = [m for m, n in cv2.BFMatcher().knnMatch(a, b, k=2) if m.distance < 0.8 * n.distance]
    if len(pairs) < 4:
        return 0
    cv2.setRNGSeed(0)
    source = np.array([here[m.queryIdx].pt for m in pairs], np.float32)
    target = np.array([there[m.trainIdx].pt for m in pairs], np.float32)
    _, inliers = cv2.findHomography(source, target, cv2.RANSAC, 6)
    return 0 if inliers is None else int(inliers.sum())


def test_local_features_match_photos_of_one_building_and_not_those_of_its_like():
    rngs = [(kind, np.random.default_rng([kind, k])) for kind in (1, 3, 6) for k in (0, 1)]
    houses = [settle(buildings.build(kind, rng), rng) for kind, rng in rngs]
    photos = [
        [photograph(house, np.random.default_rng([11, n, k])) for k in range(3)] for n, house in enumerate(houses)
    ]
    same = [max(matches(shots[0], shots[1]), matches(shots[0], shots[2])) for shots in photos]
    like = [matches(photos[n][0], photos[n ^ 1][0]) for n in range(len(houses))]
    assert np.median(same) > 3 * max(like)


def test_a_panel_is_drawn_where_the_pinhole_projects_it():
    # 2.1 m wide at 10 m with a focal length of 100 pixels: 21 pixels about the middle of a frame of 101.
    camera = Camera(vector(0, 0, 10), vector(0, 0, 0), 100, 101, 101)
    frame = Frame(camera)
    texture = Canvas(2.1, 2.1, (200, 10, 10)).texture()
    Panel(vector(-1.05, -1.05, 0), vector(2.1, 0, 0), vector(0, 2.1, 0), texture).draw(frame)
    ys, xs = np.nonzero(frame.depth < 100)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (40, 60, 40, 60)
    assert frame.depth[50, 50] == pytest.approx(10)
    assert frame.normal[:, 50, 50] == pytest.approx([0, 0, 1], abs=0.05)


def test_a_nearer_surface_hides_a_farther_one_in_either_order():
    red, blue = Canvas(2, 2, (250, 0, 0)).texture(), Canvas(2, 2, (0, 0, 250)).texture()
    near = Panel(vector(-1, -1, 2), vector(2, 0, 0), vector(0, 2, 0), red)
    far = Panel(vector(-1, -1, 0), vector(2, 0, 0), vector(0, 2, 0), blue)
    for order in ((near, far), (far, near)):
        frame = Frame(Camera(vector(0, 0, 10), vector(0, 0, 0), 100, 101, 101))
        for panel in order:
            panel.draw(frame)
        assert frame.color[50, 50].argmax() == 0


def test_a_cylinder_is_as_deep_as_its_radius_and_a_cone_ends_in_a_tip():
    gray = Canvas(6, 3, (120, 120, 120)).texture()
    frame = Frame(Camera(vector(0, 1.5, 10), vector(0, 1.5, 0), 100, 101, 101))
    Revolved(0, 0, 0, 3, (1, 1, 1), gray).draw(frame)
    assert frame.depth[50, 50] == pytest.approx(9, abs=1e-3)
    assert frame.normal[:, 50, 50] == pytest.approx([0, 0, 1], abs=0.05)
    cone = Frame(Camera(vector(0, 1.5, 10), vector(0, 1.5, 0), 100, 101, 101))
    Revolved(0, 0, 0, 3, (1, 0.5, 0), gray).draw(cone)
    widths = (cone.depth < 100).sum(axis=1)
    widths = widths[widths > 0]
    assert widths[0] <= 2
    assert (np.diff(widths[: 3 * len(widths) // 4]) >= 0).all()
