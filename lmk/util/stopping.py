"""Runs that end in good order before their time is over: at SIGTERM, or after a time that was set."""

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lmk.util.errors import StoppedEarly, UsageError

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def parse_duration(text: str) -> float:
    """Seconds of a text such as `11h30m`, `45m`, `90s` or `1d12h`: numbers with units, each at most once, in order.

    Raises:
        LmkError: The text is no duration above zero.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    numbers = found.groups("0") if found else ()
    seconds = sum(float(number) * unit for number, unit in zip(numbers, _UNITS.values(), strict=False))
    if seconds <= 0:
        raise UsageError(f"'{text}' is no duration: write it as 11h30m, 45m or 90s.")
    return seconds


class Stop:
    """Whether the run should end now, and why.

    While `listening`, SIGTERM and the end of the time raise `StoppedEarly` in the main thread wherever it is: what is
    done is stored by shard. Inside `deferred` they only set `reason`, so that training can first write a checkpoint.
    """

    def __init__(self, after: float | None = None):
        """after: Seconds from now; None for no limit."""
        self.after = after
        self.reason: str | None = None
        self._end = None if after is None else time.monotonic() + after
        self._deferred = 0

    @property
    def asked(self) -> bool:
        """Whether the run should end."""
        if self.reason is None and self._end is not None and time.monotonic() >= self._end:
            self.reason = f"its time of {_written(self.after)} is over"
        return self.reason is not None

    def check(self) -> None:
        """End the run if that is asked.

        Raises:
            StoppedEarly: It is.
        """
        if self.asked:
            raise StoppedEarly(f"Stopped, as {self.reason}. All that is done is stored: run the same command to go on.")

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """No `StoppedEarly` while the block runs, which has to look at `asked` itself."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM, and a timer's SIGALRM at the end of the time; both are as before after the block.

        In another thread than the main one, where Python takes no signals, only `asked` and `check` work.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
        for number in before:
            signal.signal(number, self._signalled)
        if self._end is not None:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, self._end - time.monotonic()))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int, frame: object) -> None:
        if number == signal.SIGTERM:
            self.reason = "SIGTERM asked for it"
        if self._deferred == 0:
            self.check()


def _written(seconds: float | None) -> str:
    """Seconds as `parse_duration` takes them."""
    rest, text = round(seconds or 0), ""
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
