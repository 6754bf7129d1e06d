"""Threads and processes that end with what started them: by Ctrl-C, by an error, or by a kill."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_WORKERS = 16
"""The most threads or processes where nobody says how many: each more holds photos of its own, and a GPU needs no
more."""
LOOK_SECONDS = 1.0
"""Between two looks of a worker at whether its parent is still there."""
_watching = threading.Lock()


def available_cores() -> int:
    """Cores that this process may use; a container or `taskset` may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Threads or processes where nobody says how many: one a core, `MOST_WORKERS` at the most."""
    return min(available_cores(), MOST_WORKERS)


def while_parent_lives(parent: int, compute: Callable[..., Result], *arguments: Any) -> Result:
    """`compute(*arguments)`, in a process that from then on ends within seconds of its parent.

    The kernel ends no child of a process that was killed, and a pool's workers wait for more for minutes.

    Args:
        parent: `os.getpid()` of the process that hands this out; where it is not the parent (a cluster's worker on
            another machine, a thread of that process itself) nothing is watched.
    """
    if os.getppid() == parent and _watching.acquire(blocking=False):  # once a process, and never let go
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    return compute(*arguments)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


@contextmanager
def in_threads(count: int) -> Iterator[Callable[[Callable[..., Result], Iterable[Any]], list[Result]]]:
    """A `map` over threads, in order; by an error or Ctrl-C what has begun is finished and the rest is not begun.

    Native code in a thread that is left running while Python ends aborts the process, exit code 134.
    """
    with ThreadPoolExecutor(max(1, count)) as pool:

        def run(compute: Callable[..., Result], items: Iterable[Any]) -> list[Result]:
            waiting: list[Future[Result]] = [pool.submit(compute, item) for item in items]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

        yield run


def in_order(compute: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Results of `compute` for items, in their order, by threads; no more of either than threads are held."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(compute, item))
            if len(waiting) == threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
