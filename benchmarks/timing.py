"""Times of several ways to do one thing, taken in turns, so that what else the machine does hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def in_turns(
    ways: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each way by name, of `rounds` turns A B C A B C ... after one turn that does not count.

    clock: `time.process_time` counts the processor's seconds of all threads of this process, and so speaks of one core.
    """
    return by_clocks(ways, rounds, (clock,))[0]


def by_clocks(
    ways: Mapping[str, Callable[[], object]], rounds: int, clocks: Sequence[Callable[[], float]]
) -> list[dict[str, float]]:
    """What `in_turns` gives, by each of several clocks that run at once."""
    seconds: list[dict[str, list[float]]] = [{name: [] for name in ways} for _ in clocks]
    for turn in range(rounds + 1):
        for name, way in ways.items():
            starts = [clock() for clock in clocks]
            way()
            ends = [clock() for clock in clocks]
            for kept, start, end in zip(seconds, starts, ends, strict=True):
                if turn:
                    kept[name].append(end - start)
    return [{name: statistics.median(found) for name, found in kept.items()} for kept in seconds]
