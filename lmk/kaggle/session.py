"""The time of one Kaggle session, seen from the kernel's script: how long it may run, and when to stop training."""

import os
import time

LONGEST = {"gpu": 12 * 3600, "tpu": 9 * 3600, "cpu": 12 * 3600}
"""Seconds that Kaggle lets a pushed kernel run, by what it runs on."""
STARTED, SECONDS = "LMK_SESSION_STARTED", "LMK_SESSION_SECONDS"
"""Environment variables that the pushed script sets: when it began (seconds since 1970), and its limit."""
STOP_AFTER = "LMK_STOP_AFTER"
"""Environment variable of the option --stop-after, for the commands that a session runs."""
UNFINISHED = 75
"""Exit code of a command that stopped in time and left a checkpoint (EX_TEMPFAIL of sysexits.h)."""


class Unfinished(SystemExit):
    """A command stopped before the session's end, with a checkpoint; another session goes on from there."""

    def __init__(self) -> None:
        super().__init__(UNFINISHED)


def margin(seconds: float) -> float:
    """Seconds before a session's limit at which training stops.

    They are for the checkpoint, for copying up to 20 GB to /kaggle/working, and for Kaggle to keep it: half an hour of
    twelve. A short session, as tests have, needs the time to end a step and to write.
    """
    return max(seconds / 24, min(20.0, seconds / 3))


def time_left() -> float | None:
    """Seconds until training must stop; None outside of a pushed kernel, where nothing ends it."""
    try:
        started, seconds = float(os.environ[STARTED]), float(os.environ[SECONDS])
    except (KeyError, ValueError):
        return None
    return started + seconds - margin(seconds) - time.time()
