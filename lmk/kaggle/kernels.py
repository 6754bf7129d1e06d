"""Kernels: a folder each, with settings, a short script, and the memory of what was pushed."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmk.kaggle.api import Client
from lmk.kaggle.metadata import FILE_NAME, Metadata, read_metadata, slugify
from lmk.util.errors import LmkError, did_you_mean, quoted
from lmk.util.files import write_json
from lmk.util.schema import check_types

MEMORY = "versions.json"
DEFAULT_ROOT = Path("kernels")


@dataclass(frozen=True)
class Version:
    """A push that Kaggle took.

    Attributes:
        version: The number that came back; a code submission needs it, and Kaggle lists none.
        ref: OWNER/SLUG.
        bundle: Digest of the lmk in it.
        script: SHA-256 of all that was sent, settings too.
        pushed: When, ISO 8601 in UTC.
    """

    version: int
    ref: str
    bundle: str
    script: str
    pushed: str
    url: str


@dataclass(frozen=True)
class Kernel:
    """A kernel's folder."""

    folder: Path

    @classmethod
    def open(cls, name: str, root: Path | None = None) -> "Kernel":
        """The kernel of that name in `root` (`LMK_KERNELS`, else ./kernels).

        Raises:
            LmkError: There is none, or the name is a path.
        """
        root = root or kernels_root()
        check_name(name)
        folder = root / name
        if not (folder / FILE_NAME).is_file():
            known = sorted(path.parent.name for path in root.glob(f"*/{FILE_NAME}"))
            hint = did_you_mean(name, known) or (
                f" There are {', '.join(known)}." if known else " There is none at all."
            )
            raise LmkError(f"There is no kernel '{name}' in {root}.{hint} `lmk kernel new` makes one.")
        return cls(folder)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    def metadata(self, owner: str) -> Metadata:
        """The checked settings."""
        return read_metadata(self.folder, owner)

    def versions(self) -> list[Version]:
        """Versions that were pushed, oldest first."""
        path = self.folder / MEMORY
        try:
            found = [Version(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
            for version in found:
                check_types(version)
            return found
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise LmkError(
                f"{path} cannot be read ({quoted(str(error))}). Fix it, or remove it and push again."
            ) from error

    def remember(self, version: Version) -> None:
        """Add a push to the memory."""
        write_json(self.folder / MEMORY, [asdict(known) for known in [*self.versions(), version]])

    def pushed(self, version: int | None = None) -> Version:
        """A pushed version, the last by default.

        Raises:
            LmkError: There is none of that number.
        """
        known = self.versions()
        if not known:
            raise LmkError(f"Kernel {self.name} was never pushed from here. Run `lmk kernel push {self.name}`.")
        if version is None:
            return known[-1]
        found = next((entry for entry in known if entry.version == version), None)
        if found is None:
            numbers = ", ".join(str(entry.version) for entry in known)
            raise LmkError(f"Kernel {self.name} has no version {version} pushed from here; it has {numbers}.")
        return found


def kernels_root() -> Path:
    """The folder of kernels."""
    return Path(os.environ.get("LMK_KERNELS") or DEFAULT_ROOT)


def check_name(name: str) -> None:
    """Refuse a name that is not one plain part of a path: folders of this name are made, emptied and removed.

    Raises:
        LmkError: Says what to write in its place.
    """
    if not name or name.startswith(".") or any(letter in "/\\" or not letter.isprintable() for letter in name):
        plain = Path(name).name
        hint = f" Write {plain}." if plain and not plain.startswith(".") and plain.isprintable() else ""
        raise LmkError(f"{name!r} is no name of a kernel, which is that of its folder alone.{hint}")


def new_kernel(root: Path, name: str, script: str, competition: str, **settings: Any) -> Kernel:
    """Make a kernel's folder with settings that pass the checks.

    Args:
        root: Folder of kernels.
        name: Name of the kernel; its slug on Kaggle is `lmk-NAME`.
        script: Text of its script.
        competition: Slug of the attached competition.
        settings: Other keys of kernel-metadata.json.

    Raises:
        LmkError: The name is taken or makes no slug.
    """
    check_name(name)
    folder = root / name
    if folder.exists():
        raise LmkError(f"{folder} is there already. Choose another name, or edit it.")
    if slugify(name) != name or len(name) > 46:
        raise LmkError(f"'{name}' makes no slug: write a-z, 0-9 and single hyphens, at most 46 characters.")
    folder.mkdir(parents=True)
    (folder / f"{name}.py").write_text(script, encoding="utf-8")
    values: dict[str, Any] = {
        "id": f"lmk-{name}",
        "title": f"lmk {name}",
        "code_file": f"{name}.py",
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "competition_sources": [competition],
        "dataset_sources": [],
        "kernel_sources": [],
    }
    (folder / FILE_NAME).write_text(json.dumps(values | settings, indent=2) + "\n", encoding="utf-8")
    return Kernel(folder)


# Answers of Kaggle about a kernel


@dataclass(frozen=True)
class Status:
    """State of a kernel's last run; `state` is queued, running, complete, error, cancel_requested or the like."""

    state: str
    failure: str

    @property
    def finished(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("complete", "error", "cancel_acknowledged")


@dataclass(frozen=True)
class Output:
    """One file of a kernel's run."""

    name: str
    url: str


def status_of(client: Client, ref: str) -> Status:
    """How the last run of OWNER/SLUG stands."""
    answer = client.read(f"read the status of kernel {ref}", lambda: client.api.kernels_status(ref))
    return Status(answer.status.name.lower(), answer.failure_message or "")


def log_of(client: Client, ref: str) -> str:
    """The log of the last run, as text; empty while there is none."""
    raw = client.read(f"read the log of kernel {ref}", lambda: client.api.kernels_logs(ref))
    try:
        events = json.loads(raw)
    except ValueError:
        return raw
    if not isinstance(events, list):
        return raw
    return "".join(str(event.get("data", "")) for event in events if isinstance(event, dict))


def outputs_of(client: Client, ref: str) -> list[Output]:
    """The files that the last run left."""
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    owner, slug = ref.split("/")
    found: list[Output] = []
    token = ""
    while True:
        wanted = ApiListKernelSessionOutputRequest()
        wanted.user_name, wanted.kernel_slug, wanted.page_size, wanted.page_token = owner, slug, 100, token
        answer = client.read(f"list the output of kernel {ref}", _output_request(client, wanted))
        found += [Output(file.file_name, file.url) for file in answer.files or []]
        token = answer.next_page_token
        if not token:
            return found


def _output_request(client: Client, wanted: Any) -> Callable[[], Any]:
    def request() -> Any:
        with client.api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.list_kernel_session_output(wanted)

    return request


def source_of(client: Client, ref: str) -> tuple[str, int]:
    """The script that Kaggle holds of OWNER/SLUG, and its version's number."""
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

    wanted = ApiGetKernelRequest()
    wanted.user_name, wanted.kernel_slug = ref.split("/")

    def request() -> Any:
        with client.api.build_kaggle_client() as kaggle:
            return kaggle.kernels.kernels_api_client.get_kernel(wanted)

    answer = client.read(f"read kernel {ref}", request)
    return answer.blob.source, answer.metadata.current_version_number
