"""Training in sessions: push, wait, bring the checkpoint home, push again with it attached, until trained.

All that the loop knows is in `training.json` of the kernel's folder, written before and after each request that changes
something; a loop that was killed is called again and goes on.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lmk.kaggle.api import Client
from lmk.kaggle.datasets import publish
from lmk.kaggle.download import small
from lmk.kaggle.faults import NoAnswer
from lmk.kaggle.follow import wait_until_finished
from lmk.kaggle.kernels import Kernel, Status, Version, outputs_of, source_of, status_of
from lmk.kaggle.pull import Manifest, Pulled, check_file, check_origin, pull, read_manifest
from lmk.kaggle.push import Prepared, longest_session, prepare, push
from lmk.kaggle.quota import Quota, accelerator, read_quota
from lmk.kaggle.records import now
from lmk.kaggle.resume import MANIFEST, flat_name
from lmk.kaggle.training_memory import FAILED, FINISHED, MEMORY, RUNNING, UNFINISHED, Session, Training, read_training
from lmk.util.errors import LimitError, LmkError, RemoteError
from lmk.util.files import write_json
from lmk.util.progress import Progress, silent

FAILURES = 3
"""Sessions in a row that may fail before the loop gives up: by then the cause is not a passing one."""
LEAST_SECONDS = 1800.0
"""Quota that is worth a session: less is mostly spent on starting and on copying the checkpoint."""
POLL_SECONDS = 15.0
CHECKPOINT_FOLDERS = ("weights/", "predictions/")
"""Parts of an unfinished session's output that are brought home; stored features are large and made anew."""


@dataclass
class TrainingLoop:
    """Trains one kernel over sessions.

    Attributes:
        client: Kaggle.
        kernel: Its script trains within `lmk.kaggle.inside.session`.
        secrets: This machine's credentials, which must not be pushed.
        workspace: Folder of the workspace that the trained weights and predictions are pulled into.
        seconds: Longest session; Kaggle's own limit by default.
        every: Seconds between two looks at a running session.
        timeout: Longest silence of Kaggle in one request, in seconds.
        wheels: "owner/slug" of a dataset of wheels to attach.
        tell: Called with a line on each step.
        progress: For downloads.
        sleep: Waits; tests give their own.
    """

    client: Client
    kernel: Kernel
    secrets: list[str]
    workspace: Path
    seconds: float | None = None
    every: float = POLL_SECONDS
    timeout: float = 30.0
    wheels: str | None = None
    tell: Callable[[str], None] = lambda text: None
    progress: Progress = silent
    sleep: Callable[[float], None] = time.sleep
    training: Training = field(init=False)

    def __post_init__(self) -> None:
        self.training = read_training(self.kernel)

    def run(self, wait: bool = True, again: bool = False) -> Pulled | None:
        """Train until the kernel is trained, and pull its result.

        Args:
            wait: Wait for sessions and for the weekly quota; else do what can be done now.
            again: Begin anew although the kernel is trained, or go on although several sessions failed in a row.

        Returns:
            What came home; None where the training goes on and `wait` is off.

        Raises:
            LmkError: Sessions failed in a row, a session was cancelled, or the output is not what was pushed.
            LimitError: The weekly quota is spent, and `wait` is off.
            RemoteError: Kaggle failed; the same call goes on.
        """
        self._begin(again)
        while True:
            last = self.training.last
            if last is not None and last.state == RUNNING:
                status = self._status(wait)
                if not status.finished:
                    self.tell(f"session {len(self.training.sessions)}: version {last.version} is {status.state}")
                    return None
                self._settle(last, status)
            if last is not None and last.state == FINISHED:
                return pull(self.client, self.kernel, self.workspace, self.timeout, self.progress)
            if self.training.failures >= FAILURES and not again:
                why = last.why if last else ""
                raise LmkError(
                    f"{FAILURES} sessions in a row failed, the last with: {why}. See `lmk kernel logs "
                    f"{self.kernel.name}`; `lmk kernel train {self.kernel.name} --again` goes on all the same."
                )
            again = False
            self._push(wait)
            if not wait:
                return None

    # Memory

    def _begin(self, again: bool) -> None:
        """Compare the memory with the kernel as it is now, and look for a push whose answer was never read."""
        script = self._script()
        training = self.training
        trained = training.last is not None and training.last.state == FINISHED
        changed = bool(training.script) and training.script != script
        if trained and (again or changed):
            self.tell("The kernel was trained already; training begins anew.")
            shutil.rmtree(self._held, ignore_errors=True)
            self.training = Training()
        elif changed:
            self.tell("lmk or the script changed since the last session: what does not fit any more is trained anew.")
        self.training.script = script
        if self.training.pushing is not None:
            self._adopt()
        self._save()

    def _adopt(self) -> None:
        """Take over a version that was pushed although this loop did not live to read the answer."""
        pushing = self.training.pushing or {}
        known = {version.version for version in self.kernel.versions()}
        recorded = {session.version for session in self.training.sessions}
        prepared = self._prepared(int(str(pushing["seconds"])), str(pushing["source"]))
        number = None
        if known - recorded and max(known) > max(recorded, default=0):
            number = max(known)  # remembered by the push, but not by the loop
        else:
            with suppress(LmkError):  # Kaggle does not know a kernel that was never pushed
                text, current = source_of(self.client, prepared.metadata.ref)
                if text == prepared.bundle.text and current not in known:
                    number = current
                    version = Version(
                        current, prepared.metadata.ref, prepared.bundle.digest, prepared.digest, now(), ""
                    )
                    self.kernel.remember(version)
        if number is not None:
            self.tell(f"Version {number} was pushed by a call that ended before it knew.")
            self.training.sessions.append(Session(number, int(str(pushing["seconds"])), now(), str(pushing["source"])))
        self.training.pushing = None

    def _save(self) -> None:
        write_json(self.kernel.folder / MEMORY, asdict(self.training))

    def _script(self) -> str:
        prepared = self._prepared(None, "")
        return hashlib.sha256(prepared.bundle.digest.encode() + prepared.metadata.script.read_bytes()).hexdigest()[:12]

    # A session's end

    def _status(self, wait: bool) -> Status:
        """The state of the last push; with `wait`, once it has ended."""
        ref = self.kernel.pushed().ref
        if not wait:
            return status_of(self.client, ref)
        return wait_until_finished(self.client, ref, self.every, self.sleep)

    def _settle(self, session: Session, status: Status) -> None:
        """Write down how a session ended, and bring home the checkpoint that it left."""
        label = f"session {len(self.training.sessions)}: version {session.version}"
        if status.state == "complete":
            self._bring(session)
        else:
            session.state = FAILED
            session.why = (status.failure or status.state).strip().rstrip(".")
        if session.state == FAILED:
            self.tell(f"{label} failed: {session.why}")
        elif session.state == UNFINISHED:
            self.tell(f"{label} stopped before its limit and left checkpoint {session.checkpoint}")
        else:
            self.tell(f"{label} finished the training")
        self._save()
        if status.state == "cancel_acknowledged":
            raise LmkError(
                f"Version {session.version} was cancelled on Kaggle. `lmk kernel train {self.kernel.name}` goes on "
                "from the last checkpoint."
            )

    def _bring(self, session: Session) -> None:
        """Read the list that a session left, and copy its checkpoint."""
        version = self.kernel.pushed(session.version)
        urls = {output.name: output.url for output in outputs_of(self.client, version.ref)}
        if MANIFEST not in urls:
            session.state = FAILED
            session.why = f"it left no {MANIFEST}; its script must train within `lmk.kaggle.inside.session`"
            return
        self._held.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".session-", dir=self._held.parent) as name:
            draft = Path(name, "held")
            draft.mkdir()
            small(f"download {MANIFEST}", urls[MANIFEST], draft / MANIFEST, self.timeout)
            manifest = read_manifest(draft / MANIFEST)
            check_origin(manifest, version)
            session.number = manifest.session
            if manifest.finished:
                session.state = FINISHED
                return
            if manifest.session <= self._held_number():
                session.state = FAILED
                session.why = "it began anew, since Kaggle did not attach the checkpoint"
                return
            if _digest(manifest) == self._last_checkpoint():
                session.state = FAILED
                session.why = f"it learned nothing within its limit of {_hours(session.seconds)}"
                return
            self._bring_files(manifest, urls, draft)
            shutil.rmtree(self._held, ignore_errors=True)
            draft.rename(self._held)
        session.state, session.checkpoint = UNFINISHED, _digest(manifest)

    def _bring_files(self, manifest: Manifest, urls: dict[str, str], folder: Path) -> None:
        wanted = {name: entry for name, entry in manifest.files.items() if name.startswith(CHECKPOINT_FOLDERS)}
        with self.progress(f"Checkpoint of {self.kernel.name}", len(wanted), "files") as advance:
            for name, entry in wanted.items():
                if name not in urls:
                    raise RemoteError(f"The session lists {name} but Kaggle does not show it (yet). Call again.")
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                small(f"download {name}", urls[name], folder / name, self.timeout)
                check_file(folder / name, name, entry)
                advance(1)

    @property
    def _held(self) -> Path:
        """The checked copy of the last checkpoint."""
        return self.workspace / "kernels" / f"{self.kernel.name}-checkpoint"

    def _held_number(self) -> int:
        """The session that left the held checkpoint; 0 without one."""
        path = self._held / MANIFEST
        return read_manifest(path).session if path.is_file() else 0

    # A session's start

    def _push(self, wait: bool) -> None:
        seconds = self._session_seconds(wait)
        source = self._source()
        prepared = self._prepared(seconds, source)
        self.training.pushing = {"seconds": seconds, "source": source}
        self._save()
        before = len(self.kernel.versions())
        try:
            push(self.client, self.kernel, prepared, again=True, seconds=seconds)
        finally:  # an error that left it open whether a version was made leaves `pushing` for the next call
            made = self.kernel.versions()[before:]
            if made:
                self.training.sessions.append(Session(made[-1].version, seconds, made[-1].pushed, source))
                self.training.pushing = None
                self._save()
        self.training.pushing = None
        self._save()
        origin = {
            "": "from the beginning",
            "kernel": f"from checkpoint {self._last_checkpoint()}, the kernel's own last output",
            "dataset": f"from checkpoint {self._last_checkpoint()}, attached as a dataset",
        }[source]
        version = self.training.sessions[-1].version
        self.tell(f"session {len(self.training.sessions)}: version {version}, {_hours(seconds)}, {origin}")

    def _session_seconds(self, wait: bool) -> int:
        """The next session's limit, by Kaggle's limit, the person's and the weekly quota."""
        values = self.kernel.metadata(self.client.username).values
        longest = min(self.seconds or longest_session(values), longest_session(values))
        kind = accelerator(values)
        while kind is not None:
            quota = self._quota(kind)
            if quota is None:
                break
            if quota.left * 3600 >= min(longest, LEAST_SECONDS):
                return int(min(longest, quota.left * 3600))
            text = f"{_hours(quota.left * 3600)} of {kind.upper()} are left this week; hours come back {quota.when}."
            if not wait:
                raise LimitError(f"{text} Call `lmk kernel train {self.kernel.name}` again then.")
            self.tell(f"{text} Waiting; this call may be stopped and made again.")
            self.sleep(max(quota.seconds_until_refresh() or 0.0, 600.0))
        return int(longest)

    def _quota(self, kind: str) -> Quota | None:
        try:
            return read_quota(self.client).get(kind)
        except NoAnswer:
            return None

    def _source(self) -> str:
        """Where the next session takes its checkpoint from; publishes the held copy where Kaggle has no other.

        Kaggle attaches a kernel's output as of its last run, so the kernel itself is the source only while that run
        left the checkpoint. After a run that failed, the copy here goes there as a private dataset.
        """
        last = self.training.last
        if not self._held_number():
            return ""
        if last is not None and last.state == UNFINISHED:
            return "kernel"
        checkpoint = self._last_checkpoint()
        if self.training.published != checkpoint:
            files = {MANIFEST: self._held / MANIFEST}
            for path in sorted(path for path in self._held.rglob("*") if path.is_file()):
                files[flat_name(path.relative_to(self._held).as_posix())] = path
            self.tell(f"checkpoint {checkpoint} goes to dataset {self._dataset}")
            publish(self.client, self._dataset, files, f"checkpoint {checkpoint}")
            self.training.published = checkpoint
            self._save()
        return "dataset"

    @property
    def _dataset(self) -> str:
        return f"{self.client.username}/{f'lmk-{self.kernel.name}-checkpoint'[:50].strip('-')}"

    def _last_checkpoint(self) -> str:
        return next((session.checkpoint for session in reversed(self.training.sessions) if session.checkpoint), "")

    def _prepared(self, seconds: float | None, source: str) -> Prepared:
        owner = self.client.username
        own = self.kernel.metadata(owner).ref
        sources = {"": {}, "kernel": {"kernel_sources": [own]}, "dataset": {"dataset_sources": [self._dataset]}}[source]
        return prepare(self.kernel, owner, self.secrets, self.wheels, seconds, sources)


def _digest(manifest: Manifest) -> str:
    """12 hexadecimal digits that name a checkpoint's files."""
    names = sorted(name for name in manifest.files if name.startswith(CHECKPOINT_FOLDERS))
    return hashlib.sha256("".join(name + manifest.files[name].sha256 for name in names).encode()).hexdigest()[:12]


def _hours(seconds: float) -> str:
    """A time span: `11 h 30 min`, `45 min`, or `60 s`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
