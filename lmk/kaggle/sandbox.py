"""Runs one program apart from the rest of the machine, and ends with all that it started. Needs nothing but Python.

Run as a program, in two steps. The outer one (`supervise`) starts the inner one in name spaces of its own and waits;
it ends everything when the program ends, on a signal, or when lmk dies, even by SIGKILL. The inner
one (`enter`) builds a root of the folders that the program may see, gives up all privileges and becomes the program.

    python sandbox.py SPEC.json

The spec is what `lmk.kaggle.run_locally` writes: `parent` (lmk's process id), `command`, `cwd`, `environment`,
`isolation` (words of `unshare`, empty for none), `mounts` (whether a root is built, in the empty folder `root`),
`read_only` and `writable` (paths), `bound` (a path of the machine by the path where it is to be seen).
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix/store", "/sys")
"""Folders of the system, seen read-only: programs, libraries, settings. No home, no /var, no /run with its sockets."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "dri", "kfd", "nvidia-caps")
GPU = "nvidia"
"""Devices whose names begin so are seen, too."""

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 28, 36, 38
SECURE = 0b11  # SECBIT_NOROOT and its lock: user 0 of a user name space gets no capabilities by a new program
LAST_CAPABILITY = 63
ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise(path: str) -> int:
    """Run the spec's command until it ends; its exit code (128 and the signal's number where one ended it)."""
    spec = json.loads(Path(path).read_text(encoding="utf-8"))
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # when lmk dies
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the command leaves behind becomes a child of this process
    if os.getppid() != spec["parent"]:  # it died before that
        return 143
    inner = [*spec["isolation"], sys.executable, "-I", __file__, path, "--inside"]
    command = inner if spec["isolation"] else spec["command"]
    child = subprocess.Popen(command, cwd=spec["cwd"], env=spec["environment"], start_new_session=True)

    def end(number: int, frame: object) -> None:
        end_all()
        os._exit(128 + number)

    for number in ENDINGS:
        signal.signal(number, end)
    code = child.wait()
    end_all()
    return code if code >= 0 else 128 - code


def end_all() -> None:
    """Kill all processes that descend from this one, in whatever session they are, until there is none."""
    deadline = time.monotonic() + 10
    empty = 0  # one look may miss a process that changes its parent meanwhile
    while empty < 3 and time.monotonic() < deadline:
        found = descendants(os.getpid())
        empty = 0 if found else empty + 1
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.01)


def descendants(root: int) -> list[int]:
    """The living processes that `root` started, and those that these started (from /proc or `ps`)."""
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found, left = [], [root]
    while left:
        for pid in children.get(left.pop(), []):
            found.append(pid)
            left.append(pid)
    return found


def _processes() -> list[tuple[int, int]]:
    """Process ids with their parents', without those that only wait to be collected."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["ps", "-axo", "pid=,ppid=,stat=,comm="], capture_output=True, text=True).stdout
        rows = [line.split(None, 3) for line in listed.splitlines()]
        return [(int(row[0]), int(row[1])) for row in rows if not row[2].startswith("Z") and row[3] != "ps"]
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if state not in "ZX":
                found.append((int(folder.name), int(parent)))
    return found


# Inside the name spaces


def enter(path: str) -> None:
    """Build the root, give up all privileges, and become the spec's command."""
    spec = json.loads(Path(path).read_text(encoding="utf-8"))
    if spec["mounts"]:
        _build_root(spec)
    _give_up_privileges()
    os.chdir(spec["cwd"])
    os.execve(spec["command"][0], spec["command"], dict(os.environ))


def _build_root(spec: dict) -> None:
    """Make a new root of the paths that may be seen, and enter it; nothing else of the machine's files is left."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    root = Path(spec["root"])
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for folder in ("tmp", "var/tmp", "dev/shm"):
        _scratch(root / folder)
    for name in SYSTEM:
        if Path(name).is_symlink():
            (root / name[1:]).symlink_to(Path(name).readlink())
        elif Path(name).is_dir():
            _bind(name, root / name[1:], writable=False)
    for device in [*DEVICES, *(entry.name for entry in Path("/dev").iterdir() if entry.name.startswith(GPU))]:
        if Path("/dev", device).exists():
            _bind(f"/dev/{device}", root / "dev" / device, writable=True)
    for name, target in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        (root / "dev" / name).symlink_to(target)
    (root / "proc").mkdir()
    try:
        _mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:  # a container that hides parts of /proc allows no new one
        _bind("/proc", root / "proc", writable=False)
    for name in sorted(spec["read_only"]):  # outer folders first: a mount hides what lies below it
        _bind(name, root / name[1:], writable=False)
    for name in sorted(spec["writable"]):
        _bind(name, root / name[1:], writable=True)
    for target, source in sorted(spec["bound"].items()):
        _bind(source, root / target[1:], writable=False)
    _mount(None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(root)
    _check(_libc().pivot_root(b".", b"."), "pivot_root")  # the old root lies above the new one
    _check(_libc().umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def _scratch(path: Path) -> None:
    path.mkdir(parents=True)
    _mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")


def _bind(source: str, target: Path, writable: bool) -> None:
    """Let `target` show `source`, with all that is mounted below it."""
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(source, target, None, MS_BIND | MS_REC)
    if not writable:
        for place in _mounts_at(target):
            _mount(None, place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | _flags(place))


def _mounts_at(target: Path) -> list[str]:
    """The mount points at and below `target`."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        place = line.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
        place = place.encode("latin-1").decode("utf-8", "surrogateescape")
        if place == str(target) or place.startswith(f"{target}/"):
            found.append(place)
    return found


def _flags(place: str) -> int:
    """The flags of a mount that a new one must keep: a user name space may take none of them away."""
    now = os.statvfs(place).f_flag
    flags = {os.ST_NOSUID: MS_NOSUID, os.ST_NODEV: MS_NODEV, os.ST_NOEXEC: MS_NOEXEC}
    flags |= {os.ST_NOATIME: 1024, os.ST_NODIRATIME: 2048, os.ST_RELATIME: 1 << 21}
    return sum(flag for bit, flag in flags.items() if now & bit)


def _give_up_privileges() -> None:
    """No capabilities any more, whatever is executed: else the program could mount what it likes."""
    _prctl(PR_SET_SECUREBITS, SECURE)
    for capability in range(LAST_CAPABILITY + 1):
        _prctl(PR_CAPBSET_DROP, capability)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _mount(source: str | None, target: object, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else os.fsencode(str(word)) for word in (source, target, kind)]
    result = _libc().mount(*words, ctypes.c_ulong(flags), None if data is None else data.encode())
    _check(result, f"mount {target}")


def _check(result: int, doing: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def probe(folder: str) -> None:
    """Build a root in an empty folder: raises where this system does not allow it."""
    _build_root({"root": folder, "read_only": [], "writable": [], "bound": {}})


if __name__ == "__main__":
    if "--probe" in sys.argv:
        probe(sys.argv[1])
    elif "--inside" in sys.argv:
        enter(sys.argv[1])
    else:
        sys.exit(supervise(sys.argv[1]))
