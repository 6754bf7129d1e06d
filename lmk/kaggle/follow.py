"""Waiting for a kernel's run, and its log as it grows."""

import time
from collections.abc import Callable, Iterator

from lmk.kaggle.api import Client
from lmk.kaggle.kernels import Status, log_of, status_of
from lmk.util.errors import RemoteError

PATIENCE = 1800.0
"""Seconds for which a wait puts up with a Kaggle that does not answer: a run takes hours, a disturbance minutes."""


def wait_until_finished(
    client: Client, ref: str, every: float, sleep: Callable[[float], None] = time.sleep, patience: float = PATIENCE
) -> Status:
    """The status of the last run of "owner/slug" once it has ended, looked at `every` seconds.

    Raises:
        RemoteError: Kaggle did not answer for `patience` seconds.
    """
    silent_since: float | None = None
    while True:
        try:
            status = status_of(client, ref)
            silent_since = None
            if status.finished:
                return status
        except RemoteError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > patience:
                raise
        sleep(every)


def follow_log(client: Client, ref: str, every: float, sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """The log of the last run piece by piece, until the run has ended."""
    shown = 0
    while True:
        finished = status_of(client, ref).finished  # asked before the log, so that its last lines are not missed
        text = log_of(client, ref)
        if len(text) > shown:
            yield text[shown:]
            shown = len(text)
        if finished:
            return
        sleep(every)
