"""Times of several ways to do one thing, taken in turns, so that what else the machine does hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def in_turns(
    ways: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each way by name, of `rounds` turns A B C A B C ... after one turn that does not count.

    clock: `time.process_time` counts the processor's seconds of all threads of this process, and so speaks of one core.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if turn:
                seconds[name].append(clock() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}
