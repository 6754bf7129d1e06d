"""Runs a kernel on this machine: Kaggle's folders, an empty environment, no network, no other files, a time limit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import IO

from lmk.kaggle import sandbox
from lmk.kaggle.bundle import Bundle
from lmk.util.errors import LimitError, LmkError
from lmk.util.files import LOCK, alone_in

LONGEST_RUN = 12 * 3600.0
"""Seconds that Kaggle lets a run of a code competition take."""
PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "KERAS_BACKEND")
DEAD_PROXY = "http://127.0.0.1:9"
PARTS = ("input", "working", "home", "tmp", "root", "script.py", "log.txt", "spec.json", LOCK)
"""Names in the folder of a run; a folder with anything else is no run's, and is not emptied."""
HIDDEN_PARTS = ("train", "test", "train.csv", "sample_submission.csv", LOCK)
"""The same for the folder of a hidden competition."""
READ_BYTES = 1 << 16
LONGEST_LINE = 4_000
"""Characters after which a line of the kernel's output is passed on in pieces."""
FIRST, MOST_SEEN = 200, 20_000
"""Entries of one folder, and of all, that are looked at for links."""
END_SECONDS = 15.0
"""How long what a kernel started may take to end after the signal to end."""
ISOLATION: tuple[tuple[str, ...], ...] = (
    ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
    ("unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
)
"""Name spaces for everything, by a user name space or as root."""
NETWORK_ONLY: tuple[tuple[str, ...], ...] = (("unshare", "--user", "--map-root-user", "--net"), ("unshare", "--net"))


@dataclass(frozen=True)
class Stage:
    """The folders of one run; `log` holds all that the kernel printed."""

    root: Path

    @property
    def input(self) -> Path:
        """Stands in for /kaggle/input."""
        return self.root / "input"

    @property
    def working(self) -> Path:
        """Stands in for /kaggle/working."""
        return self.root / "working"

    @property
    def log(self) -> Path:
        """Output of the kernel."""
        return self.root / "log.txt"


@dataclass(frozen=True)
class Isolation:
    """Isolation that this system allows: words before a command (none: nothing), and whether files are hidden, too."""

    words: tuple[str, ...] = ()
    mounts: bool = False

    def gaps(self) -> str | None:
        """Access of a kernel that is not blocked, in words; None where all is."""
        if self.mounts:
            return None
        if self.words:
            return (
                "This system allows no mount name space: the kernel has no network, but can read and write your files."
            )
        return (
            "unshare is not to be had here: the network is only kept off by a proxy that does not answer, and the "
            "kernel can read and write your files."
        )


@cache
def isolation() -> Isolation:
    """The most that this system allows, tried out once."""
    if sys.platform == "linux" and shutil.which("unshare"):
        for words in ISOLATION:
            with tempfile.TemporaryDirectory(prefix="lmk-root-") as folder:
                probe = [*words, sys.executable, "-I", sandbox.__file__, folder, "--probe"]
                if subprocess.run(probe, capture_output=True).returncode == 0:
                    return Isolation(words, mounts=True)
        for words in NETWORK_ONLY:
            if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
                return Isolation(words)
    return Isolation()


def play(
    bundle: Bundle,
    inputs: Mapping[str, Path],
    root: Path,
    seconds: float = LONGEST_RUN,
    rerun: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    readable: Iterable[Path] = (),
) -> Stage:
    """Run a kernel's script as Kaggle would.

    Where the system allows it, the kernel sees the system's programs, its Python, its inputs read-only and the folders
    of its run, and nothing else: no home, no sockets, no other process.

    Args:
        bundle: The script, as it would be pushed.
        inputs: Folders by the name under which Kaggle attaches them.
        root: Where the run's folders are made; what an earlier run left there is removed.
        seconds: Longest run.
        rerun: Say that it is the scored run of a code competition.
        tell: Called with each line that the kernel prints, and with what could not be kept from it.
        readable: Other folders that inputs link into.

    Raises:
        LmkError: An input is missing, the folder is in use or is no run's, or the script fails.
        LimitError: The time is up; the script and all that it started are stopped.
    """
    check_inputs(inputs)
    with run_folder(root, inputs.values()) as cleared:
        return _play(bundle, inputs, Stage(cleared), seconds, rerun, tell, [*inputs.values(), *readable])


def check_inputs(inputs: Mapping[str, Path]) -> None:
    """Refuse inputs that are not there.

    Raises:
        LmkError: Names the first.
    """
    for name, folder in inputs.items():
        if not folder.is_dir():
            raise LmkError(f"The kernel's input {name} is not at {folder}. Name it by `--input {name}=FOLDER`.")


@contextmanager
def run_folder(root: Path, spared: Iterable[Path], parts: Collection[str] = PARTS) -> Iterator[Path]:
    """Empty a folder that holds nothing but `parts` and hold it while the block runs; its resolved path.

    Raises:
        LmkError: Another run holds it, it holds what no run made, or a folder of `spared` lies in it or around it.
    """
    root = root.resolve()
    for folder in spared:
        place = folder.resolve()
        if place == root or root in place.parents:
            raise LmkError(f"{folder} lies in {root}, which is emptied for the run. Copy it to another place first.")
    if root.exists():
        others = (
            sorted(path.name for path in root.iterdir() if path.name not in parts) if root.is_dir() else [root.name]
        )
        if others:
            raise LmkError(
                f"{root} would be emptied for the run, but holds {others[0]}, which no run made. Move it, or name "
                "another --workspace."
            )
    with emptied(root):
        yield root


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """Make a folder or empty it, and hold it while the block runs.

    Raises:
        LmkError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        for path in folder.iterdir():
            if path.name == LOCK:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        yield


def _play(
    bundle: Bundle,
    inputs: Mapping[str, Path],
    stage: Stage,
    seconds: float,
    rerun: bool,
    tell: Callable[[str], None],
    readable: list[Path],
) -> Stage:
    found = isolation()
    if gaps := found.gaps():
        tell(gaps)
    spec = _prepare(bundle, inputs, stage, found, rerun, readable)
    start = time.monotonic()
    with _stopped_by_signals():
        process = subprocess.Popen(
            [sys.executable, "-I", sandbox.__file__, str(spec)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.terminate()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdout is not None  # a pipe was asked for
            last = _copy_output(process.stdout, stage.log, tell)
            code = process.wait()
        finally:
            timer.cancel()
            _end(process)
    if late.is_set():
        raise LimitError(f"The kernel was stopped after {seconds:,.0f} s. Its log is {stage.log}.")
    if code:
        why = last.removeprefix("error: ").rstrip(".")
        raise LmkError(f"The kernel failed after {time.monotonic() - start:,.0f} s: {why}. Its log is {stage.log}.")
    return stage


def _copy_output(output: IO[bytes], log: Path, tell: Callable[[str], None]) -> str:
    """Write all output to the log and pass on its lines, long ones in pieces; returns the last line with text."""
    last, line = "", b""
    with log.open("wb", buffering=0) as file:
        while piece := os.read(output.fileno(), READ_BYTES):
            file.write(piece)
            *ended, line = (line + piece).split(b"\n")
            while len(line) > LONGEST_LINE:
                ended.append(line[:LONGEST_LINE])
                line = line[LONGEST_LINE:]
            for text in (found.decode("utf-8", "replace") for found in ended):
                tell(text)
                last = text.strip() or last
        if line:
            text = line.decode("utf-8", "replace")
            tell(text)
            last = text.strip() or last
    return last[:LONGEST_LINE]


def _end(process: subprocess.Popen) -> None:
    """Let the supervisor end all that the kernel started; by force where it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in [*sandbox.descendants(process.pid), process.pid]:
                os.kill(pid, signal.SIGKILL)
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that the kernel is ended, too."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepare(
    bundle: Bundle, inputs: Mapping[str, Path], stage: Stage, found: Isolation, rerun: bool, readable: list[Path]
) -> Path:
    """Write the run's folders, its script and what the sandbox is to do; the path of the latter."""
    for folder in (stage.input, stage.working, stage.root / "home", stage.root / "tmp", stage.root / "root"):
        folder.mkdir()
    script = stage.root / "script.py"
    script.write_text(bundle.text, encoding="utf-8")
    bound = {}
    for name, folder in inputs.items():
        if found.mounts:
            (stage.input / name).mkdir()
            bound[str(stage.input / name)] = str(folder.resolve())
        else:
            (stage.input / name).symlink_to(folder.resolve(), target_is_directory=True)
    spec = {
        "parent": os.getpid(),
        "command": [sys.executable, str(script)],
        "cwd": str(stage.working),
        "environment": _environment(stage, bool(found.words), rerun),
        "isolation": found.words,
        "mounts": found.mounts,
        "root": str(stage.root / "root"),
        "read_only": sorted({str(path) for path in [*_python(), *_linked(readable), script, stage.input]}),
        "writable": [str(path) for path in (stage.working, stage.root / "home", stage.root / "tmp")],
        "bound": bound,
    }
    path = stage.root / "spec.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def _python() -> set[Path]:
    """The folders of this Python and its packages, and those of libraries in LD_LIBRARY_PATH."""
    names = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    names |= {name for name in sys.path if Path(name).name in ("site-packages", "dist-packages")}
    names |= {name for name in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if Path(name).is_absolute()}
    places = {place for name in names for place in (Path(name), Path(name).resolve()) if place.is_dir()}
    return {place for place in places if place != Path("/") and not place.is_relative_to("/usr")}


def _linked(folders: Iterable[Path]) -> set[Path]:
    """The folders, and those that links in them lead to: photos may lie on another disk.

    Not all files are looked at, of which there may be millions: the first ones of each folder stand for the others.
    """
    found: set[Path] = set()
    for folder in folders:
        found.add(folder.resolve())
        left = deque([folder.resolve()])
        seen = 0
        while left and seen < MOST_SEEN:
            for entry in islice(left.popleft().iterdir(), FIRST):
                seen += 1
                if entry.is_symlink() and entry.exists():
                    place = entry.resolve()
                    found.add(place if place.is_dir() else place.parent)
                elif entry.is_dir():
                    left.append(entry)
    return {place for place in found if place != Path("/")}


def _environment(stage: Stage, isolated: bool, rerun: bool) -> dict[str, str]:
    """The whole environment of the kernel: nothing of this session's but what a program needs to start."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= {
        "HOME": str(stage.root / "home"),
        "TMPDIR": str(stage.root / "tmp"),
        "PYTHONNOUSERSITE": "1",
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "LMK_KAGGLE_INPUT": str(stage.input),
        "LMK_KAGGLE_WORKING": str(stage.working),
    }
    if rerun:
        environment["KAGGLE_IS_COMPETITION_RERUN"] = "1"
    if not isolated:
        environment |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), DEAD_PROXY)
    return environment
