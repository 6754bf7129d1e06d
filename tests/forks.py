"""Commands of lmk that run as processes of their own without the seconds in which a process loads TensorFlow.

`Forks` starts one process that loads the libraries and computes nothing; each command runs in a fork of it, with its
own environment, folder and streams. A TensorFlow that has computed does not survive a fork, so the tests' own process
cannot be forked.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

LIBRARIES = (
    "lmk.pipeline.networks",
    "lmk.pipeline.retrieve",
    "lmk.pipeline.blend",
    "lmk.pipeline.fuse",
    "lmk.pipeline.run",
    "lmk.models.training",
    "lmk.ensemble.fuse",
    "lmk.report.page",
    "lmk.cli.main",
)


class Forks:
    """A process that is forked for each command.

    Args:
        folder: Of the streams of the commands, and of what the process itself prints.
        tiny: Whether the commands know the recipes of `tiny` and run their networks eagerly.
    """

    def __init__(self, folder: Path, tiny: bool = False):
        words = [sys.executable, __file__, str(folder), *(["tiny"] if tiny else [])]
        self._folder = folder
        self._log = (folder / "forks.log").open("w")
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment
        )

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def lmk(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `lmk WORDS` in the current folder; its exit code, negative for a signal, stdout and stderr."""
        asked = {"words": words, "folder": str(Path.cwd()), "environment": dict(environment or os.environ)}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, (self._folder / "forks.log").read_text()
        out, err = (path.read_text() for path in _streams(self._folder))
        return subprocess.CompletedProcess(words, int(answer), out, err)


def _streams(folder: Path) -> tuple[Path, Path]:
    return folder / "stdout", folder / "stderr"


def fork(run: Callable[[], None], stdout: Path, stderr: Path) -> int:
    """Call `run` in a child of this process, whose streams are these files; returns its number."""
    child = os.fork()
    if child:
        return child
    for path, stream in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    code = 1
    try:
        run()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(words: Sequence[str], folder: str, environment: Mapping[str, str], tiny_ones: bool) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["lmk", *words]
    if tiny_ones:
        import tiny

        tiny.main()
    else:
        from lmk.cli.main import main

        main()


def main() -> None:
    """Load the libraries, then run each command that comes on stdin, and print its exit code."""
    folder, tiny_ones = Path(sys.argv[1]), "tiny" in sys.argv[2:]
    for name in LIBRARIES:
        import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        child = fork(lambda asked=asked: _command(**asked, tiny_ones=tiny_ones), *_streams(folder))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
