"""Playing a kernel on this machine: Kaggle's folders, an empty environment, no network, a time limit."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lmk.kaggle.bundle import Bundle
from lmk.util.errors import LimitError, LmkError

LONGEST_RUN = 12 * 3600.0
"""Seconds that Kaggle lets a run of a code competition take."""
PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "KERAS_BACKEND")
DEAD_PROXY = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Stage:
    """The folders of one play; `log` holds all that the kernel printed."""

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
        """What the kernel printed."""
        return self.root / "log.txt"


def without_network() -> list[str] | None:
    """The words before a command that take the network from it (a name space of its own); None where there are none."""
    for words in (["unshare", "--map-root-user", "--net"], ["unshare", "--net"]):
        if shutil.which(words[0]) and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return None


def play(
    bundle: Bundle,
    inputs: Mapping[str, Path],
    root: Path,
    seconds: float = LONGEST_RUN,
    rerun: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Stage:
    """Run a kernel's script as Kaggle would.

    Args:
        bundle: The script, as it would be pushed.
        inputs: Folders by the name under which Kaggle attaches them.
        root: Where the play's folders are made; what an earlier play left there is removed.
        seconds: Longest run.
        rerun: Say that it is the scored run of a code competition.
        tell: Told of each line that the kernel prints, and of how the network is kept off.

    Raises:
        LmkError: An input is missing, or the script fails.
        LimitError: The time is up; the script and what it started are stopped.
    """
    stage = _set(bundle, inputs, root)
    network = without_network()
    if network is None:
        tell("unshare is not to be had here: the network is only kept off by a proxy that does not answer.")
    start = time.monotonic()
    process = subprocess.Popen(
        [*(network or []), sys.executable, str(stage.root / "script.py")],
        cwd=stage.working,
        env=_environment(stage, network is not None, rerun),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    late = threading.Event()

    def stop() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, stop)
    timer.start()
    last = ""
    try:
        assert process.stdout is not None  # a pipe was asked for
        with stage.log.open("w", encoding="utf-8", buffering=1) as log:
            for line in process.stdout:
                log.write(line)
                tell(line.rstrip("\n"))
                last = line.strip() or last
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if late.is_set():
        raise LimitError(f"The kernel was stopped after {seconds:,.0f} s. Its log is {stage.log}.")
    if code:
        why = last.removeprefix("error: ").rstrip(".")
        raise LmkError(f"The kernel failed after {time.monotonic() - start:,.0f} s: {why}. Its log is {stage.log}.")
    return stage


def _set(bundle: Bundle, inputs: Mapping[str, Path], root: Path) -> Stage:
    stage = Stage(root.resolve())
    shutil.rmtree(stage.root, ignore_errors=True)
    for folder in (stage.input, stage.working, stage.root / "home", stage.root / "tmp"):
        folder.mkdir(parents=True)
    for name, folder in inputs.items():
        if not folder.is_dir():
            raise LmkError(f"The kernel's input {name} is not at {folder}. Name it by `--input {name}=FOLDER`.")
        (stage.input / name).symlink_to(folder.resolve(), target_is_directory=True)
    (stage.root / "script.py").write_text(bundle.text, encoding="utf-8")
    return stage


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
