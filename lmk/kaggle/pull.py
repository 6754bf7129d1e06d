"""Bringing home what a kernel left: every file checked against the kernel's own list, then put into the workspace."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from lmk.kaggle.api import Client
from lmk.kaggle.download import small
from lmk.kaggle.kernels import Kernel, Version, outputs_of, source_of, status_of
from lmk.kaggle.resume import KEPT, MANIFEST, is_place, sha256_of
from lmk.predictions import Predictions, read_submission
from lmk.util.errors import LmkError, RemoteError, quoted
from lmk.util.files import NPZ_DAMAGE
from lmk.util.progress import Progress, silent
from lmk.util.workspace import Workspace

HDF5 = b"\x89HDF\r\n\x1a\n"
DAMAGE = (LmkError, *NPZ_DAMAGE)
"""Errors in reading a file that is not of the format of its name: a header may claim any size."""


@dataclass(frozen=True)
class Entry:
    """A file that the kernel left: size in bytes, SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The kernel's list of what it left.

    Attributes:
        kernel: Its name here.
        bundle: Digest of the lmk that ran.
        recipes: Recipes that it trained.
        keras: Version of Keras that computed; `backend` is its backend.
        versions: Versions of Python and of the packages whose numbers may differ.
        commands: What the script ran of lmk, word by word; a path below /kaggle/input as `input:REST`.
        finished: Whether training ended; else checkpoints are among the files.
        session: Number of the session, from 1.
    """

    kernel: str
    bundle: str
    competition: str
    recipes: list[str]
    keras: str
    backend: str
    files: dict[str, Entry]
    versions: dict[str, str] = field(default_factory=dict)
    commands: list[list[str]] = field(default_factory=list)
    finished: bool = True
    session: int = 1


@dataclass
class Pulled:
    """Result of a pull: files that are new here, files that were here already, and by whose list."""

    manifest: Manifest
    new: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def read_manifest(path: Path) -> Manifest:
    """The list in `lmk-kernel.json`.

    Raises:
        RemoteError: The file is no JSON.
        LmkError: It is no such list, or names a file outside the folders that lmk brings home.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RemoteError(
            f"{path.name} came damaged or cut short ({quoted(str(error))}); nothing is taken. Pull again."
        ) from error
    try:
        manifest = Manifest(
            kernel=str(values["kernel"]),
            bundle=str(values["bundle"]),
            competition=str(values["competition"]),
            recipes=[str(recipe) for recipe in values["recipes"]],
            keras=str(values["keras"]),
            backend=str(values["backend"]),
            files={
                str(name): Entry(int(entry["size"]), str(entry["sha256"])) for name, entry in values["files"].items()
            },
            versions={str(name): str(version) for name, version in values.get("versions", {}).items()},
            commands=[[str(word) for word in command] for command in values.get("commands", [])],
            finished=bool(values.get("finished", True)),
            session=int(values.get("session", 1)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise LmkError(f"{path.name} is no list of a kernel's files ({quoted(error)}).") from error
    for name in manifest.files:
        if not is_place(name):
            raise LmkError(f"{path.name} names {quoted(name)}, which is no place in a workspace; nothing is taken.")
    return manifest


PREDICTIONS = ("predictions", "runs", "submissions")
"""Folders that hold predictions, the records of runs and their submissions: small, where weights and stores are not."""


def pull(
    client: Client,
    kernel: Kernel,
    workspace: Path,
    seconds: float,
    progress: Progress = silent,
    folders: Sequence[str] = KEPT,
) -> Pulled:
    """Bring the output of the kernel's last run into a workspace.

    Args:
        client: Kaggle.
        kernel: Its last pushed version says which lmk the output must come from.
        workspace: The workspace's folder.
        seconds: Longest silence of Kaggle.
        progress: Shows the files that came.
        folders: Folders of the workspace to bring, all by default.

    Raises:
        LmkError: The run is not complete or not the version pushed last, left no list, or is another lmk's; nothing is
            taken.
        RemoteError: A file is missing, cut short or a web page; nothing is taken.
    """
    version = kernel.pushed()
    status = status_of(client, version.ref)
    if status.state != "complete":
        why = f": {status.failure}" if status.failure else ""
        state = "failed" if status.state == "error" else f"is {status.state}"
        raise LmkError(f"Kernel {version.ref} {state}{why}. See `lmk kernel logs {kernel.name}`.")
    check_version(client, version)
    urls = {output.name: output.url for output in outputs_of(client, version.ref)}
    if MANIFEST not in urls:
        raise LmkError(f"Kernel {version.ref} left no {MANIFEST}; let its script end with `lmk.kaggle.inside.leave`.")
    workspace.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=workspace) as draft:
        folder = Path(draft)

        def bring(name: str) -> None:
            if name not in urls:
                raise RemoteError(f"Kernel {version.ref} lists {name} but did not leave it. Push it again.")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            small(f"download {name} of kernel {version.ref}", urls[name], folder / name, seconds)

        bring(MANIFEST)
        manifest = read_manifest(folder / MANIFEST)
        check_origin(manifest, version)
        chosen = {name: entry for name, entry in manifest.files.items() if name.split("/")[0] in folders}
        manifest = replace(manifest, files=chosen)
        return take(manifest, folder, workspace, bring, progress)


def check_version(client: Client, version: Version) -> None:
    """Refuse the output of a version that was pushed elsewhere: Kaggle gives that of the last version alone.

    Raises:
        LmkError: Kaggle's last version is not the one pushed last from here.
    """
    _, current = source_of(client, version.ref)
    if current != version.version:
        raise LmkError(
            f"Kaggle's last version of {version.ref} is {current}, but the last one pushed from here is "
            f"{version.version}. Pull where it was pushed, or push again from here."
        )


def check_origin(manifest: Manifest, version: Version) -> None:
    """Refuse the output of another lmk than the one that was pushed: its digests would not mean the same here."""
    if manifest.bundle != version.bundle:
        raise LmkError(
            f"The output of {version.ref} was made by the lmk of bundle {manifest.bundle or 'unknown'}, but version "
            f"{version.version} was pushed with {version.bundle}. Wait for its run, or push again."
        )


def take(
    manifest: Manifest,
    folder: Path,
    workspace: Path,
    bring: Callable[[str], None] = lambda name: None,
    progress: Progress = silent,
) -> Pulled:
    """Check the listed files in `folder` (where `bring` puts each first) and move them into the workspace.

    A file that is in the workspace stays: its name holds the digest of all that it depends on. The workspace remembers
    which Keras computed them, for its version is a part of these digests.

    Raises:
        RemoteError: A file differs from the list.
        LmkError: A file does not hold what its name says.
    """
    pulled = Pulled(manifest)
    with progress(f"Pull {manifest.kernel}", len(manifest.files), "files") as advance:
        for name, entry in manifest.files.items():
            if (workspace / name).exists():
                pulled.kept.append(name)
            else:
                bring(name)
                check_file(folder / name, name, entry)
                pulled.new.append(name)
            advance(1)
    for name in pulled.new:
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / name, workspace / name)
    Workspace(workspace).remember_library((manifest.keras, manifest.backend))
    return pulled


def check_file(path: Path, name: str, entry: Entry) -> None:
    """Refuse a file that is not the listed one, or that does not hold what its name says."""
    size = path.stat().st_size if path.is_file() else 0
    if size != entry.size:
        raise RemoteError(f"{name} came with {size:,} of {entry.size:,} bytes; nothing is taken. Pull again.")
    if sha256_of(path) != entry.sha256:
        raise RemoteError(f"{name} came changed (its SHA-256 differs); nothing is taken. Pull again.")
    try:
        _check_content(path, name)
    except DAMAGE as error:
        raise LmkError(
            f"{name} of the kernel does not hold what its name says; nothing is taken: {quoted(str(error), 300)}"
        ) from error


def _check_content(path: Path, name: str) -> None:
    kind = PurePosixPath(name).suffix
    if kind == ".parquet":
        scores = Predictions.load(path).scores
        if np.isnan(scores).any():
            raise ValueError("some scores are NaN.")
    elif kind == ".h5":
        with path.open("rb") as file:
            if file.read(len(HDF5)) != HDF5:
                raise ValueError("it is no HDF5 file.")
    elif kind == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            for name_of_array in arrays.files:
                # This checks the sum of what it reads, refuses objects, and gives what is no array as bytes.
                if not isinstance(arrays[name_of_array], np.ndarray):
                    raise ValueError(f"'{name_of_array}' is no array.")
    elif kind == ".csv":
        read_submission(path)
    elif kind == ".sha256":
        if not re.match(r"[0-9a-f]{64} ", path.read_text(encoding="utf-8")):
            raise ValueError("it holds no checksum.")
    elif kind == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    else:
        raise ValueError(f"lmk takes no {kind or 'such'} files from a kernel.")
