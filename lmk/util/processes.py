"""Work of many small calls over processes, or over a cluster's workers."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

from joblib import Parallel, delayed

from lmk.util.cluster import workers_apart
from lmk.util.workers import while_parent_lives

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """Processes that compute, or a cluster's workers.

    Attributes:
        pool: joblib's.
        apart: Whether they are a cluster's.
    """

    pool: Parallel
    apart: bool

    def map(
        self,
        compute: Callable[..., Result],
        arguments: Callable[[Item], tuple[Any, ...]],
        groups: Sequence[Sequence[Item]],
    ) -> Iterator[Iterator[Result]]:
        """Results of `compute(*arguments(item))` for the items of each group, in order.

        The results of a group are to be taken before those of the next. While the caller keeps them, processes go on
        with the next group; a cluster's workers get one group at a time, whose results come together.
        """

        def calls(items: Iterable[Item]) -> Iterator[Any]:
            return (delayed(while_parent_lives)(os.getpid(), compute, *arguments(item)) for item in items)

        if self.apart:
            yield from (iter(self.pool(calls(group))) for group in groups)
            return
        results = self.pool(calls(chain.from_iterable(groups)))
        yield from (islice(results, len(group)) for group in groups)


@contextmanager
def in_processes(jobs: int) -> Iterator[Processes]:
    """So many processes, or the cluster that `lmk.util.cluster.on_cluster` set, while the block runs."""
    apart = workers_apart()
    with Parallel(n_jobs=jobs, return_as="list" if apart else "generator") as pool:
        yield Processes(pool, apart)
