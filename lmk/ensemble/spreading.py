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
        fixed: Whether gallery photos and distractors take part, as nodes that keep their scores. Lists of recognition
            gain by them; fused lists have compared each query with the gallery already and gain more without.
        rounds: Times that the scores pass along the edges.
    """

    share: float = 0.0
    fixed: bool = True
    rounds: int = ROUNDS


OFF = Spreading()
RECOGNIZED = (OFF, *(Spreading(share, fixed=True) for share in (0.3, 0.6, 0.9)))
"""Settings that are tried on dev for lists of recognition, the mildest first; between these shares the gain is flat."""
FUSED = (OFF, *(Spreading(share, fixed=False) for share in (0.3, 0.6, 0.9)))
"""Settings for fused lists. To choose with or without fixed nodes as well cost up to 0.006 of dev: few hundred queries
cannot tell so many settings apart."""


@dataclass(frozen=True)
class Reason:
    """Why the answer of a query changed.

    Attributes:
        query: Its id.
        before, after: The landmarks answered.
        photos: The neighbours that speak most for the new answer against the old one, the strongest first.
        shares: What each of them adds to the lead of the new answer, in units of the scores.
    """

    query: str
    before: int
    after: int
    photos: tuple[str, ...]
    shares: tuple[float, ...]
