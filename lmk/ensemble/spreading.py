"""How scores are spread, the settings that dev chooses from, and the reason of a changed answer."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDS = 3
"""Times that scores pass along the edges: ten gave the same GAP on dev as three."""


@dataclass(frozen=True)
class Spreading:
    """How scores are spread.

    Attributes:
        share: Weight of the neighbours' scores against a query's own, in [0, 1); 0 turns spreading off.
        rounds: Times that the scores pass along the edges.
    """

    share: float = 0.0
    rounds: int = ROUNDS


OFF = Spreading()
MEANT = Spreading(0.6)
"""Setting that is used unless another leads it on dev by a standard error: in the mean of five trials on dev, seeds and
settings, no share of those tried gained more for fused lists (docs/journal/competitions.md)."""
TRIED = [OFF, Spreading(0.3), MEANT, Spreading(0.9)]
"""Settings that are tried on dev, the mildest first."""


@dataclass(frozen=True)
class Reason:
    """Why the answer of a query changed.

    Attributes:
        query: Its id.
        before, after: The landmarks answered.
        photos: The neighbours that count most for the new answer against the old one, the strongest first.
        shares: What each of them adds to the lead of the new answer, in units of the scores.
    """

    query: str
    before: int
    after: int
    photos: tuple[str, ...]
    shares: tuple[float, ...]
