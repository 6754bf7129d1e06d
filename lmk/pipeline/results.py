"""Results of steps, typed, each with the arrays by which it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lmk.ensemble.spreading import Reason, Spreading
from lmk.local.evidence import Evidence
from lmk.predictions import Predictions
from lmk.retrieval.graph import Graph

Part = Literal["dev", "test"]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions of all dev queries, each by a model that never saw it, and of the readable test photos.

    Attributes:
        context: The test photos once more, as what answers dev answers them: of a source for each fold, of what is
            fitted on dev for each part of `DevParts`. Empty where nothing is spread.
    """

    dev: Predictions
    test: Predictions
    context: tuple[Predictions, ...] = field(default=(), kw_only=True)

    def lists(self, part: Part) -> list[Predictions]:
        """The lists that a blend reads of this source."""
        return [getattr(self, part)]

    def context_lists(self, fold: int) -> list[Predictions]:
        """The same lists of the test photos, by the models of a fold."""
        return [self.context[fold]]

    def arrays(self) -> Arrays:
        """Arrays stored beside the predictions."""
        found = {}
        for place, one in enumerate(self.context):
            found[f"context landmarks {place}"] = one.landmarks
            found[f"context scores {place}"] = one.scores
        return found

    @classmethod
    def of(cls, dev: Predictions, test: Predictions, arrays: Mapping[str, np.ndarray]) -> Answers:
        """The result from what is kept."""
        return cls(dev, test, context=_context(test, arrays))


@dataclass(frozen=True, eq=False)
class Neighbours(Answers):
    """Answers of retrieval.

    Attributes:
        likeness_dev, likeness_test: (n, 1) float32, mean cosine of each query to the nearest distractors.
        alone: Further lists, where they were asked for: by each network's descriptors alone, and by a ridge head over
            all networks.
        likeness_context: For each fold that of the test photos to the fold's distractors.
        graphs: The nearest photos of the queries of each fold and of the test photos, and of the test photos among all
            photos at the end.
        cosines_dev, cosines_test: (n, 2) float32, to the nearest gallery photos; what the likeness of dev to test is
            measured by.
    """

    likeness_dev: np.ndarray
    likeness_test: np.ndarray
    alone: tuple[Answers, ...] = ()
    likeness_context: tuple[np.ndarray, ...] = ()
    graphs: tuple[Graph, ...] = ()
    cosines_dev: np.ndarray | None = None
    cosines_test: np.ndarray | None = None

    def lists(self, part: Part) -> list[Predictions]:
        """All networks together, then each alone."""
        return [getattr(self, part), *(getattr(one, part) for one in self.alone)]

    def context_lists(self, fold: int) -> list[Predictions]:
        """As `lists`, of the test photos by a fold."""
        return [self.context[fold], *(one.context[fold] for one in self.alone)]

    def arrays(self) -> Arrays:
        """Likenesses, further lists, and graphs."""
        found = super().arrays() | {"likeness_dev": self.likeness_dev, "likeness_test": self.likeness_test}
        for place, one in enumerate(self.alone):
            for part, answers in (("dev", one.dev), ("test", one.test)):
                found[f"{part} landmarks {place}"] = answers.landmarks
                found[f"{part} scores {place}"] = answers.scores
            found |= {f"alone {place} {name}": values for name, values in one.arrays().items()}
        for place, likeness in enumerate(self.likeness_context):
            found[f"likeness_context {place}"] = likeness
        for place, graph in enumerate(self.graphs):
            found[f"graph nodes {place}"], found[f"graph cosines {place}"] = graph.nodes, graph.cosines
            found[f"graph size {place}"] = np.array(graph.size)
        for part, cosines in (("dev", self.cosines_dev), ("test", self.cosines_test)):
            if cosines is not None:
                found[f"cosines_{part}"] = cosines
        return found

    @classmethod
    def of(cls, dev: Predictions, test: Predictions, arrays: Mapping[str, np.ndarray]) -> Neighbours:
        """The result from what is kept."""

        def one(part: str, whole: Predictions, place: int) -> Predictions:
            return Predictions(whole.ids, arrays[f"{part} landmarks {place}"], arrays[f"{part} scores {place}"])

        def further(place: int) -> Answers:
            start = f"alone {place} "
            own = {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}
            return Answers(one("dev", dev, place), one("test", test, place), context=_context(test, own))

        def graph(place: int) -> Graph:
            nodes, cosines = arrays[f"graph nodes {place}"], arrays[f"graph cosines {place}"]
            return Graph(nodes, cosines, int(arrays[f"graph size {place}"]))

        likeness = tuple(arrays[f"likeness_context {place}"] for place in range(_count(arrays, "likeness_context ")))
        return cls(
            dev,
            test,
            arrays["likeness_dev"],
            arrays["likeness_test"],
            tuple(further(place) for place in range(_count(arrays, "dev landmarks "))),
            likeness,
            tuple(graph(place) for place in range(_count(arrays, "graph nodes "))),
            arrays.get("cosines_dev"),
            arrays.get("cosines_test"),
            context=_context(test, arrays),
        )


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
        return super().arrays() | {"optimism": np.array(self.optimism)}

    @classmethod
    def of(cls, dev: Predictions, test: Predictions, arrays: Mapping[str, np.ndarray]) -> Fitted:
        """The result from what is kept."""
        return cls(dev, test, float(arrays["optimism"]), context=_context(test, arrays))


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
        return cls(dev, test, float(arrays["optimism"]), weights, context=_context(test, arrays))


@dataclass(frozen=True, eq=False)
class SpreadAnswers(Fitted):
    """Answers after spreading.

    Attributes:
        how: The settings that all of dev chose, for test.
        gaps: Dev GAP of each setting tried, the mildest first.
        inliers: (q * k, kinds) float of the edges of each graph of `Neighbours.graphs`, NaN where not verified.
        reasons: Test photos whose answer changed, with the neighbours that changed it.
    """

    how: Spreading = field(default_factory=Spreading)
    gaps: Mapping[Spreading, float] = field(default_factory=dict)
    inliers: tuple[np.ndarray, ...] = ()
    reasons: tuple[Reason, ...] = ()

    def facts(self) -> dict[str, object]:
        """JSON values for the record of a run."""
        gaps = {f"{one.share:g}": round(value, 5) for one, value in self.gaps.items()}
        return {"share": self.how.share, "dev_gap_by_share": gaps, "answers_changed": len(self.reasons)}

    def arrays(self) -> Arrays:
        """All of it, as arrays."""
        tried = [self.how, *self.gaps]
        found = super().arrays() | {
            "shares": np.array([one.share for one in tried]),
            "rounds": np.array([one.rounds for one in tried]),
            "gaps": np.array(list(self.gaps.values())),
            "reason queries": np.array([one.query for one in self.reasons], dtype=str),
            "reason answers": np.array([[one.before, one.after] for one in self.reasons], np.int64).reshape(-1, 2),
            "reason counts": np.array([len(one.photos) for one in self.reasons], np.int64),
            "reason photos": np.array([photo for one in self.reasons for photo in one.photos], dtype=str),
            "reason shares": np.array([share for one in self.reasons for share in one.shares], np.float64),
        }
        return found | {f"inliers {place}": one for place, one in enumerate(self.inliers)}

    @classmethod
    def of(cls, dev: Predictions, test: Predictions, arrays: Mapping[str, np.ndarray]) -> SpreadAnswers:
        """The result from what is kept."""
        columns = (arrays[name].tolist() for name in ("shares", "rounds"))
        how, *tried = (Spreading(*values) for values in zip(*columns, strict=True))
        return cls(
            dev,
            test,
            float(arrays["optimism"]),
            how,
            dict(zip(tried, arrays["gaps"].tolist(), strict=True)),
            tuple(arrays[f"inliers {place}"] for place in range(_count(arrays, "inliers "))),
            _reasons(arrays),
            context=_context(test, arrays),
        )


@dataclass(frozen=True, eq=False)
class Verified:
    """Evidence by kind of local features, in line with the proposals of dev and of test.

    The first kind is the one that pictures and the published fusion rules read.

    Attributes:
        context: For each part of dev that of the test photos as the part's models know the gallery; empty where nothing
            is spread.
    """

    dev: Mapping[str, Evidence]
    test: Mapping[str, Evidence]
    context: tuple[Mapping[str, Evidence], ...] = ()

    def parts(self) -> dict[str, Mapping[str, Evidence]]:
        """All evidence, by the name of what it is kept under."""
        further = {f"context{place}": one for place, one in enumerate(self.context)}
        return {"dev": self.dev, "test": self.test, **further}


def _context(test: Predictions, arrays: Mapping[str, np.ndarray]) -> tuple[Predictions, ...]:
    """Lists of the test photos that `Answers.arrays` kept."""
    return tuple(
        Predictions(test.ids, arrays[f"context landmarks {place}"], arrays[f"context scores {place}"])
        for place in range(_count(arrays, "context landmarks "))
    )


def _count(arrays: Mapping[str, np.ndarray], start: str) -> int:
    """How many arrays have a name that starts so."""
    return sum(name.startswith(start) for name in arrays)


def _reasons(arrays: Mapping[str, np.ndarray]) -> tuple[Reason, ...]:
    """Reasons as `SpreadAnswers.arrays` stored them."""
    ends = np.cumsum(arrays["reason counts"])
    counts = arrays["reason counts"].tolist()
    spans = [slice(end - count, end) for end, count in zip(ends.tolist(), counts, strict=True)]
    rows = zip(arrays["reason queries"].tolist(), arrays["reason answers"].tolist(), spans, strict=True)
    photos, shares = arrays["reason photos"], arrays["reason shares"]
    return tuple(
        Reason(query, before, after, tuple(photos[span].tolist()), tuple(shares[span].tolist()))
        for query, (before, after), span in rows
    )
