"""What steps make: typed results, each with the arrays by which it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from lmk.local.evidence import Evidence
from lmk.predictions import Predictions

Part = Literal["dev", "test"]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions of all dev queries, each by a model that never saw it, and of the readable test photos."""

    dev: Predictions
    test: Predictions

    def lists(self, part: Part) -> list[Predictions]:
        """The lists that a blend reads of this source."""
        return [getattr(self, part)]

    def arrays(self) -> Arrays:
        """What is kept beside the predictions."""
        return {}

    @classmethod
    def of(cls, dev: Predictions, test: Predictions, arrays: Mapping[str, np.ndarray]) -> Answers:
        """The result from what is kept."""
        return cls(dev, test)


@dataclass(frozen=True, eq=False)
class Neighbours(Answers):
    """Answers of retrieval.

    Attributes:
        likeness_dev, likeness_test: (n, 1) float32, mean cosine of each query to the nearest distractors.
        alone: Answers by each network's descriptors alone, where they were asked for.
    """

    likeness_dev: np.ndarray
    likeness_test: np.ndarray
    alone: tuple[Answers, ...] = ()

    def lists(self, part: Part) -> list[Predictions]:
        """All networks together, then each alone."""
        return [getattr(self, part), *(getattr(one, part) for one in self.alone)]

    def arrays(self) -> Arrays:
        """Likenesses, and the lists of single networks."""
        found = {"likeness_dev": self.likeness_dev, "likeness_test": self.likeness_test}
        for place, one in enumerate(self.alone):
            for part, answers in (("dev", one.dev), ("test", one.test)):
                found[f"{part} landmarks {place}"] = answers.landmarks
                found[f"{part} scores {place}"] = answers.scores
        return found

    @classmethod
    def of(cls, dev: Predictions, test: Predictions, arrays: Mapping[str, np.ndarray]) -> Neighbours:
        """The result from what is kept."""

        def one(part: str, whole: Predictions, place: int) -> Predictions:
            return Predictions(whole.ids, arrays[f"{part} landmarks {place}"], arrays[f"{part} scores {place}"])

        count = sum(name.startswith("dev landmarks") for name in arrays)
        alone = tuple(Answers(one("dev", dev, place), one("test", test, place)) for place in range(count))
        return cls(dev, test, arrays["likeness_dev"], arrays["likeness_test"], alone)


@dataclass(frozen=True, eq=False)
class Fitted(Answers):
    """Answers of a model that was fitted on dev, cross-fitted there.

    Attributes:
        optimism: GAP on dev of the model fitted on all of dev, less that of the cross-fitted one; NaN where the rule
            fits nothing.
    """

    optimism: float = float("nan")

    def arrays(self) -> Arrays:
        """The optimism."""
        return {"optimism": np.array(self.optimism)}

    @classmethod
    def of(cls, dev: Predictions, test: Predictions, arrays: Mapping[str, np.ndarray]) -> Fitted:
        """The result from what is kept."""
        return cls(dev, test, float(arrays["optimism"]))


@dataclass(frozen=True, eq=False)
class Blended(Fitted):
    """The blend of several sources.

    Attributes:
        weights: Weight of each source by the name of its step; they sum to 1.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def arrays(self) -> Arrays:
        """The optimism and the weights."""
        named = {"sources": np.array(list(self.weights), dtype=str), "weights": np.array(list(self.weights.values()))}
        return super().arrays() | named

    @classmethod
    def of(cls, dev: Predictions, test: Predictions, arrays: Mapping[str, np.ndarray]) -> Blended:
        """The result from what is kept."""
        weights = dict(zip(arrays["sources"].tolist(), arrays["weights"].tolist(), strict=True))
        return cls(dev, test, float(arrays["optimism"]), weights)


@dataclass(frozen=True, eq=False)
class Verified:
    """Evidence by kind of local features, in line with the proposals of dev and of test.

    The first kind is the one that pictures and the published fusion rules read.
    """

    dev: Mapping[str, Evidence]
    test: Mapping[str, Evidence]

    PARTS: ClassVar[tuple[Part, Part]] = ("dev", "test")
