"""How soon `lmk` answers: its help and its shell completion beside the official Kaggle client's help.

python -m benchmarks.start --json
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.output import parser, show
from benchmarks.timing import in_turns
from lmk.util.errors import LmkError

ROUNDS = 15
COMPLETION = {"_LMK_COMPLETE": "complete_bash", "COMP_WORDS": "lmk make", "COMP_CWORD": "1"}


def run(rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of whole processes, in turns.

    Returns:
        help_seconds, completion_seconds, kaggle_seconds: Of `lmk --help`, a completion, and `kaggle --help`.
        bare_seconds: Of a Python that does nothing: the limit.
        help_ratio, completion_ratio: The client's seconds over lmk's.

    Raises:
        LmkError: The official client has no command beside this Python.
    """
    scripts = Path(sys.executable).parent
    kaggle = scripts / "kaggle"
    if not kaggle.exists():
        raise LmkError(f"There is no {kaggle} to compare with: install lmk into the environment that runs this.")
    lmk = str(scripts / "lmk")
    # Without credentials the client leaves at once, before its help.
    environment = os.environ | {"KAGGLE_USERNAME": "nobody", "KAGGLE_KEY": "0" * 32}
    ways = {
        "bare": partial(_call, [sys.executable, "-c", ""], environment),
        "help": partial(_call, [lmk, "--help"], environment),
        "completion": partial(_call, [lmk], environment | COMPLETION),
        "kaggle": partial(_call, [str(kaggle), "--help"], environment),
    }
    seconds = in_turns(ways, rounds)
    return {f"{name}_seconds": value for name, value in seconds.items()} | {
        "help_ratio": seconds["kaggle"] / seconds["help"],
        "completion_ratio": seconds["kaggle"] / seconds["completion"],
    }


def _call(command: Sequence[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        raise LmkError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-200:]}")


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.start`."""
    options = parser("start", __doc__)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    given = options.parse_args(words)
    show(run(given.rounds), given.json)


if __name__ == "__main__":
    main()
