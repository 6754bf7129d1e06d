"""The step that retrieves: nearest neighbours by the descriptors of all networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmk.data.splits import Queries
from lmk.pipeline.config import TOP_K
from lmk.pipeline.dataset import Asked, Dataset, Part
from lmk.pipeline.described import NO_QUERIES, Described, describe_part, nearest_landmarks, ridge_landmarks
from lmk.pipeline.dev_parts import DevParts
from lmk.pipeline.results import Answers, Neighbours
from lmk.predictions import Predictions, concatenate
from lmk.retrieval.descriptors import side_by_side
from lmk.retrieval.neighbours import Options, nearest
from lmk.util.progress import Progress

Describe = Callable[[Part, np.ndarray], np.ndarray]
"""Function from a part and photos (n,) str to descriptors (n, d) by that part's network."""
Room = Callable[[Sequence[int], type], np.ndarray]
"""Function from a shape and a type to an array to fill, on the disk if it is large."""


@dataclass(frozen=True)
class Further:
    """Lists beside that of all networks together.

    Attributes:
        each: By each network's descriptors alone, where there are several.
        ridge: By a ridge head over all networks.
    """

    each: bool = False
    ridge: bool = False


def retrieve(
    dataset: Dataset, describe: Sequence[Describe], options: Options, further: Further, room: Room, progress: Progress
) -> Neighbours:
    """kNN of all networks' descriptors side by side, whitened on each part's training photos and distractors.

    Args:
        dataset: Parts and their queries.
        describe: Descriptors by each network.
        options: How neighbours become scores.
        further: Lists beside that.
        room: Makes large arrays.
        progress: Reports each part.
    """
    likeness: dict[str, list[np.ndarray]] = {"dev": [np.empty((0, 1))], "test": [np.empty((0, 1))]}
    lists: dict[str, list[list[Predictions]]] = {"dev": [], "test": []}

    def answer(part: Part, asked: Asked) -> Predictions:
        queries, test = (part.queries, NO_QUERIES.photos) if asked.of == "dev" else (NO_QUERIES, asked.photos)
        _, found, near = lists_of(part, queries, test, describe, options, further, room)
        likeness[asked.of].append(near)
        lists[asked.of].append(found[1:])
        return found[0]

    dev, test = dataset.by_part(answer, "retrieval", progress)

    def source(place: int) -> Answers:
        parts = (([one[place] for one in lists["dev"]], dev), ([one[place] for one in lists["test"]], test))
        return Answers(*(concatenate(found) if found else whole.top(TOP_K) for found, whole in parts))

    count = max((len(one) for found in lists.values() for one in found), default=0)

    return Neighbours(
        dev,
        test,
        np.concatenate(likeness["dev"]),
        np.concatenate(likeness["test"]),
        tuple(source(place) for place in range(count)),
    )


def lists_of(
    part: Part,
    queries: Queries,
    test: np.ndarray,
    describe: Sequence[Describe],
    options: Options,
    further: Further,
    room: Room,
) -> tuple[Described, list[Predictions], np.ndarray]:
    """What one part answers its queries, and then test photos.

    Args:
        part: Photos that its networks learned from; what else it is asked does not count.
        queries, test: What is asked; either may be empty.
        describe, options, further, room: As for `retrieve`.

    Returns:
        The photos as all networks describe them; the lists, that of all networks together first; and (q + t, 1)
        float32, the mean cosine to the nearest distractors.
    """

    def described(networks: Sequence[Describe], how: Options) -> Described:
        def joined(photos: np.ndarray) -> np.ndarray:
            return side_by_side([one(part, photos) for one in networks], how.weights, room)

        return describe_part(queries, test, (part.photos, part.landmarks), part.distractors, joined, how)

    whole = described(describe, options)
    found, likeness = nearest_landmarks(whole, TOP_K, options)
    singles = describe if further.each and len(describe) > 1 else ()
    alone = (described([one], replace(options, weights=None)) for one in singles)
    lists = [found, *(nearest_landmarks(one, TOP_K, options)[0] for one in alone)]
    if further.ridge:
        lists.append(ridge_landmarks(whole, TOP_K))
    return whole, lists, likeness[:, None]


@dataclass(frozen=True, eq=False)
class _PartAnswers:
    """Retrieval's results for one part: the lists of its dev queries and then of the test photos, all networks
    together first; their likeness to distractors (q + t, 1); cosines (q + t, 2) to the gallery; and the graph."""

    lists: list[Predictions]
    likeness: np.ndarray
    cosines: np.ndarray
    described: Described

    def cut(self, of: str) -> tuple[list[Predictions], np.ndarray, np.ndarray]:
        """Lists, likeness and cosines of the `dev` queries or of the `test` photos."""
        count = len(self.described.queries)
        rows = np.arange(count) if of == "dev" else np.arange(count, len(self.likeness))
        return [one.take(rows) for one in self.lists], self.likeness[rows], self.cosines[rows]


def retrieve_for_graphs(
    parts: DevParts,
    test: np.ndarray,
    describe: Sequence[Describe],
    options: Options,
    further: Further,
    room: Room,
    progress: Progress,
) -> Neighbours:
    """As `retrieve`, with all that spreading needs: the test photos as every fold answers them, and the graph of each
    fold and of all photos.

    Args:
        parts: Folds of dev, and the part that answers test.
        test: (t,) str, the test photos.
        describe, options, further, room, progress: As for `retrieve`.
    """

    def ask(part: Part) -> _PartAnswers:
        whole, lists, likeness = lists_of(part, part.queries, test, describe, options, further, room)
        cosines = nearest(whole.asked, whole.known[: len(part.photos)], 2).cosines
        return _PartAnswers(lists, likeness, cosines, whole)

    folds = []
    with progress("retrieval", len(parts.folds) + 1, "networks") as advance:
        for fold in parts.folds:
            folds.append(ask(fold))
            advance(1)
        of_test = next((one for one, fold in zip(folds, parts.folds, strict=True) if fold is parts.tested), None)
        of_test = of_test or ask(parts.tested)
        advance(1)
    dev = [one.cut("dev") for one in folds]
    context = [one.cut("test") for one in folds]
    lists, likeness, cosines = of_test.cut("test")

    def source(place: int) -> Answers:
        joined = concatenate([one[0][place] for one in dev])
        return Answers(joined, lists[place], context=tuple(one[0][place] for one in context))

    first, *others = (source(place) for place in range(len(lists)))
    return Neighbours(
        first.dev,
        first.test,
        np.concatenate([one[1] for one in dev]),
        likeness,
        tuple(others),
        tuple(one[1] for one in context),
        tuple(one.graph() for one in (*(fold.described for fold in folds), of_test.described.of_test_alone())),
        np.concatenate([one[2] for one in dev]),
        cosines,
        context=first.context,
    )
