"""Pushing a kernel: checked before, its answer read after, sent once."""

import ast
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmk.kaggle.api import Client
from lmk.kaggle.bundle import Bundle, check_for_secrets, make_bundle
from lmk.kaggle.datasets import exists
from lmk.kaggle.faults import NoAnswer, ServerFault
from lmk.kaggle.kernels import Kernel, Version, source_of
from lmk.kaggle.metadata import FILE_NAME, Metadata
from lmk.kaggle.quota import accelerator, check_hours
from lmk.kaggle.records import now
from lmk.kaggle.session import LONGEST
from lmk.util.errors import LmkError


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


def prepare(
    kernel: Kernel,
    owner: str,
    secrets: list[str],
    wheels: str | None = None,
    seconds: float | None = None,
    sources: Mapping[str, Sequence[str]] | None = None,
) -> Prepared:
    """Check a kernel and bundle it.

    Args:
        kernel: Its folder.
        owner: The account that pushes.
        secrets: This machine's credentials, which must not be in it.
        wheels: "owner/slug" of a dataset of wheels to attach.
        seconds: The session's limit; Kaggle's own by default.
        sources: More sources to attach, by key of the settings: `{"kernel_sources": ["owner/slug"]}`.

    Raises:
        LmkError: The settings are wrong, weights are missing, a credential would go with it, or it is too large.
    """
    metadata = kernel.metadata(owner)
    values = dict(metadata.values)
    check_weights(metadata)
    added = [("dataset_sources", [wheels] if wheels else []), *(sources or {}).items()]
    for key, refs in added:
        if refs:
            values[key] = list(dict.fromkeys([*values.get(key, []), *refs]))
    metadata = Metadata(values, metadata.folder)
    settings = json.dumps(dict(metadata.values), indent=2, ensure_ascii=False).encode()
    check_for_secrets({FILE_NAME: settings}, secrets)
    return Prepared(metadata, make_bundle(metadata.script, secrets, seconds or longest_session(values)))


def check_weights(metadata: Metadata) -> None:
    """Refuse a kernel whose script looks for attached weights while its settings attach nothing that could hold them.

    Raises:
        LmkError: The run would end with that very error, after minutes of a session.
    """
    sources = [
        name for key in ("dataset_sources", "model_sources", "kernel_sources") for name in _listed(metadata, key)
    ]
    if sources or metadata.values.get("enable_internet"):
        return
    try:
        tree = ast.parse(metadata.script.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise LmkError(f"{metadata.script} is no Python script that runs: {error}") from error
    if any(isinstance(node, ast.Name) and node.id == "weights_folder" for node in ast.walk(tree)):
        raise LmkError(
            f"{metadata.folder / FILE_NAME} attaches no weights, and {metadata.script.name} needs them. Run "
            f"`lmk weights push FOLDER --attach {metadata.folder.name}`, or add a dataset or a model."
        )


def check_own_datasets(client: Client, metadata: Metadata) -> None:
    """Refuse to run a kernel without a dataset of this account that is not there: Kaggle would run it all the same.

    Raises:
        LmkError: A dataset is missing.
    """
    for ref in _listed(metadata, "dataset_sources"):
        if ref.split("/")[0] == client.username and not exists(client, ref):
            raise LmkError(
                f"{metadata.folder / FILE_NAME} attaches dataset {ref}, which is not on Kaggle. Make it by "
                f"`lmk weights push FOLDER --dataset {ref.split('/')[1]}`, or attach another."
            )


def _listed(metadata: Metadata, key: str) -> list[str]:
    return list(metadata.values.get(key, []))


def longest_session(values: Mapping[str, object]) -> int:
    """Seconds that Kaggle lets a kernel with these settings run."""
    return LONGEST[accelerator(values) or "cpu"]


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
    check_own_datasets(client, prepared.metadata)
    if kind := accelerator(prepared.metadata.values):
        check_hours(client, kind)
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
