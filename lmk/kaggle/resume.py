"""Going on in a new session: what an earlier session left and Kaggle attached is copied into the workspace."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lmk.util.errors import LmkError, reason_of
from lmk.util.files import atomic_path

MANIFEST = "lmk-kernel.json"
KEPT = ("predictions", "weights", "stores", "runs", "submissions")
"""Folders of a workspace that a kernel leaves and `lmk kernel pull` brings home."""
DEPTHS = ("*", "*/*", "*/*/*", "*/*/*/*")
"""Where an attached source may lie below /kaggle/input; a competition's photos lie deeper or hold no manifest."""


@dataclass(frozen=True)
class Earlier:
    """Files that an earlier session left.

    Attributes:
        folder: Holds the files, by their names in a workspace or flat (`flat_name`).
        session: Number of that session, from 1.
        files: SHA-256 by name in a workspace.
    """

    folder: Path
    session: int
    files: dict[str, str]


def flat_name(name: str) -> str:
    """A file's name without folders: datasets hold no folders."""
    return name.replace("/", "__")


def is_place(name: str) -> bool:
    """Whether a name in a manifest is one of a file below the kept folders of a workspace."""
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and parts[0] in KEPT and ".." not in parts and "\\" not in name and name.isprintable()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, all 64 digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def earlier_session(root: Path, kernel: str) -> Earlier | None:
    """The latest unfinished session of `kernel` whose output is attached below `root`; None where there is none."""
    found = []
    for depth in DEPTHS:
        for path in root.glob(f"{depth}/{MANIFEST}"):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                if values["kernel"] != kernel or values["finished"]:
                    continue
                files = {str(name): str(entry["sha256"]) for name, entry in values["files"].items()}
                if not all(is_place(name) for name in files):
                    raise ValueError("a name leads outside the workspace")
                found.append(Earlier(path.parent, int(values["session"]), files))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                print(f"{path} is no list of a session's files ({reason_of(error)}) and is not used", flush=True)
    return max(found, key=lambda earlier: earlier.session, default=None)


def restore(earlier: Earlier, workspace: Path) -> int:
    """Copy the files of an earlier session into a workspace; returns how many came.

    A file of the list that is not attached is left out: a dataset of a checkpoint holds no stored features, which are
    then computed anew.

    Raises:
        LmkError: A file differs from its SHA-256; training from it would end in other weights.
    """
    count = 0
    for name, sha256 in earlier.files.items():
        source = next(
            (path for path in (earlier.folder / name, earlier.folder / flat_name(name)) if path.is_file()), None
        )
        if source is None:
            continue
        with atomic_path(workspace / name) as draft:
            shutil.copyfile(source, draft)
            if sha256_of(draft) != sha256:
                raise LmkError(
                    f"{source} differs from what session {earlier.session} left (its SHA-256): it came damaged. "
                    "`lmk kernel train` goes on from the copy that it checked."
                )
        count += 1
    return count
