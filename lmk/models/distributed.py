"""Training by several processes through Keras' distribution: how they meet, and what the first sends to the others.

All of them run the same program on the same photos, and all do every step together: one that took another way would
wait for ever. So whatever a way depends on, which files there are and how good the network is on dev, comes from the
first process. https://keras.io/guides/distribution/
"""

from __future__ import annotations

import atexit
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Timer

import keras

from lmk.data.batches import Share
from lmk.models.device import gpus
from lmk.util.errors import LmkError, RemoteError
from lmk.util.files import atomic_path
from lmk.util.team import Team

PATIENCE = 240.0
"""Seconds until processes that do not come are given up: less than JAX waits."""
STATUS = re.compile("(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): ")
"""How what JAX says of a lost connection begins; what kind of error says it depends on the step that lost it."""


def meet(team: Team, leave: Callable[[LmkError], None]) -> None:
    """Wait until all processes are there; to be called before the backend looks for devices.

    Args:
        leave: Ends this process with an error, where the others do not come: JAX would abort, and say it in many lines.

    Raises:
        LmkError: The backend cannot train over several processes.
        RemoteError: They do not understand each other.
    """
    if team.processes == 1:
        return
    if keras.backend.backend() != "jax":
        raise LmkError(
            "--processes trains through Keras' distribution, which JAX alone has: pip install 'lmk[jax]', and set "
            "KERAS_BACKEND=jax."
        )
    late = RemoteError(
        f"Not all of the {team.processes} processes came to {team.coordinator} within {PATIENCE / 60:g} minutes. Start "
        "each with its own --process, and process 0 where the others reach that address."
    )
    timer = Timer(PATIENCE, leave, [late])
    timer.daemon = True
    timer.start()
    if team.on_this_machine:  # JAX would listen on all interfaces, without encryption or passwords
        os.environ.setdefault("JAX_COORDINATOR_BIND_ADDRESS", team.first)
    try:
        keras.distribution.initialize(team.coordinator, team.processes, team.process)
        from_first(team, lambda: b"here")  # connects them all now
    except (RuntimeError, ValueError) as error:
        raise RemoteError(
            f"The {team.processes} processes did not meet at {team.coordinator}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        timer.cancel()


def together(team: Team) -> AbstractContextManager:
    """Models built inside have equal weights in all processes, and each step learns from the batches of all."""
    if team.processes == 1:
        return nullcontext()
    return keras.distribution.DataParallel(auto_shard_dataset=False).scope()


@contextmanager
def in_step(team: Team) -> Iterator[None]:
    """Where this process fails or another one goes away, end at once: JAX's own end waits for all, and aborts.

    Raises:
        RemoteError: Another process went away.
    """
    if team.processes == 1:
        yield
        return
    try:
        yield
    except BaseException as error:
        if isinstance(error, (RuntimeError, ValueError)) and STATUS.match(str(error)):
            _end_at_once(RemoteError.exit_code)
            raise RemoteError(
                f"A process of the {team.processes} went away, or cannot be reached. What is stored stays: start all "
                f"of them again. ({str(error).splitlines()[0]})"
            ) from error
        _end_at_once(130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1))
        raise


def _end_at_once(exit_code: int) -> None:
    """Leave with an exit code when Python ends, before JAX notices it."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)

    atexit.register(leave)


def share_of(team: Team) -> Share:
    """Rows of each batch that this process reads."""
    if keras.backend.backend() != "jax":  # TensorFlow's strategy deals out any batch
        return Share(team.process, team.processes)
    return Share(team.process, team.processes, max(1, len(gpus()) // team.processes))


def from_first(team: Team, told: Callable[[], bytes]) -> bytes:
    """The first process's bytes, in all of them; it alone calls the function."""
    if team.processes == 1:
        return told()
    return importlib.import_module("lmk.models.device_jax").from_first(told() if team.process == 0 else b"")


def file_of_first(team: Team, path: Path) -> None:
    """Bring a file to what it is in the first process' workspace: the same bytes, or none."""
    if team.processes == 1:
        return
    sent = from_first(team, lambda: b"1" + path.read_bytes() if path.exists() else b"0")
    if team.process == 0:
        return
    if sent[:1] == b"0":
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as draft:
        draft.write_bytes(sent[1:])


def agree(team: Team, digest: str, what: str) -> None:
    """Check that all processes were given the same.

    Args:
        digest: Digest of what they were given, as long in each of them.
        what: For the message.

    Raises:
        LmkError: They were not, in all of them.
    """
    if team.processes == 1:
        return
    told = importlib.import_module("lmk.models.device_jax").from_all(digest.encode())
    other = [process for process, said in enumerate(told) if said != told[0]]
    if other:
        raise LmkError(
            f"Process {other[0]} was given {what} other than process 0: start all of them with the same options, "
            "photos and versions."
        )
