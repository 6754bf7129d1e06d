"""The step that retrieves: nearest neighbours by the descriptors of all networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmk.pipeline.config import TOP_K
from lmk.pipeline.dataset import Asked, Dataset, Part
from lmk.pipeline.described import Described, answer_part, describe_part
from lmk.pipeline.dev_parts import DevParts
from lmk.pipeline.results import Answers, Neighbours
from lmk.predictions import Predictions, concatenate
from lmk.retrieval.descriptors import side_by_side
from lmk.retrieval.neighbours import Options, find_landmarks, nearest
from lmk.util.progress import Progress

Describe = Callable[[Part, np.ndarray], np.ndarray]
"""Function from a part and photos (n,) str to descriptors (n, d) by that part's network."""
Room = Callable[[Sequence[int], type], np.ndarray]
"""Function from a shape and a type to an array to fill, on the disk if it is large."""


def retrieve(
    dataset: Dataset, describe: Sequence[Describe], options: Options, each: bool, room: Room, progress: Progress
) -> Neighbours:
    """kNN of all networks' descriptors side by side, whitened on each part's training photos and distractors.

    Args:
        dataset: Parts and their queries.
        describe: Descriptors by each network.
        options: How neighbours become scores.
        each: Whether each network's descriptors alone give a list, too.
        room: Makes large arrays.
        progress: Reports each part.
    """
    likeness: dict[str, list[np.ndarray]] = {"dev": [np.empty((0, 1))], "test": [np.empty((0, 1))]}
    singles = len(describe) if each and len(describe) > 1 else 0
    alone: dict[str, list[list[Predictions]]] = {of: [[] for _ in range(singles)] for of in likeness}

    def answer(part: Part, asked: Asked) -> Predictions:
        names = np.concatenate([part.photos, part.distractors, asked.photos])
        described = [one(part, names) for one in describe]

        def ask(columns: list[np.ndarray], how: Options) -> tuple[Predictions, np.ndarray]:
            joined = side_by_side(columns, how.weights, room)
            known, others, queries = np.split(joined, [len(part.photos), -len(asked.photos)])
            return find_landmarks(asked.ids, known, part.landmarks, others, queries, how, TOP_K)

        for place in range(singles):
            alone[asked.of][place].append(ask([described[place]], replace(options, weights=None))[0])
        found, near = ask(described, options)
        likeness[asked.of].append(near[:, None])
        return found

    dev, test = dataset.by_part(answer, "retrieval", progress)

    def single(place: int) -> Answers:
        lists = ((alone[part][place], whole) for part, whole in (("dev", dev), ("test", test)))
        return Answers(*(concatenate(found) if found else whole.top(TOP_K) for found, whole in lists))

    return Neighbours(
        dev,
        test,
        np.concatenate(likeness["dev"]),
        np.concatenate(likeness["test"]),
        tuple(single(place) for place in range(singles)),
    )


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
    each: bool,
    room: Room,
    progress: Progress,
) -> Neighbours:
    """As `retrieve`, with the ridge head and all that spreading needs: the test photos as every fold answers them,
    and the graph of each fold and of all photos.

    Args:
        parts: Folds of dev, and the part that answers test.
        test: (t,) str, the test photos.
        describe, options, each, room, progress: As for `retrieve`.
    """
    singles = describe if each and len(describe) > 1 else ()

    def ask(part: Part) -> _PartAnswers:
        def described(networks: Sequence[Describe], how: Options) -> Described:
            def joined(photos: np.ndarray) -> np.ndarray:
                return side_by_side([one(part, photos) for one in networks], how.weights, room)

            known = (part.photos, part.landmarks)
            return describe_part(part.queries, test, known, part.distractors, joined, how)

        whole = described(describe, options)
        near, ridge, likeness = answer_part(whole, TOP_K, options)
        alone = [described([one], replace(options, weights=None)) for one in singles]
        lists = [near, *(answer_part(one, TOP_K, options)[0] for one in alone), ridge]
        cosines = nearest(whole.asked, whole.known[: len(part.photos)], 2).cosines
        return _PartAnswers(lists, likeness[:, None], cosines, whole)

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

    first, *further = (source(place) for place in range(len(lists)))
    return Neighbours(
        first.dev,
        first.test,
        np.concatenate([one[1] for one in dev]),
        likeness,
        tuple(further),
        tuple(one[1] for one in context),
        tuple(one.graph() for one in (*(fold.described for fold in folds), of_test.described.of_test_alone())),
        np.concatenate([one[2] for one in dev]),
        cosines,
        context=first.context,
    )
