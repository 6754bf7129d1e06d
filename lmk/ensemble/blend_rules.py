"""The blend rules by name: a rule is a function and an entry in `BLENDS`, both in this file.

numpy is loaded when a rule is used, so that `lmk blend --help` and completion list the rules at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lmk.util.late import Late

if TYPE_CHECKING:
    import numpy as np

    from lmk.ensemble.candidates import Candidates, Scale
    from lmk.ensemble.climb import Found
    from lmk.predictions import Predictions

    Combine = Callable[[Sequence[Predictions], Sequence[Scale], np.ndarray], tuple[Candidates, np.ndarray]]
    Search = Callable[..., Found]


@dataclass(frozen=True)
class BlendRule:
    """A rule that makes one list of several: by `combine`, or by weights that are learned from the truth of dev.

    Attributes:
        about: One line for people.
        combine: Function from s aligned sources, the scale of each, and weights (s,) that sum to 1 to the candidates
            and their scores (n, m) float64. None: the rule is learned, which adds up calibrated scores.
        search: Finds the weights of a learned rule from candidates and truth (n, t) int64, with the keyword `metric`;
            None: all sources weigh the same.
        scale: What brings scores to [0, 1] for `combine`: where they lie between the lowest and the highest, or the
            share of the source's scores that are not higher.
    """

    about: str
    combine: Combine | None = None
    search: Search | None = None
    scale: Literal["min-max", "ranks"] = "min-max"

    @property
    def learned(self) -> bool:
        """Whether it learns from the truth of some queries."""
        return self.combine is None


GREEDY, EQUAL = "greedy", "equal"

BLENDS: dict[str, BlendRule] = {
    "vote": BlendRule("the landmark that most sources answer", Late("lmk.ensemble.combine:vote")),
    "mean": BlendRule("mean of the scores as they are", Late("lmk.ensemble.combine:mean")),
    "min-max": BlendRule(
        "mean of the scores stretched to one range, more where sources agree",
        Late("lmk.ensemble.combine:mean_and_votes"),
    ),
    "rank-mean": BlendRule("mean of the scores' ranks", Late("lmk.ensemble.combine:scaled_mean"), scale="ranks"),
    "log-product": BlendRule("geometric mean of the stretched scores", Late("lmk.ensemble.combine:log_product")),
    EQUAL: BlendRule("mean of calibrated scores"),
    GREEDY: BlendRule("weights by greedy selection", search=Late("lmk.ensemble.climb:greedy")),
    "hill-climb": BlendRule("weights by the best step", search=Late("lmk.ensemble.climb:hill_climb")),
    "coordinate": BlendRule("weights moved one by one", search=Late("lmk.ensemble.climb:coordinate")),
}
"""The rules by name; those that learn nothing come first."""


def fixed_rules() -> dict[str, BlendRule]:
    """The rules that learn nothing."""
    return {name: rule for name, rule in BLENDS.items() if not rule.learned}


def learned_rules() -> dict[str, BlendRule]:
    """The rules that learn from the truth of some queries."""
    return {name: rule for name, rule in BLENDS.items() if rule.learned}
