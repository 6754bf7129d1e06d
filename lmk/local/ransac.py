"""One transform that brings matches of two photos together, and the matches it brings there: the inliers."""

from dataclasses import dataclass

import cv2
import numpy as np

from lmk.local.published import FEWEST as FEWEST_OF_SAMPLES
from lmk.local.published import fit_by_samples
from lmk.local.settings import Method, Model
from lmk.local.spatial import FEWEST, Points, fit_spatially

SAMPLE: dict[Model, int] = {"similarity": 2, "affine": 3, "homography": 4, "fundamental": 7}
"""Matches that fix a model; it proves nothing before one more agrees. Of `spatial` it is fewer: one fixes it."""
LARGEST = 8.0
SHEAR = 4.0
CONFIDENCE = 0.999


@dataclass(frozen=True, eq=False)
class Fit:
    """A robust fit.

    Attributes:
        transform: (2, 3) or (3, 3) float64 from query to index pixels (for `fundamental` the matrix of the
            epipolar lines); NaN where nothing fits.
        inliers: (m,) bool, the matches it brings within the residual threshold; none where nothing fits.
    """

    transform: np.ndarray
    inliers: np.ndarray


def fit(
    query: Points,
    index: Points,
    residual: float,
    model: Model = "affine",
    method: Method = "spatial",
    max_turn: float = np.pi,
    trials: int = 1000,
    seed: int = 0,
) -> Fit:
    """Fit `model` robustly to m matches; the same answer every time.

    Args:
        query: The matches' ends in the query, the surest match first.
        index: Their ends in the index photo.
        residual: The most distance of an inlier from where the transform takes it, in pixels of the index photo.
        model: `spatial` and `samples` fit affinities only, `magsac` all but similarities.
        method: `spatial` uses scale and orientation of the features; `magsac` is OpenCV's USAC with
            MAGSAC++ scores (Barath et al., CVPR 2020), `ransac` OpenCV's plain RANSAC, `samples` the plain RANSAC
            that was published with DELF (`lmk.local.published`).
        max_turn: The most turn between the photos in radians, of `spatial`.
        trials: Random samples: at the most so many of `magsac` and `ransac`, exactly so many of `samples`.
        seed: Random seed of the samples of `magsac` and `samples`.

    Returns:
        Without inliers if too few matches agree (fewer than 3 of `spatial` and `samples`, else no more than fix the
        model), or, but for `samples`, if the best transform collapses, mirrors or shears a photo as no change of
        place does.

    Raises:
        ValueError: The method does not fit that model.
    """
    if (method in ("spatial", "samples") and model != "affine") or (method == "magsac" and model == "similarity"):
        raise ValueError(f"The method '{method}' does not fit the model '{model}'.")
    count = len(query.places)
    nothing = Fit(np.full((2 if model in ("similarity", "affine") else 3, 3), np.nan), np.zeros(count, bool))
    fewest = {"spatial": FEWEST, "samples": FEWEST_OF_SAMPLES}.get(method, SAMPLE[model] + 1)
    if count < fewest:
        return nothing
    if method == "samples":
        return Fit(*fit_by_samples(query.places, index.places, residual, trials, seed))
    if method == "spatial":  # which proposes nothing implausible
        transform, inliers = fit_spatially(query, index, residual, max_turn)
        return Fit(transform, inliers) if np.count_nonzero(inliers) >= fewest else nothing
    transform, inliers = _fit_by_opencv(query.places, index.places, residual, model, method, trials, seed)
    if inliers.sum() < fewest or (model != "fundamental" and not plausible(transform, query.places[inliers])):
        return nothing
    return Fit(transform, inliers)


def plausible(transform: np.ndarray, places: np.ndarray) -> bool:
    """Whether a transform could lie between two photos of one thing.

    Args:
        transform: (2, 3) or (3, 3), from query to index.
        places: (m, 2), where it is looked at: a homography must be sound at each of them.
    """
    matrix = np.vstack([transform, [0, 0, 1]]) if transform.shape == (2, 3) else transform
    depth = places @ matrix[2, :2] + matrix[2, 2]
    if not (depth > 1e-9).all() and not (depth < -1e-9).all():
        return False  # the horizon runs through the points
    moved = (places @ matrix[:2, :2].T + matrix[:2, 2]) / depth[:, None]
    jacobian = (matrix[None, :2, :2] - moved[:, :, None] * matrix[None, None, 2, :2]) / depth[:, None, None]
    determinant = np.linalg.det(jacobian)
    if not ((determinant > LARGEST**-2) & (determinant < LARGEST**2)).all():
        return False
    return bool((np.square(jacobian).sum(axis=(1, 2)) / determinant < SHEAR + 1 / SHEAR).all())


def _fit_by_opencv(
    query: np.ndarray, index: np.ndarray, residual: float, model: Model, method: Method, trials: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's transform and inliers; no inliers where it finds none."""
    start, end = np.ascontiguousarray(query, np.float32), np.ascontiguousarray(index, np.float32)
    if method == "magsac":
        transform, mask = _magsac(start, end, residual, model, trials, seed)
    else:
        transform, mask = _ransac(start, end, residual, model, trials)
    if transform is None or mask is None or transform.shape[0] > 3:
        return np.full((3, 3), np.nan), np.zeros(len(query), bool)
    return transform, mask.ravel().astype(bool)


def _magsac(start: np.ndarray, end: np.ndarray, residual: float, model: Model, trials: int, seed: int):
    params = cv2.UsacParams()
    params.score = cv2.SCORE_METHOD_MAGSAC
    params.threshold, params.maxIterations, params.confidence = residual, trials, CONFIDENCE
    params.randomGeneratorState = seed
    if model == "affine":
        return cv2.estimateAffine2D(start, end, params)
    if model == "homography":
        return cv2.findHomography(start, end, params)
    return cv2.findFundamentalMat(start, end, params)


def _ransac(start: np.ndarray, end: np.ndarray, residual: float, model: Model, trials: int):
    if model == "similarity":
        return cv2.estimateAffinePartial2D(start, end, None, cv2.RANSAC, residual, trials, CONFIDENCE)
    if model == "affine":
        return cv2.estimateAffine2D(start, end, None, cv2.RANSAC, residual, trials, CONFIDENCE)
    if model == "homography":
        return cv2.findHomography(start, end, cv2.RANSAC, residual, None, trials, CONFIDENCE)
    return cv2.findFundamentalMat(start, end, cv2.FM_RANSAC, residual, CONFIDENCE, trials)
