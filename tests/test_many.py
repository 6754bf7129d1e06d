"""The benchmark of many landmarks: its photos lie around their landmarks, and every step answers in its small form."""

import numpy as np

from benchmarks.many import KINDS, after, head, synthetic
from lmk.predictions import Predictions

PHOTOS, LANDMARKS, QUERIES = 1500, 60, 200


def test_photos_lie_around_their_landmarks_and_strangers_around_none():
    known, shown, asked, truth = synthetic(PHOTOS, LANDMARKS, QUERIES)
    assert known.shape == (PHOTOS, 256) and known.dtype == np.float16
    assert sorted(np.unique(shown)) == list(range(LANDMARKS))
    assert np.bincount(shown)[:5].mean() > 5 * np.bincount(shown)[-20:].mean()  # a power law
    cosines = asked @ known.astype(np.float32).T
    same = truth[:, None] == shown
    assert cosines[same].mean() > 0.2 > 0.02 > abs(cosines[truth < 0].mean())


def test_each_step_answers_better_than_chance(tmp_path):
    found = {}
    for kind in KINDS:
        found |= head(PHOTOS, LANDMARKS, QUERIES, 60, kind, tmp_path / "lists.npz")
    found |= after(PHOTOS, LANDMARKS, QUERIES, tmp_path / "lists.npz")
    with np.load(tmp_path / "lists.npz") as lists:
        Predictions(np.arange(QUERIES).astype(str), lists["landmarks"], lists["scores"])
    assert min(found["top-k, full: GAP"], found["top-k, sampled: GAP"]) > 2 / LANDMARKS
    assert found["fusion: GAP"] > 0.5
    assert all(value >= 0 for value in found.values())
