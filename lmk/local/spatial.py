"""Spatial matching: every match alone proposes a similarity, the best of them are refined to affinities.

A feature has a scale and an orientation, so one match fixes a similarity of the plane. Trying them all
needs no random draw, finds a transform that only a few matches in a hundred agree with, and gives the
same answer every time. After Philbin et al., CVPR 2007; that an inlier's own change of scale and turn
must agree with the transform is the weak geometric consistency of Jégou et al., ECCV 2008.
"""

from dataclasses import dataclass

import numpy as np

PROPOSALS = 128
"""Matches that propose: the surest."""
FEWEST = 3
"""Matches that a proposal needs to be refined, itself among them, and an affinity to stand: even counts of three and
four separate right proposals from wrong ones."""
REFINED = 4
"""Proposals that are refined: those with the most support."""
SLACKS = (2.0, 1.5, 1.0)
"""Residual thresholds of the rounds of refinement, as multiples of the last."""
REACH = 0.1
"""How fast a proposal's threshold grows with the distance from its match: its scale and angle are rough."""
TIE = 0.005
"""Weight that holds an affinity to its proposal, in matches a squared photo side; few matches do not bend it."""
OCTAVES = 1.0
"""An inlier's change of scale agrees with the transform's within this many octaves."""
TURN = np.pi / 6
"""An inlier's turn agrees with the transform's within this angle, in radians."""
LARGEST = 8.0
"""Scales that a transform may have, from the inverse of this: beyond, a photo collapses to a point."""
SHEAR = 3.0
"""The most ratio of an affinity's singular values."""


@dataclass(frozen=True, eq=False)
class Points:
    """The ends of m matches in one photo: places (m, 2) and scales (m,) in pixels, angles (m,) in radians."""

    places: np.ndarray
    scales: np.ndarray
    angles: np.ndarray


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Matches, each photo's places from its own centre.

    start, end (m, 2) float32; octaves (m,) float32 of scaling; turns (m, 2) float32, cosine and sine of each turn.
    """

    start: np.ndarray
    end: np.ndarray
    octaves: np.ndarray
    turns: np.ndarray


def fit_spatially(query: Points, index: Points, residual: float, max_turn: float) -> tuple[np.ndarray, np.ndarray]:
    """The affinity from query to index that the most matches agree with.

    Args:
        query: m matches' ends in the query, the surest match first.
        index: Their ends in the index photo.
        residual: The most distance of an inlier from where the affinity takes it, in pixels of the index photo.
        max_turn: The most turn between the photos, in radians.

    Returns:
        The affinity (2, 3) float64, NaN if there is none, and its inliers (m,) bool.
    """
    count = len(query.places)
    nothing = np.full((2, 3), np.nan), np.zeros(count, bool)
    if count < FEWEST:
        return nothing
    start, from_centre = _centred(query.places)
    end, to_centre = _centred(index.places)
    turns = np.empty((count, 2), np.float32)
    angles = index.angles - query.angles
    np.cos(angles, out=turns[:, 0], casting="same_kind")
    np.sin(angles, out=turns[:, 1], casting="same_kind")
    pairs = _Pairs(start, end, np.log2(index.scales / query.scales).astype(np.float32, copy=False), turns)
    similarities, support, agreeing = _proposals(pairs, residual, max_turn)
    if len(similarities) == 0:
        return nothing
    span = np.maximum.reduce(index.places, 0) - np.minimum.reduce(index.places, 0)
    extent = float(span.max()) + residual
    affinities, distances = _refined(pairs, similarities, support, agreeing, residual, TIE * extent**2)
    inliers = agreeing & (distances < residual)
    inliers &= _plausible(affinities, max_turn)[:, None]
    best = np.lexsort((np.add.reduce(distances * inliers, 1), -np.add.reduce(inliers, 1, dtype=int)))[0]
    affinity = affinities[best].T.copy()
    affinity[:, 2] += to_centre - affinity[:, :2] @ from_centre
    return affinity, inliers[best]


def _centred(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (m, 2) from their centre, float32, and the centre (2,)."""
    centre = np.add.reduce(places, 0) / np.float32(len(places))
    return (places - centre).astype(np.float32, copy=False), centre


def _proposals(pairs: _Pairs, residual: float, max_turn: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The most supported similarities of single matches.

    Returns:
        Their matrices (h, 3, 2) float64, to which a row (x, y, 1) is multiplied; their support (h, m) bool; and
        the matches (h, m) bool whose own frames agree with them, wherever they lie.
    """
    start, end = pairs.start[:PROPOSALS], pairs.end[:PROPOSALS]
    octaves, turns = pairs.octaves[:PROPOSALS], pairs.turns[:PROPOSALS]
    matrices = np.empty((len(start), 3, 2), np.float32)  # x' = a x - b y + c, y' = b x + a y + d
    a, b = matrices[:, 0, 0], matrices[:, 0, 1]
    np.multiply(np.exp2(octaves)[:, None], turns, out=matrices[:, 0])
    matrices[:, 1, 0], matrices[:, 1, 1] = -b, a
    matrices[:, 2, 0] = end[:, 0] - a * start[:, 0] + b * start[:, 1]
    matrices[:, 2, 1] = end[:, 1] - b * start[:, 0] - a * start[:, 1]
    square = np.einsum("ij,ij->i", pairs.end, pairs.end)
    reach = end @ (-2 * pairs.end.T)  # in place: the squared length, the length, the squared reach
    reach += square
    reach += square[:PROPOSALS, None]
    np.sqrt(np.maximum(reach, 0, out=reach), out=reach)
    reach *= REACH
    reach += SLACKS[0] * residual
    reach *= reach
    places = np.ones((3, len(pairs.start)), np.float32)
    places[:2] = pairs.start.T
    apart = matrices[:, :, 0] @ places
    apart -= pairs.end[:, 0]
    apart *= apart
    along = matrices[:, :, 1] @ places
    along -= pairs.end[:, 1]
    along *= along
    apart += along
    agreeing = np.abs(pairs.octaves - octaves[:, None]) < OCTAVES
    agreeing &= turns @ pairs.turns.T > np.cos(TURN)
    support = apart < reach
    support &= agreeing
    possible = (np.abs(octaves) < np.log2(LARGEST)) & (turns[:, 0] >= np.cos(max_turn))
    counts = np.add.reduce(support, 1, dtype=int) * possible
    best = np.argsort(-counts, kind="stable")[:REFINED]
    best = best[counts[best] >= FEWEST]
    return matrices[best].astype(np.float64), support[best], agreeing[best]


def _refined(
    pairs: _Pairs, proposals: np.ndarray, support: np.ndarray, agreeing: np.ndarray, residual: float, tie: float
) -> tuple[np.ndarray, np.ndarray]:
    """Proposals fitted again to their own inliers, a few times, by least squares held to the proposal by `tie`.

    Returns:
        Affinities (h, 3, 2), and the distances (h, m) of all matches from where they take them, in pixels.
    """
    points = np.empty((len(pairs.start), 5))  # x, y, 1 and where they go
    points[:, :2], points[:, 2], points[:, 3:] = pairs.start, 1, pairs.end
    start, goals = points[:, :3], points[:, 3:]
    sums = (start[:, :, None] * points[:, None, :]).reshape(-1, 15)  # of each match, for the normal equations
    hold = np.diag([tie, tie, 1e-6])  # the shift is free but where nothing is left to fix it
    held = hold @ proposals
    for slack in SLACKS:
        normal = (support.astype(np.float64) @ sums).reshape(-1, 3, 5)
        affinities = np.linalg.solve(normal[:, :, :3] + hold, normal[:, :, 3:] + held)
        across = start @ affinities
        across -= goals
        distances = np.sqrt(across[..., 0] ** 2 + across[..., 1] ** 2)
        support = agreeing & (distances < slack * residual)
    return affinities, distances


def _plausible(affinities: np.ndarray, max_turn: float) -> np.ndarray:
    """(h,) bool: which affinities (h, 3, 2) can lie between two photos of one thing."""
    a, b, c, d = affinities[:, 0, 0], affinities[:, 1, 0], affinities[:, 0, 1], affinities[:, 1, 1]
    determinant = a * d - b * c
    scaled = (determinant > LARGEST**-2) & (determinant < LARGEST**2)
    sheared = a * a + b * b + c * c + d * d > (SHEAR + 1 / SHEAR) * determinant
    return scaled & ~sheared & (np.abs(np.arctan2(c - b, a + d)) <= max_turn)
