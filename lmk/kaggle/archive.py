"""Unpacking an archive from elsewhere: nothing outside the folder, no links, no bombs, no repositories; resumable."""

import errno
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from lmk.util.errors import LmkError, RemoteError, quoted
from lmk.util.files import LOCK, atomic_path
from lmk.util.progress import Progress, silent

LARGEST_RATIO = 100
"""Bytes unpacked for a byte packed, over the whole archive: tables shrink to a tenth, photos hardly."""
ALWAYS_ALLOWED = 100_000_000
"""Bytes that any archive may unpack to, however small it is."""
MOST_FILES = 20_000_000
BLOCK = 1 << 20
"""Bytes that are copied or summed at once."""
LONGEST_NAME = 255
"""Bytes of a file's or a folder's name."""
REPOSITORIES = {".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "cvs", "git~1"}
"""Folders of version control, in lower case: their settings name programs that are run where a person or lmk asks for
the state of the folder. `git~1` is `.git` by its short name on Windows' disks, where a colon ends a name."""
BARE = ({("head", True), ("config", True), ("objects", False)}, {("head", True), ("commondir", True)})
"""Names by which git takes a folder for a repository even without `.git` (the second: one whose settings lie in the
folder that `commondir` names), in lower case, and whether each is a file."""
OWN_NAMES = {".fetched.json", LOCK}
"""Files of lmk's own beside what an archive brings."""
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    ValueError,
    struct.error,
)
"""Errors that zipfile raises on damaged archives; of `OSError` only some."""


def unpack(archive: Path, folder: Path, progress: Progress = silent) -> list[str]:
    """Unpack a zip into `folder`; a file that is there with the right size and checksum (CRC-32) is kept as it is.

    Returns:
        The unpacked files' names, relative to `folder`.

    Raises:
        RemoteError: The archive is damaged or cut short.
        LmkError: The archive is dangerous, or does not fit on the disk.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [member for member in bundle.infolist() if not member.filename.endswith("/")]
            _check(archive, members)
            _check_space(folder, members)
            with progress(f"Unpack {archive.name}", len(members), "files") as advance:
                for member in members:
                    _extract(bundle, member, folder / member.filename)
                    advance(1)
            return [member.filename for member in members]
    except DAMAGE as error:
        mine = (errno.EINVAL, None)  # of a place before the file's beginning; of a decompressor
        if isinstance(error, OSError) and error.errno not in mine:
            raise
        raise RemoteError(
            f"{archive.name} is no whole zip ({quoted(str(error))}). Remove {archive} and fetch again."
        ) from error


def _extract(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    if _is_there(path, member):
        return
    with atomic_path(path) as draft, bundle.open(member) as source, draft.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)  # zipfile stops at the declared size and checks the CRC


def _is_there(path: Path, member: zipfile.ZipInfo) -> bool:
    """Whether the file has the member's size and CRC-32: a photo that was replaced may have kept its size."""
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc == member.CRC


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_FILES:
        raise LmkError(f"{archive.name} claims {len(members):,} files; lmk unpacks at the most {MOST_FILES:,}.")
    seen: set[str] = set()
    folders: set[str] = set()
    for member in members:
        if problem := _problem(member):
            raise LmkError(f"{archive.name} is not unpacked: {quoted(member.filename)} {problem}.")
        path = PurePosixPath(member.filename)
        if str(path) in seen:
            raise LmkError(f"{archive.name} is not unpacked: it holds {quoted(str(path))} twice.")
        seen.add(str(path))
        folders.update(map(str, path.parents))
    if both := sorted(seen & folders):
        raise LmkError(f"{archive.name} is not unpacked: {quoted(both[0])} in it is a file and a folder.")
    if repository := _bare_repository(seen):
        raise LmkError(f"{archive.name} is not unpacked: {quoted(repository)} in it is a repository of git.")
    unpacked = sum(member.file_size for member in members)
    allowed = max(ALWAYS_ALLOWED, LARGEST_RATIO * archive.stat().st_size)
    if unpacked > allowed:
        raise LmkError(
            f"{archive.name} is not unpacked: its {archive.stat().st_size:,} bytes claim to hold {unpacked:,}."
        )


def _problem(member: zipfile.ZipInfo) -> str | None:
    name = member.filename
    path = PurePosixPath(name)
    if not path.parts or any(len(part.encode("utf-8", "surrogatepass")) > LONGEST_NAME for part in path.parts):
        return "has no name, or one that is too long"
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0] or not name.isprintable():
        return "leads outside the folder"
    if any(part.partition(":")[0].rstrip(". ").lower() in REPOSITORIES for part in path.parts):
        return "is of a version control's folder, whose settings may run programs"
    if path.name in OWN_NAMES:
        return "is a name that lmk uses itself"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    return None


def _bare_repository(names: set[str]) -> str | None:
    """The folder that git would take for a repository, "." for the archive's top; None where there is none."""
    inside: dict[str, set[tuple[str, bool]]] = {}
    for name in names:
        path = PurePosixPath(name.lower())
        for depth, part in enumerate(path.parts):
            entry = (part, depth == len(path.parts) - 1)
            if any(entry in names for names in BARE):
                inside.setdefault("/".join(path.parts[:depth]) or ".", set()).add(entry)
    return next((folder for folder, found in inside.items() if any(names <= found for names in BARE)), None)


def _check_space(folder: Path, members: list[zipfile.ZipInfo]) -> None:
    lacking = [
        member.file_size
        for member in members
        if not (folder / member.filename).is_file() or (folder / member.filename).stat().st_size != member.file_size
    ]
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if sum(lacking) > free:
        raise LmkError(f"{folder} needs {sum(lacking) / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free. Make room.")
