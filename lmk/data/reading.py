"""Photos read by several threads, ahead of what uses them, within a bounded amount of memory.

Decoders and OpenCV work outside the interpreter's lock, so threads use all cores and share the batch they fill. Each
takes photo after photo of a batch, and whoever waits for the batch is woken once, not for every photo.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from operator import itemgetter

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
    waiting: deque[tuple[np.ndarray, list[Future[_Failure | None]]]] = deque()
    jobs = jobs or default_workers()
    with ThreadPoolExecutor(jobs, thread_name_prefix="reading") as readers:

        def begin() -> None:
            start = next(starts, None)
            if start is not None:
                batch = np.zeros((size, *shape), np.uint8)
                photos = names[start : start + size]
                left = iter(enumerate(photos))
                several = range(min(jobs, len(photos)))
                waiting.append((batch, [readers.submit(_fill_some, fill, left, batch) for _ in several]))

        try:
            for _ in range(ahead + 1):
                begin()
            while waiting:
                batch, filled = waiting.popleft()
                failures = [failure for future in filled if (failure := future.result())]
                if failures:
                    raise min(failures, key=itemgetter(0))[1]
                yield batch
                del batch
                begin()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


_Failure = tuple[int, Exception]
"""Row of a batch and what `fill` raised there."""


def _fill_some(
    fill: Callable[[str, np.ndarray], object], left: Iterator[tuple[int, str]], batch: np.ndarray
) -> _Failure | None:
    """Fill rows of a batch until none is left, which several threads do at once; the first that fails ends it.

    Rows are begun in their order, so that of all that fail the first is always among what the threads give.
    """
    cv2.setNumThreads(1)  # OpenCV's own threads would compete with the other readers
    for row, name in left:
        try:
            fill(name, batch[row])
        except Exception as error:  # whatever it is, it is raised in the turn of its batch
            return row, error
    return None
