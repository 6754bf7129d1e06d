"""A whole `make-submission --ensemble`, cold and with all stages stored: where the time goes.

python -m benchmarks.job ../shared/data/provence --weights ../shared/weights
    --recipe mobilenetv2-gem --recipe mobilenet-gem
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.output import parser, show
from lmk.models.start import start_keras
from lmk.pipeline.config import Execution, config_of
from lmk.pipeline.dataset import open_competition, open_dataset
from lmk.pipeline.local_features import default_local_features
from lmk.pipeline.run import make_submission
from lmk.util.errors import LmkError
from lmk.util.progress import Advance
from lmk.util.workspace import Workspace

DELF = ("Local features: delf", "DELF: PCA", "DELF: feature maps")
"""Stretches in which DELF's network passes over photos."""


class Clock:
    """A `Progress` that counts the seconds of each stretch of work by its label, less those of stretches inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = [0.0]

    @contextmanager
    def __call__(self, label: str, total: int, unit: str) -> Iterator[Advance]:
        start = time.perf_counter()
        self._inside.append(0.0)
        yield lambda count: None
        seconds = time.perf_counter() - start
        self.seconds[label] = self.seconds.get(label, 0.0) + seconds - self._inside.pop()
        self._inside[-1] += seconds


def run(competition: str, weights: str, recipes: Sequence[str], seed: int, folder: Path) -> dict[str, object]:
    """Run in an empty workspace, then once more from the command line with everything stored.

    Args:
        competition, weights, seed: As for `make-submission`.
        recipes: By name.
        folder: An empty one.

    Returns:
        cold_seconds, processor_seconds: Of the first run, with the start of Keras. stored_seconds: Of the whole
        second process. forward_share: Of the cold run in the backbones' passes, DELF's among them, with the reading
        and resizing of the photos that they take. dev_gap: By stage.
        rows: Seconds and share of each stretch of the cold run, the longest first.
    """
    clock, workspace = Clock(), Workspace.open(folder)
    start, busy = time.perf_counter(), time.process_time()
    with clock("starting Keras", 1, ""):
        start_keras()
    opened = open_competition(competition, workspace.competitions, clock)
    kinds = default_local_features(weights)
    config = config_of(recipes, weights=weights, seed=seed, local_features=kinds)
    execution = Execution(workspace, progress=clock)
    result = make_submission(config, open_dataset(config, opened, execution), execution)
    cold, busy = time.perf_counter() - start, time.process_time() - busy
    again = time.perf_counter()
    chosen = [word for name in recipes for word in ("--recipe", name)]
    command = ["make-submission", "--ensemble", "-c", competition, "--weights", weights, "--seed", str(seed)]
    lmk = [sys.executable, "-m", "lmk.cli.main"]
    done = subprocess.run(
        [*lmk, *command, *chosen, "-w", str(folder), "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LmkError(f"The stored run failed: {done.stderr[-300:]}")
    stored = time.perf_counter() - again
    parts = clock.seconds | {"all else": cold - sum(clock.seconds.values())}
    forward = sum(seconds for label, seconds in parts.items() if label.endswith(": features") or label in DELF)
    rows = [
        {"stretch": label, "seconds": seconds, "share": seconds / cold}
        for label, seconds in sorted(parts.items(), key=lambda part: -part[1])
    ]
    return {
        "cold_seconds": cold,
        "processor_seconds": busy,
        "stored_seconds": stored,
        "forward_share": forward / cold,
        "dev_gap": result.record.dev.gap,
        "rows": rows,
    }


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.job`."""
    options = parser("job", __doc__)
    options.add_argument("competition", nargs="?", default="demo")
    options.add_argument("--weights", default="tiny")
    options.add_argument("--recipe", action="append", help="repeat it for several; default: those of the demo")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--workspace", type=Path, help="an empty folder that stays; default: one that goes away")
    given = options.parse_args(words)
    recipes = given.recipe or ["tinymobilenetv2-gem", "tinymobilenet-gem"]
    with tempfile.TemporaryDirectory() as folder:
        place = given.workspace or Path(folder)
        if place.is_dir() and any(place.iterdir()):
            raise LmkError(f"{place} is not empty: a cold run would find what lies there.")
        show(run(given.competition, given.weights, recipes, given.seed, place), given.json)


if __name__ == "__main__":
    main()
