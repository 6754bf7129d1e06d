"""Photos read by several threads, ahead of what uses them, within a bounded amount of memory.

Decoders and OpenCV work outside the interpreter's lock, so threads use all cores and share the batch they fill.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from lmk.util.workers import default_workers

AHEAD = 2
"""Batches in work beside the one in use: with one alone, threads would wait for the slowest photo of each batch."""


def batches_ahead(
    fill: Callable[[str, np.ndarray], object],
    ids: Sequence[str] | np.ndarray,
    shape: tuple[int, ...],
    size: int,
    jobs: int | None = None,
    ahead: int = AHEAD,
) -> Iterator[np.ndarray]:
    """Batches of views in the order of `ids`, filled photo by photo.

    At most `ahead` + 1 batches and `jobs` decoded photos are held at once.

    Args:
        fill: Writes a photo's views, (*shape) uint8, into the array given; called from several threads.
        ids: (n,) str.
        shape: Shape of a photo's views.
        size: Photos a batch; what the last batch lacks is zero.
        jobs: Threads; `default_workers()` of them if None.
        ahead: Batches in work beside the one in use.

    Yields:
        (size, *shape) uint8.

    Raises:
        Exception: What `fill` raised, in the turn of its batch; nothing more is then read.
    """
    names = [str(name) for name in ids]
    starts = iter(range(0, len(names), size))
    waiting: deque[tuple[np.ndarray, list[Future]]] = deque()
    with ThreadPoolExecutor(jobs or default_workers(), thread_name_prefix="reading") as readers:

        def begin() -> None:
            start = next(starts, None)
            if start is not None:
                batch = np.zeros((size, *shape), np.uint8)
                part = zip(names[start : start + size], batch, strict=False)
                waiting.append((batch, [readers.submit(_alone, fill, name, out) for name, out in part]))

        try:
            for _ in range(ahead + 1):
                begin()
            while waiting:
                batch, filled = waiting.popleft()
                for future in filled:
                    future.result()
                yield batch
                del batch
                begin()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


def _alone(fill: Callable[[str, np.ndarray], object], name: str, out: np.ndarray) -> None:
    """Fill, with OpenCV in this thread alone: its own threads would compete with the other readers."""
    cv2.setNumThreads(1)
    fill(name, out)
