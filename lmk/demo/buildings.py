"""The kinds of buildings that there are."""

from collections.abc import Callable

import numpy as np

from lmk.demo import sacred, secular
from lmk.demo.masonry import Building

KINDS: tuple[Callable[[np.random.Generator], Building], ...] = (
    sacred.church,
    sacred.temple,
    sacred.basilica,
    secular.palace,
    secular.town_hall,
    secular.castle,
    secular.gate,
    sacred.bell_tower,
    sacred.onion_church,
    secular.merchant_houses,
    sacred.pagoda,
    secular.library,
)


def build(kind: int, rng: np.random.Generator) -> Building:
    """A building of the kind with that index in `KINDS`; the same generator state gives the same building."""
    return KINDS[kind](rng)
