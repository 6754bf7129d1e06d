"""The published systems that `--like` follows, as far as they are listed and asked for; nothing here loads numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmk.ensemble.fusion_rules import PUBLISHED_SUM, PUBLISHED_THRESHOLD
from lmk.pipeline.config import Unreadable
from lmk.util.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class System:
    """A published system.

    Attributes:
        name: As `--like` takes it.
        recipe: Name of the recipe whose answers it takes.
        rule: Fusion rule, one of `lmk.ensemble.fusion_rules.FUSIONS`.
        unreadable: What photos that cannot be read are answered.
        about: One line for people.
    """

    name: str
    recipe: str
    rule: str
    unreadable: Unreadable
    about: str

    @property
    def sums(self) -> bool:
        """Whether it adds inliers to confidence, so that a divisor and further passes change its answers; under the
        threshold the first success or the 20th comparison ends the search."""
        return self.rule == PUBLISHED_SUM


VGG16 = System(
    "vgg16-delf35",
    "vgg16-published",
    PUBLISHED_THRESHOLD,
    "empty",
    "VGG16; its landmark is answered if one of 20 photos has more than 35 DELF inliers",
)
XCEPTION = System(
    "xception-delf32",
    "xception-published",
    PUBLISHED_SUM,
    "zero",
    "Xception with GeM, a vote of 22 views; 0.85 DELF inliers of 32 photos + 0.15 confidence",
)
SYSTEMS: Mapping[str, System] = {system.name: system for system in (VGG16, XCEPTION)}
"""The systems by name; `lmk.pipeline.likes` has how each verifies."""


def find_system(name: str) -> System:
    """The system of that name.

    Raises:
        LmkError: There is none; the text names the nearest.
    """
    if name not in SYSTEMS:
        raise UsageError(
            f"No published system is named '{name}'.{did_you_mean(name, SYSTEMS)} There are {', '.join(SYSTEMS)}."
        )
    return SYSTEMS[name]
