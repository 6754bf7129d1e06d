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
REFINED = 8
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
    if len(query.places) == 0:
        return np.full((2, 3), np.nan), np.zeros(0, bool)
    centre, extent = index.places.mean(axis=0), np.ptp(index.places, axis=0).max() + residual
    start, end = _complex(query.places), _complex(index.places - centre)
    octaves = np.log2(index.scales / query.scales)
    turns = np.exp(1j * (index.angles - query.angles)).astype(np.complex64)
    linear, support = _proposals(start, end, octaves, turns, residual, max_turn)
    if not support.any():
        return np.full((2, 3), np.nan), np.zeros(len(start), bool)
    affinities, inliers, distances = _refine(linear, support, start, end, octaves, turns, residual, extent, max_turn)
    counts = inliers.sum(axis=1)
    best = np.lexsort(((distances * inliers).sum(axis=1), -counts))[0]
    affinity = affinities[best].copy()
    affinity[:, 2] += centre
    return affinity, inliers[best]


def _complex(places: np.ndarray) -> np.ndarray:
    return (places[:, 0] + 1j * places[:, 1]).astype(np.complex64)


def _proposals(
    start: np.ndarray, end: np.ndarray, octaves: np.ndarray, turns: np.ndarray, residual: float, max_turn: float
) -> tuple[np.ndarray, np.ndarray]:
    """The most supported similarities: their linear parts (h,) complex, and who supports them (h, m) bool."""
    first = slice(0, PROPOSALS)
    linear = np.exp2(octaves[first]) * turns[first]
    length = end[None] - end[first, None]
    apart = np.abs(linear[:, None] * (start[None] - start[first, None]) - length)
    support = apart < SLACKS[0] * residual + REACH * np.abs(length)
    support &= np.abs(octaves[None] - octaves[first, None]) < OCTAVES
    support &= (turns[None] * turns[first, None].conj()).real > np.cos(TURN)
    possible = (np.abs(octaves[first]) < np.log2(LARGEST)) & (turns[first].real >= np.cos(max_turn))
    counts = np.where(possible, support.sum(axis=1), 0)
    best = np.argsort(-counts, kind="stable")[:REFINED]
    best = best[counts[best] > 0]
    return linear[best], support[best]


def _refine(linear, support, start, end, octaves, turns, residual, extent, max_turn):
    """Affinities (h, 2, 3) fitted to their inliers again and again, those inliers (h, m), and all distances (h, m)."""
    points = np.column_stack([start.real, start.imag, np.ones(len(start))]).astype(np.float64)
    goals = np.column_stack([end.real, end.imag]).astype(np.float64)
    squares = (points[:, :, None] * points[:, None, :]).reshape(-1, 9)
    products = (points[:, :, None] * goals[:, None, :]).reshape(-1, 6)
    tie = TIE * extent**2 * np.diag([1.0, 1.0, 1e-9])
    held = np.zeros((len(linear), 3, 2))  # the proposal's linear part, transposed
    held[:, 0, 0] = held[:, 1, 1] = linear.real
    held[:, 0, 1], held[:, 1, 0] = linear.imag, -linear.imag
    inliers = support
    for slack in SLACKS:
        weights = inliers.astype(np.float64)
        normal = (weights @ squares).reshape(-1, 3, 3) + tie
        solved = np.linalg.solve(normal, (weights @ products).reshape(-1, 3, 2) + tie @ held)
        across = points @ solved - goals
        distances = np.hypot(across[..., 0], across[..., 1])
        inliers = distances < slack * residual
        inliers &= _plausible(solved, octaves, turns, max_turn)
    return solved.transpose(0, 2, 1), inliers, distances


def _plausible(solved: np.ndarray, octaves: np.ndarray, turns: np.ndarray, max_turn: float) -> np.ndarray:
    """(h, m) bool: the affinity is one that two photos of a building can have, and the match's own frame follows it."""
    a, b, c, d = solved[:, 0, 0], solved[:, 1, 0], solved[:, 0, 1], solved[:, 1, 1]  # x' = a x + b y, y' = c x + d y
    determinant = a * d - b * c
    sound = determinant > LARGEST**-2
    determinant = np.where(sound, determinant, 1.0)
    sound &= determinant < LARGEST**2
    sound &= (a**2 + b**2 + c**2 + d**2) / determinant < SHEAR + 1 / SHEAR
    turn = (a + d) + 1j * (c - b)
    turn /= np.maximum(np.abs(turn), 1e-12)
    sound &= turn.real >= np.cos(max_turn)
    agree = np.abs(octaves[None] - np.log2(determinant)[:, None] / 2) < OCTAVES
    agree &= (turns[None] * turn[:, None].conj()).real > np.cos(TURN)
    return agree & sound[:, None]
