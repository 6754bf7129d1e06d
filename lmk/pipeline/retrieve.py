"""The step that retrieves: nearest neighbours by the descriptors of all networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lmk.pipeline.config import TOP_K
from lmk.pipeline.dataset import Asked, Dataset, Part
from lmk.pipeline.results import Answers, Neighbours
from lmk.predictions import Predictions, concatenate
from lmk.retrieval.descriptors import side_by_side
from lmk.retrieval.neighbours import Options, find_landmarks
from lmk.util.progress import Progress

Describe = Callable[[Part, np.ndarray], np.ndarray]
"""From a part and photos (n,) str to descriptors (n, d) by that part's network."""
Room = Callable[[Sequence[int], type], np.ndarray]
"""From a shape and a type to an array to fill, on the disk if it is large."""


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
        progress: Told of each part.
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
