"""Whether a file can be written where a person asks for it: looked at before anything is computed for it."""

import os
import tempfile
from pathlib import Path

from lmk.util.errors import LmkError
from lmk.util.files import nearest_there


def check_out(path: Path, option: str = "--out") -> Path:
    """Where to write `path`: with its `~` resolved, and a link's target in place of the link.

    Nothing is left behind and no folder is made. A device or pipe would be replaced by a file, or waited for, for ever.

    Raises:
        LmkError: It is a folder, a device or a pipe, its name is no file's, or it cannot be written there.
    """
    if not path.name or path.name in (".", "..") or str(path).endswith("/"):
        raise LmkError(f"{option} {path} names no file. Name one, such as {path / 'submission.csv'}.")
    if "\0" in str(path):
        raise LmkError(f"{option} cannot be written: its name holds a null character.")
    try:
        path = path.expanduser()
    except RuntimeError as error:  # a `~user` that nobody is
        raise LmkError(f"{option} {path}: there is no home folder of that name. Write the path in full.") from error
    try:
        target = path.resolve(strict=False) if path.is_symlink() else path
        if target.is_dir():
            raise LmkError(f"{option} {path} is a folder. Name a file in it, such as {path / 'submission.csv'}.")
        if target.exists() and not target.is_file():
            raise LmkError(f"{option} {path} is a device or pipe, not a file. Name a file.")
        if len(os.fsencode(target.name)) > 200:  # drafts beside it have longer names
            raise LmkError(f"{option} {path} has a name of more than 200 bytes. Name a shorter one.")
        existing = nearest_there(target.parent)
    except (OSError, RuntimeError, ValueError) as error:  # too long, a circle of links, a null character
        raise LmkError(f"{option} {path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    if not existing.is_dir():
        raise LmkError(f"{option} {path} cannot be written: {existing} is a file, not a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise LmkError(f"{option} {path} cannot be written: no right to write in {existing}. Name another place.")
    try:
        with tempfile.TemporaryFile(dir=existing):  # rights alone do not tell of /sys, a quota or a full disk
            pass
    except OSError as error:
        raise LmkError(
            f"{option} {path} cannot be written: {existing}: {error.strerror}. Name another place."
        ) from error
    return target
