"""Pushing a kernel: checked before, heard after, sent once."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lmk.kaggle.api import Client
from lmk.kaggle.bundle import Bundle, check_for_secrets, make_bundle
from lmk.kaggle.faults import NoAnswer, ServerFault
from lmk.kaggle.kernels import Kernel, Version, source_of
from lmk.kaggle.metadata import FILE_NAME, Metadata
from lmk.kaggle.records import now
from lmk.util.errors import LimitError, LmkError


@dataclass(frozen=True)
class Prepared:
    """A kernel as it will be sent."""

    metadata: Metadata
    bundle: Bundle

    @property
    def digest(self) -> str:
        """SHA-256 of the script and the settings."""
        settings = json.dumps(dict(self.metadata.values), sort_keys=True)
        return hashlib.sha256(f"{self.bundle.text}\n{settings}".encode()).hexdigest()


def prepare(kernel: Kernel, owner: str, secrets: list[str], wheels: str | None = None) -> Prepared:
    """Check a kernel and bundle it.

    Args:
        kernel: Its folder.
        owner: The account that pushes.
        secrets: This machine's credentials, which must not be in it.
        wheels: "owner/slug" of a dataset of wheels to attach.

    Raises:
        LmkError: The settings are wrong, a credential would go with it, or it is too large.
    """
    metadata = kernel.metadata(owner)
    if wheels:
        sources = [*metadata.values.get("dataset_sources", []), wheels]
        metadata = Metadata({**metadata.values, "dataset_sources": sources}, metadata.folder)
    settings = json.dumps(dict(metadata.values), indent=2, ensure_ascii=False).encode()
    check_for_secrets({FILE_NAME: settings}, secrets)
    return Prepared(metadata, make_bundle(metadata.script, secrets))


def push(
    client: Client, kernel: Kernel, prepared: Prepared, again: bool = False, seconds: int | None = None
) -> Version:
    """Send a kernel to Kaggle, which runs it at once.

    Args:
        client: Kaggle.
        kernel: Remembers the version that comes back.
        prepared: What is sent.
        again: Send it although its last version is the same.
        seconds: Longest run.

    Raises:
        LmkError: Kaggle refuses it or runs it without some of its sources, or nothing changed since the last push.
        LimitError: No hours of the accelerator are left this week.
        RemoteError: Kaggle failed; whether a version was made is said.
    """
    known = [version for version in kernel.versions() if version.script == prepared.digest]
    if known and known[-1] == kernel.versions()[-1] and not again:
        raise LmkError(
            f"Version {known[-1].version} of {prepared.metadata.ref} is the same to the last byte. Add --again to run "
            "it once more."
        )
    if prepared.metadata.values.get("enable_gpu"):
        check_hours(client)
    with tempfile.TemporaryDirectory(prefix="lmk-push-") as draft:
        folder = Path(draft)
        (folder / FILE_NAME).write_text(json.dumps(dict(prepared.metadata.values)), encoding="utf-8")
        (folder / prepared.metadata.script.name).write_text(prepared.bundle.text, encoding="utf-8")
        try:
            answer = client.write(
                f"save kernel {prepared.metadata.ref}",
                lambda: client.api.kernels_push(str(folder), str(seconds) if seconds else None),
            )
        except (NoAnswer, ServerFault) as lost:
            return _remember(kernel, prepared, _found(client, kernel, prepared, lost), "")
    if answer.error:
        raise LmkError(f"Kaggle refused kernel {prepared.metadata.ref}: {answer.error}")
    if not answer.version_number:
        raise LmkError(
            f"Kaggle took kernel {prepared.metadata.ref} but gave no version. See {answer.url or 'the site'}."
        )
    version = _remember(kernel, prepared, answer.version_number, answer.url)
    dropped = [
        name
        for kind in ("dataset", "competition", "kernel", "model")
        for name in getattr(answer, f"invalid_{kind}_sources") or []
    ]
    if dropped:
        raise LmkError(
            f"Kaggle runs version {version.version} of {version.ref} without {', '.join(dropped)}: misspelt, "
            f"private, or rules not accepted. Stop that run at {version.url}, fix {FILE_NAME}, and push again."
        )
    return version


def _remember(kernel: Kernel, prepared: Prepared, number: int, url: str) -> Version:
    version = Version(number, prepared.metadata.ref, prepared.bundle.digest, prepared.digest, now(), url)
    kernel.remember(version)
    return version


def _found(client: Client, kernel: Kernel, prepared: Prepared, lost: LmkError) -> int:
    """The number of the version that was made although its answer was lost."""
    try:
        source, number = source_of(client, prepared.metadata.ref)
    except LmkError:
        raise lost from None
    if source != prepared.bundle.text or number in [version.version for version in kernel.versions()]:
        raise lost
    return number


def check_hours(client: Client) -> float | None:
    """Hours of GPU left this week; None where Kaggle does not tell.

    Raises:
        LimitError: None are left.
    """
    try:
        answer = client.read("tell the accelerator hours", client.api.quota_view)
    except NoAnswer:
        return None
    quota = getattr(answer, "gpu_quota", None)
    if quota is None or quota.total_time_allowed is None:
        return None
    used = quota.time_used.total_seconds() if quota.time_used else 0.0
    left = (quota.total_time_allowed.total_seconds() - used) / 3600
    if left <= 0:
        when = answer.quota_refresh_time
        raise LimitError(
            f"No GPU hours are left this week; they come back {when:%Y-%m-%d %H:%M} UTC. "
            'Write "enable_gpu": false to run on a CPU.'
        )
    return left
