"""The memory of a training in sessions: `training.json` of the kernel's folder."""

import json
from dataclasses import dataclass, field

from lmk.kaggle.kernels import Kernel
from lmk.util.errors import LmkError, quoted
from lmk.util.schema import check_types

MEMORY = "training.json"

RUNNING, UNFINISHED, FAILED, FINISHED = "running", "unfinished", "failed", "finished"


@dataclass
class Session:
    """One push of a training.

    Attributes:
        version: The kernel's version on Kaggle.
        seconds: The session's limit.
        pushed: When, ISO 8601 in UTC.
        source: Where its checkpoint came from: `kernel` (the kernel's own last output), `dataset`, or "" for none.
        state: running, unfinished, failed or finished.
        why: Kaggle's reason of a failure.
        number: How many sessions the training had with this one, those that failed left out.
        checkpoint: Digest of the checkpoint that it left.
    """

    version: int
    seconds: int
    pushed: str
    source: str = ""
    state: str = RUNNING
    why: str = ""
    number: int = 0
    checkpoint: str = ""


@dataclass
class Training:
    """A kernel's training; what `training.json` holds.

    Attributes:
        script: Digest of lmk and of the kernel's script.
        sessions: Pushes, oldest first.
        pushing: Limit and source of a push whose answer is not known yet; None without one.
        published: Digest of the checkpoint that the dataset holds.
    """

    script: str = ""
    sessions: list[Session] = field(default_factory=list)
    pushing: dict[str, object] | None = None
    published: str = ""

    @property
    def last(self) -> Session | None:
        """The latest push."""
        return self.sessions[-1] if self.sessions else None

    @property
    def failures(self) -> int:
        """How many of the latest sessions failed in a row."""
        states = [session.state for session in reversed(self.sessions) if session.state != RUNNING]
        return next((row for row, state in enumerate(states) if state != FAILED), len(states))


def read_training(kernel: Kernel) -> Training:
    """The memory of a kernel's training; empty where there was none.

    Raises:
        LmkError: The file is damaged.
    """
    path = kernel.folder / MEMORY
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["sessions"] = [Session(**session) for session in values["sessions"]]
        training = Training(**values)
        for part in (training, *training.sessions):
            check_types(part)
        return training
    except FileNotFoundError:
        return Training()
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise LmkError(
            f"{path} cannot be read ({quoted(str(error))}). Remove it: training then begins anew."
        ) from error
