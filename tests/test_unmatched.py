"""What becomes of photos that match little: groups by inliers, before fusion and after it."""

from types import SimpleNamespace

import numpy as np
import pytest

from lmk.predictions import NO_LANDMARK, Predictions
from research.unmatched import groups_of


def answers(landmarks: list[list[int]], scores: list[list[float]]) -> Predictions:
    return Predictions(np.array([f"q{row}" for row in range(len(landmarks))]), landmarks, scores)


def test_queries_are_grouped_by_the_inliers_with_their_own_landmark_and_followed_through_fusion():
    landmarks = np.array([[7, 9], [7, 9], [9, 7], [7, 9]])
    one = SimpleNamespace(landmarks=landmarks, inliers=np.array([[4, 50], [20, 0], [3, 2], [40, 40]]))
    other = SimpleNamespace(landmarks=landmarks, inliers=np.array([[5, 0], [40, 0], [0, 12], [0, 0]]))
    run = SimpleNamespace(
        truth=np.array([7, 7, 7, NO_LANDMARK]),
        evidence=one,
        further={"other": other},
        dev={"spread": answers(landmarks.tolist(), [[0.6, 0.1], [0.5, 0.1], [0.4, 0.2], [0.9, 0.1]])},
        final=answers([[7, 9], [7, 9], [7, 9], [7, 9]], [[0.3, 0.2], [0.9, 0.1], [0.8, 0.1], [0.4, 0.1]]),
    )
    found = groups_of(run)
    assert [group["queries"] for group in found.values()] == [1, 0, 1, 0, 1]  # 5, 12 and 40 inliers; a stranger in none
    little, some, many = (found[f"{least} inliers or more"] for least in (0, 11, 31))
    # Before fusion the stranger leads, then come a right answer, a second, and a wrong one.
    assert little["precision before"] == pytest.approx(1 / 2)
    assert many["precision before"] == pytest.approx(2 / 3)
    assert (some["right before"], some["probability before"], some["precision before"]) == (0, 0.2, 0)
    # After it two right answers lead, then the stranger, then the photo that matches little.
    assert little == little | {"right after": 1, "probability after": 0.3, "precision after": 0.75}
    assert (some["precision after"], many["precision after"]) == (1, 1)
