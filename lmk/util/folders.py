"""Folders that are whole or absent: drawn up beside their place as a draft, then renamed into it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmk.util.files import is_alive


@contextmanager
def draft_of(folder: Path, digest: str | None = None) -> Iterator[Path]:
    """A draft that takes the place of `folder`, present or not, when the block ends well.

    What processes that are gone left beside `folder` is removed, or taken over where it has the same `digest`.

    Args:
        folder: What is made.
        digest: Names all that the content depends on, where the block can go on with a part of it: the draft then stays
            when the block is interrupted (Ctrl-C, SIGTERM). The block must write its files whole or not at all.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = _taken_over(folder, digest)
    keep = False
    try:
        yield draft
        draft.chmod(0o755)
        if folder.exists():
            old = draft.with_name(f"{draft.name}.old")
            folder.rename(old)
            draft.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            draft.rename(folder)
    except BaseException as reason:
        keep = digest is not None and not isinstance(reason, Exception)
        raise
    finally:
        if not keep:
            shutil.rmtree(draft, ignore_errors=True)


def _taken_over(folder: Path, digest: str | None) -> Path:
    """A draft of this process: a new one, or one that a process which is gone left with the same digest."""
    prefix = f".{folder.name}.draft."
    end = f".{digest}"
    found: Path | None = None
    for draft in sorted(folder.parent.glob(f"{prefix}*")):
        pid = draft.name.removeprefix(prefix).split(".")[0]
        if not pid.isdecimal() or (is_alive(int(pid)) and int(pid) != os.getpid()):
            continue
        if digest is not None and found is None and draft.name.endswith(end):
            own = draft.with_name(f"{prefix}{os.getpid()}{end}")
            try:
                found = draft if draft == own else draft.rename(own)
            except OSError:  # another process was quicker, or this one makes it already
                continue
        else:
            shutil.rmtree(draft, ignore_errors=True)
    if found is not None:
        return found
    if digest is None:
        return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}.", dir=folder.parent))
    fresh = folder.parent / f"{prefix}{os.getpid()}{end}"
    fresh.mkdir()
    return fresh
