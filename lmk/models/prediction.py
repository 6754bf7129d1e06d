"""Prediction: features of views to each photo's k best landmarks, without holding images x views x classes."""

import keras
import numpy as np

from lmk.models.network import Network
from lmk.predictions import Predictions, from_pairs, largest

BLOCK_SCORES = 32_000_000
"""Scores held at once: 128 MB."""


def predict_features(
    network: Network, ids: np.ndarray, features: np.ndarray, landmarks: np.ndarray, k: int
) -> Predictions:
    """The k best landmarks of photos from the features of their views.

    Args:
        network: Its top and head, and the recipe's way to make one answer of several views.
        ids: (n,) str.
        features: (n, views, ...) float16.
        landmarks: (num_landmarks,) int64, the landmark of each class index.
        k: Landmarks kept a photo.

    Returns:
        Scores in [0, 1], or [-1, 1] where the head gives cosines.
    """
    views = features.shape[1]
    size = max(1, BLOCK_SCORES // (views * len(landmarks)))
    parts = [
        _block(network, ids[rows], features[rows], landmarks, k)
        for rows in (slice(start, start + size) for start in range(0, len(ids), size))
    ]
    return Predictions(
        ids,
        np.concatenate([part.landmarks for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def _block(network: Network, ids: np.ndarray, features: np.ndarray, landmarks: np.ndarray, k: int) -> Predictions:
    count, views = features.shape[:2]
    if network.recipe.vote == "descriptors":
        features, views = features.astype(np.float32).mean(axis=1, keepdims=True), 1
    rows = features.reshape(-1, *features.shape[2:]).astype(np.float32)
    outputs = network.top(rows, training=False)  # too small to compile for it
    scores = keras.ops.convert_to_numpy(network.head.scores(outputs, network.recipe.background))
    scores = scores.reshape(count, views, -1).astype(np.float64)
    if network.recipe.vote == "vote":
        best = scores.argmax(axis=2)
        return vote_views(ids, landmarks[best], np.take_along_axis(scores, best[..., None], 2)[..., 0], k)
    return top_k(ids, scores.mean(axis=1), landmarks, k)


def top_k(ids: np.ndarray, scores: np.ndarray, landmarks: np.ndarray, k: int) -> Predictions:
    """The k best of (n, num_landmarks) scores; equal scores in the order of `landmarks`."""
    places = largest(scores, min(k, scores.shape[1]))
    return Predictions(ids, landmarks[places], np.take_along_axis(scores, places, 1)).top(k)


def vote_views(ids: np.ndarray, answers: np.ndarray, scores: np.ndarray, k: int) -> Predictions:
    """The 19th place's vote over views: each gives its best landmark's score to it; sums are divided by all views.

    Args:
        ids: (n,) str.
        answers: (n, views) int64, the best landmark of each view.
        scores: (n, views) float, its score.
        k: Landmarks kept a photo.

    Reference: the 19th place of the 2018 edition, https://github.com/jandaldrop/landmark-recognition-challenge.
    """
    views = answers.shape[1]
    rows = np.arange(len(ids)).repeat(views)
    landmarks, classes = np.unique(answers.ravel(), return_inverse=True)
    pairs, inverse = np.unique(rows * len(landmarks) + classes, return_inverse=True)
    sums = np.bincount(inverse, weights=scores.ravel(), minlength=len(pairs)) / views
    return from_pairs(ids, pairs // len(landmarks), landmarks[pairs % len(landmarks)], sums, k)
