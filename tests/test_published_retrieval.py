"""The two published forms of retrieval, by hand and by laws."""

import numpy as np
import pytest

from lmk.predictions import NO_LANDMARK, Predictions
from lmk.retrieval.published import (
    RETRIEVALS,
    Described,
    a_minus_b_minus_c,
    cosines_times_logits,
    made_normal,
    side_by_side,
)


def unit(rng: np.random.Generator, count: int, width: int = 8) -> np.ndarray:
    values = rng.normal(size=(count, width))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def drawn(seed: int, distractors: int = 30) -> tuple[list[Described], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    models = [Described(unit(rng, 40), unit(rng, distractors), unit(rng, 12)) for _ in range(2)]
    return models, rng.integers(0, 9, 40), np.array([f"q{row:02d}" for row in range(12)])


def test_a_minus_b_minus_c_by_a_slow_clear_twin():
    models, landmarks, ids = drawn(0)
    found = a_minus_b_minus_c(ids, models, landmarks, k=20, quantiles=False)
    joined = side_by_side(models)
    for row in range(len(ids)):
        sums: dict[int, float] = {}
        for model in models:
            cosines = model.gallery @ model.queries[row]
            for photo in np.argsort(-cosines)[:3]:
                bias = np.sort(model.distractors @ model.gallery[photo])[-5:].mean()
                sums[landmarks[photo]] = sums.get(landmarks[photo], 0) + np.clip(cosines[photo], 0, 1) - bias
        own = np.sort(joined.distractors @ joined.queries[row])[-10:].mean()
        expected = sorted(sums, key=lambda landmark: -sums[landmark])
        assert found.landmarks[row, : len(expected)].tolist() == expected
        scores = [sums[landmark] - own for landmark in expected]
        np.testing.assert_allclose(found.scores[row, : len(expected)], scores, rtol=1e-4, atol=1e-5)
        assert (found.landmarks[row, len(expected) :] == NO_LANDMARK).all()


def test_without_distractors_a_alone_is_left():
    models, landmarks, ids = drawn(1, distractors=0)
    found = a_minus_b_minus_c(ids, models[:1], landmarks, quantiles=False)
    cosines = models[0].queries @ models[0].gallery.T
    best = np.clip(-np.sort(-cosines, axis=1)[:, :3], 0, 1).sum(axis=1)
    np.testing.assert_allclose(
        np.where(np.isinf(found.scores), 0, found.scores).sum(axis=1), best, rtol=1e-4, atol=1e-5
    )


def test_a_query_like_non_landmarks_loses_what_c_says():
    gallery, distractors = np.eye(8, dtype=np.float32)[:4], np.repeat(np.eye(8, dtype=np.float32)[7:], 12, axis=0)
    queries = np.array([[1, 0, 0, 0, 0, 0, 0, 0], [0.8, 0, 0, 0, 0, 0, 0, 0.6]], np.float32)
    model = Described(gallery, distractors, queries)
    found = a_minus_b_minus_c(np.array(["a", "b"]), [model], np.arange(4), quantiles=False)
    assert found.best.tolist() == [0, 0]  # B is 0 here: no gallery photo is like a non-landmark
    np.testing.assert_allclose(found.confidence, [1, 0.8 - 0.6], atol=1e-6)


def test_quantiles_make_every_dimension_of_the_gallery_normal():
    rng = np.random.default_rng(3)
    skewed = Described(rng.exponential(size=(500, 3)), rng.exponential(size=(0, 3)), rng.exponential(size=(50, 3)))
    found = made_normal(skewed)
    assert abs(np.median(found.gallery, axis=0)).max() < 0.02
    quarter = np.quantile(found.gallery, 0.25, axis=0)
    np.testing.assert_allclose(quarter, -0.6745, atol=0.03)
    assert found.queries.shape == (50, 3) and found.distractors.shape == (0, 3)


def test_cosine_times_logit_by_a_slow_clear_twin():
    models, landmarks, ids = drawn(4)
    rng = np.random.default_rng(5)
    named = np.array([rng.permutation(9)[:7] for _ in ids])
    heads = Predictions(ids, named, -np.sort(-rng.uniform(0.1, 1, (len(ids), 7)), axis=1))
    model = side_by_side(models)
    found = cosines_times_logits(ids, model, landmarks, heads)
    for row in range(len(ids)):
        logits = {int(name): score for name, score in zip(named[row, :5], heads.scores[row, :5], strict=True)}
        cosines = model.gallery.astype(np.float64) @ model.queries[row]
        products: dict[int, float] = {}
        for photo in np.argsort(-cosines)[:5]:
            landmark = int(landmarks[photo])
            product = max(cosines[photo], 0) ** 9 * logits.get(landmark, 1e-8) ** 10
            products[landmark] = products.get(landmark, 0) + product
        expected = sorted(products, key=lambda landmark: -products[landmark])
        assert found.landmarks[row, : len(expected)].tolist() == expected
        logs = np.log([products[landmark] for landmark in expected])
        np.testing.assert_allclose(found.scores[row, : len(expected)], logs, rtol=1e-3)


def test_a_landmark_outside_the_best_five_logits_ranks_below_all_within():
    gallery = np.eye(4, dtype=np.float32)
    query = np.array([[0.9, 0.1, 0.0, 0.0]], np.float32)
    heads = Predictions(np.array(["q"]), np.array([[1, 5, 6, 7, 8, 0]]), np.array([[0.2, 0.2, 0.2, 0.2, 0.2, 0.1]]))
    found = cosines_times_logits(np.array(["q"]), Described(gallery, gallery[:0], query), np.arange(4), heads)
    assert found.landmarks[0, :2].tolist() == [1, 0]  # 0 is nearer, but sixth by logit


@pytest.mark.parametrize("name", RETRIEVALS)
def test_every_form_by_name_answers_every_query(name):
    models, landmarks, ids = drawn(6)
    heads = Predictions(ids, np.zeros((len(ids), 1), int), np.full((len(ids), 1), 0.5))
    found = RETRIEVALS[name](ids, models, landmarks, heads, 3)
    assert found.ids.tolist() == ids.tolist() and found.landmarks.shape == (12, 3)
    assert (found.best != NO_LANDMARK).all()
