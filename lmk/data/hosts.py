"""Schedules requests to many addresses on few hosts: at most so many a host at once, none before it asks to be."""

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable


class Turns:
    """Hands out tasks to many threads, each host to a limited number of them, hosts in turn.

    A task is a number; `host_of` names its host. A task that is to be tried again comes back after a while, and a
    host that asked for a pause gets one.
    """

    def __init__(self, tasks: Iterable[int], host_of: Callable[[int], str], each: int, clock=time.monotonic):
        """each: threads that one host serves at once, at the most."""
        self._host_of, self._each, self._clock = host_of, each, clock
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[int]] = {}
        for task in tasks:
            self._waiting.setdefault(host_of(task), deque()).append(task)
        self._hosts = deque(self._waiting)
        self._left = sum(map(len, self._waiting.values()))
        self._busy: Counter[str] = Counter()
        self._later: list[tuple[float, int]] = []
        self._paused: dict[str, float] = {}
        self._stopped = False

    def take(self) -> int | None:
        """The next task; waits for one, None when all are done."""
        with self._changed:
            while self._left and not self._stopped:
                task, wait = self._next()
                if task is not None:
                    return task
                self._changed.wait(wait)
            return None

    def done(self, task: int) -> None:
        """The task is over, well or not."""
        with self._changed:
            self._left -= 1
            self._free(task)

    def again(self, task: int, seconds: float, pause: float = 0.0) -> None:
        """The task is to be tried again after `seconds`; its host is left alone for `pause` seconds."""
        with self._changed:
            now = self._clock()
            if pause:
                host = self._host_of(task)
                self._paused[host] = max(now + pause, self._paused.get(host, 0.0))
            heapq.heappush(self._later, (now + seconds, task))
            self._free(task)

    def stop(self) -> None:
        """Nothing more is handed out."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _free(self, task: int) -> None:
        self._busy[self._host_of(task)] -= 1
        self._changed.notify_all() if not self._left else self._changed.notify()

    def _next(self) -> tuple[int | None, float | None]:
        """A task that may run now, or how long nothing can change by itself."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            task = heapq.heappop(self._later)[1]
            host = self._host_of(task)
            if not self._waiting.get(host):
                self._hosts.append(host)
            self._waiting.setdefault(host, deque()).append(task)
        soonest = self._later[0][0] if self._later else None
        for _ in range(len(self._hosts)):
            host = self._hosts.popleft()
            queue = self._waiting[host]
            if not queue:
                continue  # it comes back with its next task
            self._hosts.append(host)
            until = self._paused.get(host, 0.0)
            if until > now:
                soonest = until if soonest is None else min(soonest, until)
            elif self._busy[host] < self._each:
                self._busy[host] += 1
                return queue.popleft(), None
        return None, None if soonest is None else max(0.0, soonest - now)
