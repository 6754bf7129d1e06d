"""Verification: right landmarks above wrong ones, no photo against itself, the same evidence whoever computes it."""

import itertools

import cv2
import numpy as np
import pytest
from scenes import scene, tilt, view

from lmk.local.compare import Comparison, Settings, compare
from lmk.local.draw import draw_matches
from lmk.local.evidence import NOT_COMPARED, Evidence, gather
from lmk.local.features import FeatureTable
from lmk.local.ransac import Fit
from lmk.local.rootsift import RootSift
from lmk.local.verify import verify
from lmk.predictions import NO_LANDMARK, Predictions
from lmk.util.errors import LmkError
from lmk.util.store import ArrayStore

EXTRACTOR = RootSift(side=320, max_features=300)
PHOTOS = {
    f"{landmark}{take}": view(scene(landmark, (320, 240)), tilt(3 * take, 1 - 0.05 * take, (8 * take, -6 * take)), take)
    for landmark in range(4)
    for take in range(4)
}
GALLERY = {landmark: [f"{landmark}{take}" for take in range(4)] for landmark in range(3)}


@pytest.fixture(scope="module")
def table() -> FeatureTable:
    return FeatureTable.pack(list(PHOTOS), EXTRACTOR(list(PHOTOS.values())), EXTRACTOR)


def predictions(ids, landmarks) -> Predictions:
    landmarks = np.array(landmarks)
    scores = np.linspace(1, 0, landmarks.shape[1]) * np.ones(landmarks.shape)
    return Predictions(np.array(ids), landmarks, np.where(landmarks == NO_LANDMARK, -np.inf, scores))


def store(tmp_path, name="a") -> ArrayStore:
    return ArrayStore(tmp_path, "verification", {"test": name})


def everything(evidence: Evidence) -> dict[str, np.ndarray]:
    return {name: values for name, values in vars(evidence).items() if isinstance(values, np.ndarray)}


def test_the_right_landmark_has_more_evidence_than_a_wrong_one(table, tmp_path):
    asked = predictions(["00", "11", "22", "33"], [[0, 1], [1, 2], [2, 0], [0, 1]])
    found = verify(asked, GALLERY, table, table, store(tmp_path))
    assert (found.inliers[:3, 0] > 30).all() and (found.inliers[:3, 1] < 8).all()
    assert (found.inliers[3] < 8).all()  # the scene of the last query is in no gallery
    assert (found.coverage[:3, 0] > 0.3).all() and (found.coverage <= 1).all()
    assert (found.agreeing[:3, 0] == 3).all()
    assert found.best_photo[0, 0] in ("01", "02", "03")


def test_hidden_photos_give_no_evidence_and_what_is_stored_serves_with_and_without_them(table, tmp_path):
    asked = predictions(["00", "11", "22"], [[0, 1], [1, 2], [2, NO_LANDMARK]])
    whole = verify(asked, GALLERY, table, table, store(tmp_path))
    hidden = ["01", "12", "20", "21", "23"]
    found = verify(asked, GALLERY, table, table, store(tmp_path), hidden=hidden)
    rest = {landmark: [name for name in names if name not in hidden] for landmark, names in GALLERY.items()}
    smaller = verify(asked, rest, table, table, store(tmp_path, "smaller"))
    for name, values in found.proposals().items():
        np.testing.assert_array_equal(values, smaller.proposals()[name])
    np.testing.assert_array_equal(found.best_photo, smaller.best_photo)
    assert found.inliers[2, 0] == 0 < whole.inliers[2, 0]
    again = verify(asked, GALLERY, table, table, store(tmp_path))
    np.testing.assert_array_equal(again.counts, whole.counts)


def test_a_query_is_not_compared_with_itself_nor_with_what_is_excluded(table, tmp_path):
    asked = predictions(["00", "11/mirror", "22"], [[0, 1], [1, 0], [2, 0]])
    views = FeatureTable.pack(["00", "11", "22"], [table["00"], table["11"], table["22"]], EXTRACTOR)
    found = verify(asked, GALLERY, views, table, store(tmp_path), exclude={"22": ["21", "23"]})
    assert (found.counts[:, 0, :4] == NOT_COMPARED).tolist() == [
        [True, False, False, False],
        [False, True, False, False],
        [False, True, True, True],
    ]
    assert found.compared.tolist() == [[3, 4], [3, 4], [1, 4]]


def test_empty_places_and_landmarks_without_photos_have_no_evidence(table, tmp_path):
    asked = predictions(["00", "11"], [[0, NO_LANDMARK], [77, 1]])
    found = verify(asked, GALLERY, table, table, store(tmp_path))
    assert found.compared.tolist() == [[3, 0], [0, 3]]
    for row, column in ((0, 1), (1, 0)):
        assert found.inliers[row, column] == found.coverage[row, column] == found.agreeing[row, column] == 0
        assert found.best_photo[row, column] == ""


def test_no_predictions_give_no_evidence(table, tmp_path):
    nothing = Predictions(np.empty(0, str), np.empty((0, 2), int), np.empty((0, 2)))
    assert verify(nothing, GALLERY, table, table, store(tmp_path)).inliers.shape == (0, 2)


def test_jobs_do_not_change_the_evidence(table, tmp_path):
    asked = predictions(list(PHOTOS), [[int(name[0]), (int(name[0]) + 1) % 3] for name in PHOTOS])
    one = everything(verify(asked, GALLERY, table, table, store(tmp_path, "one")))
    two = everything(verify(asked, GALLERY, table, table, store(tmp_path, "two"), jobs=2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], err_msg=name)


@pytest.mark.parametrize("jobs", [1, 2])
def test_features_in_mapped_files_give_the_same_evidence(table, tmp_path, monkeypatch, jobs):
    asked = predictions(["00", "11", "22"], [[0, 1], [1, 2], [2, 0]])
    expected = everything(verify(asked, GALLERY, table, table, store(tmp_path)))
    features = ArrayStore(tmp_path, "features", {})
    features.append(table.ids, table.arrays())
    monkeypatch.setattr("lmk.util.store.IN_MEMORY", 1000)
    mapped = FeatureTable(table.ids[::-1], **features.load(table.ids[::-1]))
    assert isinstance(mapped.descriptors, np.memmap)
    found = everything(verify(asked, GALLERY, mapped, mapped, store(tmp_path, "mapped"), jobs=jobs))
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name])


def test_other_predictions_reuse_what_is_stored(table, tmp_path):
    first = verify(predictions(["00", "11"], [[0, 1], [1, 2]]), GALLERY, table, table, store(tmp_path))
    nothing_left = FeatureTable.pack([], [], EXTRACTOR)  # nothing can be compared with it
    again = verify(predictions(["11", "00"], [[2, 1], [1, 0]]), GALLERY, nothing_left, table, store(tmp_path))
    np.testing.assert_array_equal(again.counts, first.counts[::-1, ::-1])
    np.testing.assert_array_equal(again.best_photo, first.best_photo[::-1, ::-1])


def test_a_run_that_lost_a_shard_ends_with_the_same_evidence(table, tmp_path):
    asked = predictions(["00", "11"], [[0, 1], [1, 2]])
    first = verify(asked, GALLERY, table, table, store(tmp_path))
    verify(predictions(["22"], [[2, 0]]), GALLERY, table, table, store(tmp_path))
    shard = sorted(store(tmp_path).folder.glob("*.npz"))[0]
    shard.write_bytes(shard.read_bytes()[:-50])
    again = verify(asked, GALLERY, table, table, store(tmp_path))
    for name, values in everything(first).items():
        np.testing.assert_array_equal(values, everything(again)[name], err_msg=name)


def test_enough_inliers_end_the_search(table, tmp_path):
    found = verify(predictions(["00"], [[0]]), GALLERY, table, table, store(tmp_path), settings=Settings(enough=20))
    assert found.counts[0, 0, :4].tolist()[0] == NOT_COMPARED
    assert found.counts[0, 0, 1] >= 20 and (found.counts[0, 0, 2:] == NOT_COMPARED).all()


def test_the_nearest_photos_come_first_and_never_the_query(table, tmp_path):
    mixed = {0: [*GALLERY[1], *GALLERY[0]]}  # of a landmark with photos of two scenes
    found = verify(predictions(["00"], [[0]]), mixed, table, table, store(tmp_path), nearest=3)
    assert found.compared.tolist() == [[3]] and (found.counts[0, 0, :3] > 20).all()
    assert found.best_photo[0, 0] in ("01", "02", "03")
    one = verify(
        predictions(["00"], [[0]]), mixed, table, table, store(tmp_path, "b"), nearest=1, exclude={"00": ["01"]}
    )
    assert one.compared.tolist() == [[1]] and one.best_photo[0, 0] in ("02", "03")


def test_nearest_is_by_the_mean_direction_of_features(table):
    means = table.means()
    slow = np.array([table[name].descriptors.mean(axis=0) for name in table])
    slow /= np.linalg.norm(slow, axis=1, keepdims=True)
    np.testing.assert_allclose(means, slow, atol=1e-5)


def test_a_photo_without_features_has_no_inliers(table, tmp_path):
    plain = EXTRACTOR([np.full((240, 320, 3), 90, np.uint8)])
    found = verify(
        predictions(["plain"], [[0]]), GALLERY, FeatureTable.pack(["plain"], plain, EXTRACTOR), table, store(tmp_path)
    )
    assert found.counts[0, 0, :4].tolist() == [0, 0, 0, 0] and found.compared[0, 0] == 4


def test_evidence_of_a_worked_example():
    counts = np.full((1, 2, 4), NOT_COMPARED, np.int16)
    counts[0, 0] = [5, NOT_COMPARED, 12, 7]
    ratios, coverages = np.zeros((2, 1, 2, 4), np.float32)
    ratios[0, 0], coverages[0, 0] = [0.2, 0, 0.5, 0.3], [0.1, 0, 0.4, 0.6]
    found = gather(np.array(["q"]), np.array([[3, 8]]), [list("abcd"), []], counts, ratios, coverages, agreeing=7)
    assert found.inliers.tolist() == [[12, 0]] and found.second_best.tolist() == [[7, 0]]
    assert found.agreeing.tolist() == [[2, 0]] and found.compared.tolist() == [[3, 0]]
    assert found.mean_inliers.tolist() == [[8, 0]]
    assert found.inlier_ratio[0].tolist() == pytest.approx([0.5, 0]) and found.coverage[0, 0] == pytest.approx(0.4)
    assert found.best_photo.tolist() == [["c", ""]]


def test_evidence_is_read_as_it_was_written(table, tmp_path):
    found = verify(predictions(["00", "11"], [[0, 1], [1, 2]]), GALLERY, table, table, store(tmp_path))
    found.save(tmp_path / "evidence.npz")
    again = everything(Evidence.load(tmp_path / "evidence.npz"))
    for name, values in everything(found).items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)
    (tmp_path / "evidence.npz").write_bytes(b"not an archive")
    with pytest.raises(LmkError, match="holds no evidence"):
        Evidence.load(tmp_path / "evidence.npz")


CAPTION = ["Image ID: 2BK8NE8", "www.example.com", "(c) Somebody's Photos"]


def stamped(photo: np.ndarray, place: tuple[int, int], zoom: float = 1.0) -> np.ndarray:
    """The photo with the lines of a publisher's caption whose first line begins at `place`, then resized."""
    photo = photo.copy()
    for line, text in enumerate(CAPTION):
        at = (place[0], place[1] + 16 * line)
        cv2.putText(photo, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return cv2.resize(photo, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("zoom", [1.0, 0.8])
@pytest.mark.parametrize("place", [(10, 318), (10, 18), (140, 170)], ids=["bottom", "top", "middle"])
def test_a_caption_on_two_unrelated_photos_is_no_evidence(place, zoom):
    extractor = RootSift(side=480)
    first = extractor([stamped(scene(21), place)])[0]
    second = extractor([stamped(scene(22), place, zoom)])[0]
    shown = compare(first, second, Settings(captions=False))
    assert len(shown.inliers) >= 12  # the caption alone passes for a landmark
    assert len(compare(first, second, Settings()).inliers) < 8


def test_a_landmark_under_a_caption_keeps_its_evidence():
    extractor = RootSift(side=480)
    first = extractor([stamped(scene(21), (10, 318))])[0]
    second = extractor([stamped(view(scene(21), tilt()), (10, 318))])[0]
    with_caption = len(compare(first, second, Settings(captions=False)).inliers)
    assert len(compare(first, second, Settings()).inliers) > 0.8 * with_caption > 40


def test_two_takes_of_one_view_are_no_caption():
    extractor = RootSift(side=480)
    first, second = extractor([scene(21), view(scene(21), np.eye(2, 3))])
    assert len(compare(first, second, Settings()).inliers) > 100


def test_the_match_picture_joins_inliers_by_lines():
    features = EXTRACTOR([PHOTOS["00"], PHOTOS["01"]])
    comparison = compare(*features, Settings())
    picture = draw_matches(PHOTOS["00"], PHOTOS["01"], *features, comparison)
    assert picture.dtype == np.uint8 and picture.shape == (480, 640 + 8 + 640, 3)
    strip = picture[:, 640:648].reshape(480, -1)
    crossed = (strip != 255).any(axis=1)
    assert crossed.sum() >= min(len(comparison.inliers), 100) / 2
    none = Comparison(np.empty((0, 2), int), Fit(np.full((2, 3), np.nan), np.zeros(0, bool)))
    plain = draw_matches(PHOTOS["00"], PHOTOS["01"], *features, none)
    assert (plain[:, 640:648] == 255).all()


def test_real_photos_of_one_scene_stand_above_photos_of_two(shared):
    extractor = RootSift()
    photos = sorted((shared / "data" / "pairs").glob("*.jpg"))
    assert len(photos) == 10
    features = extractor([cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB) for photo in photos])
    within, across = [], []
    for (first, one), (second, two) in itertools.permutations(zip(photos, features, strict=True), 2):
        same = first.stem.rsplit("_", 1)[0] == second.stem.rsplit("_", 1)[0]
        (within if same else across).append(len(compare(one, two, Settings()).inliers))
    assert len(within) == 40 and len(across) == 50
    assert min(within) > max(across), (sorted(within)[:5], sorted(across)[-5:])
