"""Matching and verification as published with DELF: what the thresholds of 2018, such as 35 inliers, are counts of.

Each gallery feature takes its nearest query feature, so that many may take the same one; a distance alone decides which
pairs are putative matches. An affinity is fitted by RANSAC on samples of three matches. There is no mutual test, no
ratio test, no limit on what the affinity does to a photo. Source: `match_images.py` among the examples of
tensorflow/models, research/delf; the 19th place of 2018 took it over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MAX_DISTANCE = 0.8
"""The most Euclidean distance of two descriptors of length 1 that match."""
RESIDUAL = 20.0
"""The most distance of an inlier from where the affinity takes it, in pixels."""
TRIALS = 1000
"""Samples of three matches."""
SQUARE = 384
"""Side of the square that the 19th place resized every photo to, in pixels."""
KEPT, COMPARED, BEST = 48, 32, 16
"""By the 19th place: photos of a landmark whose features it kept, a random choice; those of them that a query was
compared with, a random choice; those of the most inliers whose mean it kept beside the maximum and the mean of all."""
FEWEST = 3
"""Matches that fix an affinity. As published, three that match are three inliers."""
RESIDUALS_AT_ONCE = 1 << 16
"""Residuals of samples to matches that are looked at together: 256 KB, which stay in a core's cache."""
SMALLEST_AREA = 1e-3
"""Twice the area of a sample's triangle in the query, in square pixels: below it fixes no affinity. Many gallery
features take the same query feature, so that samples with one place twice are common."""


def gallery_matches(query: np.ndarray, index: np.ndarray, max_distance: float | None = MAX_DISTANCE) -> np.ndarray:
    """Pair each index descriptor with its nearest query descriptor, where that is near enough.

    Args:
        query: (m, d) float32, L2-normalised.
        index: (n, d) float32, L2-normalised.
        max_distance: The most Euclidean distance, in [0, 2]; `None` asks nothing.

    Returns:
        (k, 2) int, rows of query and of index, the nearest pair first; no index row stands twice, a query row may.
        k = 0 if either is empty. Among equal neighbours the lowest query row counts.
    """
    if len(query) == 0 or len(index) == 0:
        return np.empty((0, 2), int)
    # A row an index feature: numpy finds the largest along contiguous rows much faster than along columns.
    similarity = index @ query.T
    nearest = similarity.argmax(axis=1)
    best = similarity[np.arange(len(index)), nearest]
    furthest = 2.0 if max_distance is None else max_distance
    rows = np.flatnonzero(best >= 1 - furthest**2 / 2)  # of unit vectors |a - b|^2 = 2 - 2 ab
    rows = rows[np.argsort(-best[rows], kind="stable")]
    return np.column_stack([nearest[rows], rows])


def fit_by_samples(
    query: np.ndarray, index: np.ndarray, residual: float = RESIDUAL, trials: int = TRIALS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The affinity of three matches that the most matches agree with, of so many random samples.

    Args:
        query, index: (m, 2) float, the places of m matches in either photo, in pixels.
        residual: The most distance of an inlier from where the affinity takes it, in pixels of the index photo.
        trials: Samples of three different matches.
        seed: Random seed of the samples. As published there was none, and the counts differed from run to run.

    Returns:
        The affinity (2, 3) float64 from query to index, fitted by least squares to its inliers, NaN if there is none;
        and the inliers (m,) bool of the sample, as published: the last fit does not change them.
    """
    count = len(query)
    if count < FEWEST:
        return np.full((2, 3), np.nan), np.zeros(count, bool)
    # Places from their centre keep float32 exact to a thousandth of a pixel in photos of any size.
    from_centre, to_centre = query.mean(axis=0), index.mean(axis=0)
    start, end = (query - from_centre).astype(np.float32), (index - to_centre).astype(np.float32)
    affinities = _affinities(start, end, _samples(count, trials, seed))
    if len(affinities) == 0:
        return np.full((2, 3), np.nan), np.zeros(count, bool)
    inliers = _most_agreed(start, end, affinities, residual)
    return _least_squares(query[inliers], index[inliers]), inliers


def _least_squares(query: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(2, 3) float64, the affinity nearest to matches (m, 2) of which three form a triangle."""
    places = np.ones((len(query), 3))
    places[:, :2] = query
    return np.linalg.solve(places.T @ places, places.T @ index).T


def _samples(count: int, trials: int, seed: int) -> np.ndarray:
    """(trials, 3) int, rows of three different matches each."""
    uniform = _uniform(trials, seed)
    first = (uniform[:, 0] * count).astype(int)
    second = (uniform[:, 1] * (count - 1)).astype(int)
    third = (uniform[:, 2] * (count - 2)).astype(int)
    # Numbers among those that are left become rows: each steps over the rows before it that are not above it.
    second += second >= first
    low, high = np.minimum(first, second), np.maximum(first, second)
    third += third >= low
    third += third >= high
    return np.column_stack([first, second, third])


@lru_cache(maxsize=8)
def _uniform(trials: int, seed: int) -> np.ndarray:
    """(trials, 3) float64 in [0, 1): the same for every pair of photos, for drawing costs as much as fitting."""
    return np.random.default_rng(seed).random((trials, 3))


def _affinities(start: np.ndarray, end: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """(t, 2, 4) float32: a, b, c and -1 of x' = a x + b y + c, and of y', of each sample that forms a triangle."""
    corners = samples.T
    x, y = start[:, 0][corners], start[:, 1][corners]
    first_x, first_y, second_x, second_y = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    area = first_x * second_y - first_y * second_x
    sound = np.abs(area) > SMALLEST_AREA
    found = np.full((len(area), 2, 4), -1, np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of the triangles that are left out
        for coordinate in range(2):
            goal = end[:, coordinate][corners]
            first, second = goal[1] - goal[0], goal[2] - goal[0]
            along = (first * second_y - second * first_y) / area  # Cramer's rule
            across = (second * first_x - first * second_x) / area
            found[:, coordinate, 0], found[:, coordinate, 1] = along, across
            found[:, coordinate, 2] = goal[0] - along * x[0] - across * y[0]
    return found[sound]


def _most_agreed(start: np.ndarray, end: np.ndarray, affinities: np.ndarray, residual: float) -> np.ndarray:
    """(m,) bool, inliers of the affinity with the most; of equal ones that with the least sum of squared residuals."""
    # a x + b y + c - x' by one matrix product a coordinate: (a, b, c, -1) times (x, y, 1, x').
    places = np.ones((2, 4, len(start)), np.float32)
    places[:, :2] = start.T
    places[:, 3] = end.T
    limit = np.float32(residual) ** 2
    most, least, best = 0, np.inf, np.zeros(len(start), bool)
    size = max(1, RESIDUALS_AT_ONCE // len(start))
    for first in range(0, len(affinities), size):
        block = affinities[first : first + size]
        apart = block[:, 0] @ places[0]
        apart *= apart
        upward = block[:, 1] @ places[1]
        upward *= upward
        apart += upward
        near = apart < limit
        counts = np.count_nonzero(near, axis=1)
        if counts.max() < max(most, 1):
            continue
        tied = np.flatnonzero(counts == counts.max())
        squares = np.where(near[tied], apart[tied], 0).sum(axis=1)
        row = tied[squares.argmin()]
        if counts[row] > most or squares.min() < least:
            most, least, best = int(counts[row]), float(squares.min()), near[row].copy()
    return best


@dataclass(frozen=True)
class RandomGallery:
    """The photos of a landmark that the 19th place compared a query with: at random, anew for each query and pass.

    Attributes:
        kept: Photos of a landmark that are looked at: the first of the list, itself a random choice.
        compared: Those that a query is compared with in one pass.
        passes: How many times over; of each statistic the maximum of all passes counts.
        seed: Random seed of the choices.
    """

    kept: int = KEPT
    compared: int = COMPARED
    passes: int = 1
    seed: int = 0

    def choose(self, query: str, landmark: int, photos: Sequence[str], number: int = 0) -> list[str]:
        """The photos of pass `number`: of the first `kept`, the query's own left out."""
        left = [name for name in list(photos)[: self.kept] if name != query]
        # A digest, not the order of calls, seeds the draw: more queries or processes do not change a query's photos.
        text = f"{self.seed} {number} {landmark} {query}"
        digest = hashlib.sha256(text.encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        return [left[place] for place in rng.permutation(len(left))[: self.compared].tolist()]


def statistics(counts: np.ndarray, best: int = BEST) -> dict[str, np.ndarray]:
    """Figures that the 19th place kept of a query's comparisons with a landmark.

    Args:
        counts: (..., g) int, inliers of each gallery photo, negative where none was compared.
        best: Photos of the most inliers whose mean is kept.

    Returns:
        `max`, `mean` and `mean_best`, each (...) float64; 0 where nothing was compared. `mean` is over the photos
        compared, `mean_best` over the `best` of them, or all where there are fewer.
    """
    compared = (counts >= 0).sum(axis=-1)
    ranked = -np.sort(-np.maximum(counts, 0), axis=-1)
    return {
        "max": ranked[..., 0].astype(float),
        "mean": ranked.sum(axis=-1) / np.maximum(compared, 1),
        "mean_best": ranked[..., :best].sum(axis=-1) / np.clip(compared, 1, best),
    }


def over_passes(passes: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The element-wise maximum of each statistic over several passes."""
    return {name: np.maximum.reduce([one[name] for one in passes]) for name in passes[0]}
