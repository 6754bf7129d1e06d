"""The two published systems of 2018 as wholes: one network, its answers and confidence, DELF, the published decision.

Nothing else takes part: no retrieval, no blend, no second kind of local features. docs/seeds.md says sentence by
sentence what is as published, and what is not and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmk.ensemble.fuse import FUSIONS, Proposals, answer_unreadable
from lmk.ensemble.rules import PUBLISHED_SUM, PUBLISHED_THRESHOLD, Divisor
from lmk.local.compare import PUBLISHED, Settings
from lmk.local.delf import PUBLISHED as PUBLISHED_DELF
from lmk.local.delf import DelfOptions
from lmk.local.published import RandomGallery, over_passes, statistics
from lmk.predictions import Predictions
from lmk.util.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Like:
    """A published system.

    Attributes:
        name: As `--like` takes it.
        recipe: Name of the recipe whose answers it takes.
        delf: Which features are extracted. Its threshold on scores means something to published weights alone: with a
            DELF that lmk trained, `without_threshold` is what to use.
        comparison: How two photos are compared.
        gallery: Which photos of a landmark a query is compared with, and in how many passes.
        rule: Of fusion, a key of `FUSIONS`.
        divisor: Of the published sum.
        answers_unreadable: Whether photos that cannot be read are answered with the most frequent landmark and
            confidence 0; else they are left empty.
        about: One line for people.
    """

    name: str
    recipe: str
    delf: DelfOptions
    comparison: Settings
    gallery: RandomGallery
    rule: str
    divisor: Divisor = "dev"
    answers_unreadable: bool = False
    about: str = ""

    @property
    def without_threshold(self) -> DelfOptions:
        """The features for a network whose scores have another unit than the published one's."""
        return replace(self.delf, least_score=0.0)

    def as_asked(self, passes: int = 1, divisor: Divisor = "dev", seed: int = 0) -> Like:
        """The system with so many passes, a divisor and a seed of galleries and samples."""
        gallery = replace(self.gallery, passes=passes, seed=seed)
        return replace(self, gallery=gallery, divisor=divisor, comparison=replace(self.comparison, seed=seed))


LIKES: Mapping[str, Like] = {
    like.name: like
    for like in (
        Like(
            name="vgg16-delf35",
            recipe="vgg16-published",
            delf=PUBLISHED_DELF["delf"],
            comparison=replace(PUBLISHED, frame="pixels", enough=36),
            gallery=RandomGallery(kept=20, compared=20),
            rule=PUBLISHED_THRESHOLD,
            about="VGG16; its landmark is answered if one of 20 photos has more than 35 DELF inliers",
        ),
        Like(
            name="xception-delf32",
            recipe="xception-published",
            delf=PUBLISHED_DELF["19th-place"],
            comparison=PUBLISHED,
            gallery=RandomGallery(),
            rule=PUBLISHED_SUM,
            answers_unreadable=True,
            about="Xception with GeM, a vote of 22 views; 0.85 DELF inliers of 32 photos + 0.15 confidence",
        ),
    )
}
"""The systems by name."""


def find_like(name: str) -> Like:
    """The system of that name.

    Raises:
        UsageError: There is none; the text names the nearest.
    """
    if name not in LIKES:
        raise UsageError(
            f"No published system is named '{name}'.{did_you_mean(name, LIKES)} There are {', '.join(LIKES)}."
        )
    return LIKES[name]


def decide(
    like: Like,
    dev: Predictions,
    test: Predictions,
    dev_counts: Sequence[np.ndarray],
    test_counts: Sequence[np.ndarray],
    truth: np.ndarray,
) -> tuple[Predictions, Predictions]:
    """The published decision about dev and about test.

    Args:
        like: The system.
        dev, test: What the network answers; only the first landmark of each query counts, and its score.
        dev_counts, test_counts: A pass each, (n, 1, g) int, inliers with each gallery photo that `like.gallery` chose,
            negative where none was compared.
        truth: (n,) int64, of dev; no published rule looks at it.

    Returns:
        Predictions of one landmark a query. Under the threshold what was not verified is left without an answer.
    """
    known, asked = _proposals(dev, dev_counts), _proposals(test, test_counts)
    rule = FUSIONS[like.rule]
    return rule(known, truth, "dev")(known), rule(known, truth, like.divisor)(asked)


def _proposals(predictions: Predictions, passes: Sequence[np.ndarray]) -> Proposals:
    """The first landmark of each query with the most inliers of all passes."""
    found = over_passes([statistics(counts) for counts in passes])
    return Proposals(predictions.top(1), found["max"].astype(np.int64), np.concatenate(passes, axis=2))


def with_unreadable(like: Like, test: Predictions, unreadable: Sequence[str], landmarks: np.ndarray) -> Predictions:
    """Test predictions with photos that cannot be read answered as the system did.

    Args:
        like: The system.
        test: Of all test photos, or of the readable ones: others are added.
        unreadable: Ids of test photos.
        landmarks: (n,) int64, of the training photos, whose most frequent one counts (of equal ones the lowest).
    """
    if not like.answers_unreadable or len(unreadable) == 0:
        return test
    absent = [name for name in unreadable if name not in set(test.ids.tolist())]
    known, counts = np.unique(landmarks, return_counts=True)
    whole = test.align(np.concatenate([test.ids, np.array(absent, dtype=str)]))
    return answer_unreadable(whole, unreadable, int(known[counts.argmax()]))
