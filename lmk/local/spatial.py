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
"""Matches that a proposal needs to be refined, itself among them, and an affinity to stand."""
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
    """Matches as numbers of the complex plane: start and end (m,), octaves of scaling (m,), turns (m,) of length 1."""

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
    nothing = np.full((2, 3), np.nan), np.zeros(len(query.places), bool)
    if len(query.places) == 0:
        return nothing
    from_centre, to_centre = query.places.mean(axis=0), index.places.mean(axis=0)
    pairs = _Pairs(
        _complex(query.places - from_centre),
        _complex(index.places - to_centre),
        np.log2(index.scales / query.scales),
        np.exp(1j * (index.angles - query.angles)).astype(np.complex64),
    )
    similarities, support = _proposals(pairs, residual, max_turn)
    if len(similarities) == 0:
        return nothing
    extent = float(np.ptp(index.places, axis=0).max()) + residual
    affinities, inliers, distances = _refined(pairs, similarities, support, residual, max_turn, TIE * extent**2)
    best = np.lexsort(((distances * inliers).sum(axis=1), -inliers.sum(axis=1)))[0]
    affinity = affinities[best].T.copy()
    affinity[:, 2] += to_centre - affinity[:, :2] @ from_centre
    return affinity, inliers[best]


def _complex(places: np.ndarray) -> np.ndarray:
    return (places[:, 0] + 1j * places[:, 1]).astype(np.complex64)


def _proposals(pairs: _Pairs, residual: float, max_turn: float) -> tuple[np.ndarray, np.ndarray]:
    """The most supported similarities of single matches.

    Returns:
        Their matrices (h, 3, 2) float64, to which a row (x, y, 1) is multiplied, and their support (h, m) bool.
    """
    start, end, octaves, turns = (part[:PROPOSALS] for part in (pairs.start, pairs.end, pairs.octaves, pairs.turns))
    linear = np.exp2(octaves) * turns
    length = pairs.end[None] - end[:, None]
    apart = np.abs(linear[:, None] * (pairs.start[None] - start[:, None]) - length)
    support = apart < SLACKS[0] * residual + REACH * np.abs(length)
    support &= np.abs(pairs.octaves[None] - octaves[:, None]) < OCTAVES
    support &= (pairs.turns[None] * turns[:, None].conj()).real > np.cos(TURN)
    possible = (np.abs(octaves) < np.log2(LARGEST)) & (turns.real >= np.cos(max_turn))
    counts = np.where(possible, support.sum(axis=1), 0)
    best = np.argsort(-counts, kind="stable")[:REFINED]
    best = best[counts[best] >= FEWEST]
    a, shift = linear[best], (end - linear * start)[best]
    matrices = np.stack([a.real, a.imag, -a.imag, a.real, shift.real, shift.imag], axis=1)
    return matrices.astype(np.float64).reshape(-1, 3, 2), support[best]


def _refined(
    pairs: _Pairs, proposals: np.ndarray, support: np.ndarray, residual: float, max_turn: float, tie: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Proposals fitted again to their own inliers, a few times, by least squares held to the proposal by `tie`.

    Returns:
        Affinities (h, 3, 2), their inliers (h, m) bool, and the distances (h, m) of all matches in pixels.
    """
    points = np.column_stack([pairs.start.real, pairs.start.imag, np.ones(len(pairs.start))]).astype(np.float64)
    goals = np.column_stack([pairs.end.real, pairs.end.imag]).astype(np.float64)
    squares = (points[:, :, None] * points[:, None, :]).reshape(-1, 9)
    products = (points[:, :, None] * goals[:, None, :]).reshape(-1, 6)
    hold = np.diag([tie, tie, 1e-6])  # the shift is free but where nothing is left to fix it
    inliers = support
    for slack in SLACKS:
        weights = inliers.astype(np.float64)
        normal = (weights @ squares).reshape(-1, 3, 3) + hold
        affinities = np.linalg.solve(normal, (weights @ products).reshape(-1, 3, 2) + hold @ proposals)
        across = points @ affinities - goals
        distances = np.hypot(across[..., 0], across[..., 1])
        inliers = (distances < slack * residual) & _agreeing(pairs, affinities, max_turn)
    return affinities, inliers, distances


def _agreeing(pairs: _Pairs, affinities: np.ndarray, max_turn: float) -> np.ndarray:
    """(h, m) bool: the affinity can lie between two photos of one thing, and the match's own frame follows it."""
    a, b, c, d = affinities[:, 0, 0], affinities[:, 1, 0], affinities[:, 0, 1], affinities[:, 1, 1]
    determinant = a * d - b * c
    sound = (determinant > LARGEST**-2) & (determinant < LARGEST**2)
    determinant = np.where(sound, determinant, 1.0)
    sound &= (a**2 + b**2 + c**2 + d**2) / determinant < SHEAR + 1 / SHEAR
    turn = (a + d) + 1j * (c - b)
    turn /= np.maximum(np.abs(turn), 1e-12)
    sound &= turn.real >= np.cos(max_turn)
    agree = np.abs(pairs.octaves[None] - np.log2(determinant)[:, None] / 2) < OCTAVES
    agree &= (pairs.turns[None] * turn[:, None].conj()).real > np.cos(TURN)
    return agree & sound[:, None]
