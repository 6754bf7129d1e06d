"""The fusion rules by name: a rule is a function and an entry in `FUSIONS`, both in this file.

numpy and scikit-learn are loaded when a rule is used, so that `lmk make-submission --help` can list the rules at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lmk.util.late import Late

if TYPE_CHECKING:
    import numpy as np

    from lmk.ensemble.fuse import Proposals
    from lmk.predictions import Predictions

Divisor = Literal["dev", "batch"]
DIVISORS: tuple[Divisor, ...] = ("dev", "batch")
"""Largest count that the published sum divides inliers by: the most that a dev query has, so that a query's score does
not depend on the queries beside it; or the most of the queries that are asked, as published."""

if TYPE_CHECKING:
    Fuse = Callable[[Proposals], Predictions]
    Fit = Callable[[Proposals, np.ndarray, Divisor], Fuse]


@dataclass(frozen=True)
class FusionRule:
    """A rule that makes one confidence of recognition scores and the evidence of verification.

    Attributes:
        about: One line for people.
        fit: Function from dev queries, the landmarks that they show (n,) int64 and a `Divisor` to a function that fuses
            queries.
        learned: Whether it learns from these landmarks. It is then given `Proposals.features`, and answers of the dev
            queries are cross-fitted.
        answers_unverified: Whether it answers queries for which verification found nothing. Where it does not, fused
            answers are not spread, and photos that cannot be read stay without an answer.
        divides: Whether the divisor makes a difference.
    """

    about: str
    fit: Fit
    learned: bool = False
    answers_unverified: bool = True
    divides: bool = False

    @property
    def code(self) -> tuple[str, ...]:
        """The module that computes it, where that is another than this one."""
        return (self.fit.module,) if isinstance(self.fit, Late) else ()


# The sum is that of the 19th place of 2018, the threshold that of a published VGG16 solution.
LEARNED, PUBLISHED_SUM, PUBLISHED_THRESHOLD = "learned", "seed-0.85-0.15", "seed-35-inliers"

FUSIONS: dict[str, FusionRule] = {
    LEARNED: FusionRule("a regression fitted on dev", Late("lmk.ensemble.fuse:learned"), learned=True),
    PUBLISHED_SUM: FusionRule("0.85 inliers + 0.15 confidence", Late("lmk.ensemble.fuse:sum_of_both"), divides=True),
    PUBLISHED_THRESHOLD: FusionRule(
        "answers with more than 35 inliers",
        Late("lmk.ensemble.fuse:threshold"),
        answers_unverified=False,
    ),
}
"""The rules by name, the default first."""
