"""Kill runs at random moments, go on, and compare: the same bytes, nothing computed twice, nothing left over.

A run of all stages on a tiny competition is killed (SIGKILL) again and again, each time after a random while, until it
ends; then the next run begins with an empty workspace, until there were as many kills as asked for. What each run ends
with is compared, byte by byte, with what a run ends with that nobody killed. A journal beside the workspace tells which
shards, epochs and stages were computed and which were stored: what was stored must never be computed again.

Runs are forked from a process that has loaded the libraries, so that a kill costs no start of TensorFlow.

    lmk bench kills --kills 200 --json
"""

import argparse
import hashlib
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import parser, show
from lmk.errors import LmkError

TESTS = Path(__file__).parents[1] / "tests"
COMPARED = ("predictions/*", "stores/*/*", "weights/*", "submissions/*", "runs/*/*.npz")
"""Of a workspace; the rest (run.json, the report) tells times and must differ."""
MOST_EVENTS = 6
"""A kill comes up to so many lines of the journal after the start: runs get on, on slow machines too."""
LONGEST_PAUSE = 1.0
"""And up to so many seconds after that line, so that it falls anywhere."""
LONGEST = 1800.0
"""Seconds after which a run that nobody kills is taken to hang."""


class Journal:
    """One line an event, flushed before the work goes on: what a killed process did."""

    def __init__(self, path: Path):
        self.path = path

    def tell(self, what: str, unit: str) -> None:
        """`what` happened to a unit of work."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([what, unit]) + "\n")

    def events(self) -> list[tuple[str, str]]:
        """All that was told, in order; the last line of a killed process may be cut."""
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else ():
            with suppress(ValueError):
                what, unit = json.loads(line)
                found.append((what, unit))
        return found

    def lines(self) -> int:
        """How many lines there are."""
        return self.path.read_bytes().count(b"\n") if self.path.exists() else 0

    def computed_again(self) -> list[str]:
        """Units that were computed although they had been stored."""
        stored, again = set(), []
        for what, unit in self.events():
            if what == "stored":
                stored.add(unit)
            elif what == "computed" and unit in stored:
                again.append(unit)
        return again

    def stage(self) -> str:
        """The stage that the last process was in."""
        return next((unit for what, unit in reversed(self.events()) if what == "stage"), "start")


def watch(journal: Journal, put: Callable[[Any, str, Any], None]) -> None:
    """Make this process tell the journal of every shard, epoch and stage; `put` sets an attribute."""
    from lmk.models.train import Trainer
    from lmk.stages import Run
    from lmk.store import ArrayStore

    append, fit, save, timed, stored = ArrayStore.append, Trainer._fit, Trainer._save, Run.timed, Run.stored

    def telling_append(store: ArrayStore, ids: np.ndarray, arrays: Any) -> None:
        unit = f"{store.folder.name} {hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"
        journal.tell("computed", unit)
        append(store, ids, arrays)
        journal.tell("stored", unit)

    def telling_fit(trainer: Trainer, model: Any, number: int, epoch: int, advance: Any) -> Any:
        record = fit(trainer, model, number, epoch, advance)
        journal.tell("computed", f"{trainer.checkpoint.name} stage {number} epoch {epoch + 1}")
        return record

    def telling_save(trainer: Trainer, model: Any, number: int, epoch: int, best: Any) -> None:
        save(trainer, model, number, epoch, best)
        journal.tell("stored", f"{trainer.checkpoint.name} stage {number} epoch {epoch}")

    def telling_timed(run: Run, stage: str) -> Any:
        journal.tell("stage", stage)
        return timed(run, stage)

    def telling_stored(run: Run, stage: str, key: Any, compute: Callable[[], Any]) -> Any:
        def telling_compute() -> Any:
            made = compute()
            journal.tell("computed", stage)
            return made

        source = stored(run, stage, key, telling_compute)
        journal.tell("stored", stage)
        return source

    put(ArrayStore, "append", telling_append)
    put(Trainer, "_fit", telling_fit)
    put(Trainer, "_save", telling_save)
    put(Run, "timed", telling_timed)
    put(Run, "stored", telling_stored)


def load() -> None:
    """Load the libraries and the tiny recipes, and start nothing: a TensorFlow that has computed dies in a fork."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(TESTS))
    import tiny

    for name in ("lmk.recognition", "lmk.pipeline", "lmk.ensemble.fuse", "lmk.report.page", "lmk.cli.make_submission"):
        import_module(name)
    tiny.install(tiny._put)
    tiny.install_network(tiny._put)


def fork_run(competition: Path, workspace: Path, out: Path, jobs: int) -> int:
    """Start `lmk make-submission --ensemble` in a child of this process; returns its number."""
    import tiny

    child = os.fork()
    if child:
        return child
    log = os.open(str(workspace) + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    watch(Journal(Path(str(workspace) + ".journal")), setattr)
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)  # tracing such small networks takes far longer than running them
    recipes = [word for name in tiny.RECIPE_NAMES for word in ("--recipe", name)]
    sys.argv = ["lmk", "make-submission", "--ensemble", "-c", str(competition), "-w", str(workspace), *recipes]
    sys.argv += ["--weights", "none", "--folds", "3", "--jobs", str(jobs), "--out", str(out)]
    from lmk.cli.main import main as lmk

    code = 1
    try:
        lmk()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    finally:
        os._exit(code)


def wait(child: int, seconds: float) -> int | None:
    """The child's exit code, or None if it still runs after that time."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(min(0.005, max(0.0, end - time.monotonic())))


def whole_run(competition: Path, workspace: Path, jobs: int) -> float:
    """A run that nobody kills; returns its seconds.

    Raises:
        LmkError: It failed, or hangs.
    """
    start = time.monotonic()
    child = fork_run(competition, workspace, workspace / "submissions" / "out.csv", jobs)
    code = wait(child, LONGEST)
    if code is None:
        os.kill(child, signal.SIGKILL)
    if code != 0:
        told = Path(str(workspace) + ".log").read_text(encoding="utf-8", errors="replace")
        raise LmkError(f"The run in {workspace} ended with {code}: {told.strip()[-600:]}")
    return time.monotonic() - start


def wait_for(child: int, journal: Journal, lines: int) -> int | None:
    """The child's exit code, or None once the journal has so many lines."""
    end = time.monotonic() + LONGEST
    while journal.lines() < lines and time.monotonic() < end:
        code = wait(child, 0.02)
        if code is not None:
            return code
    return None


def killed_run(
    competition: Path, workspace: Path, jobs: int, rng: np.random.Generator, most: int, end: float
) -> tuple[int, Counter[str]]:
    """A run that is killed at random moments and started again, until it ends, was killed `most` times, or time is up.

    Returns:
        How often it was killed, and in which stages.
    """
    stages: Counter[str] = Counter()
    journal = Journal(Path(str(workspace) + ".journal"))
    while sum(stages.values()) < most and time.monotonic() < end:
        wanted = journal.lines() + int(rng.integers(0, MOST_EVENTS + 1))
        child = fork_run(competition, workspace, workspace / "submissions" / "out.csv", jobs)
        code = wait_for(child, journal, wanted)
        if code is None:
            code = wait(child, rng.uniform(0, LONGEST_PAUSE))
        if code == 0:
            return sum(stages.values()), stages
        if code is not None:
            told = Path(str(workspace) + ".log").read_text(encoding="utf-8", errors="replace")
            raise LmkError(f"A resumed run in {workspace} failed with {code}: {told.strip()[-600:]}")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        stages[journal.stage()] += 1
    whole_run(competition, workspace, jobs)
    return sum(stages.values()), stages


def digests(workspace: Path) -> dict[str, str]:
    """What is compared of a workspace: files by name, each with the digest of its bytes; of weights, of the arrays.

    HDF5 writes the time into its files.
    """
    found = {}
    for pattern in COMPARED:
        for path in sorted(workspace.glob(pattern)):
            data = _arrays(path) if path.suffix == ".h5" else path.read_bytes()
            found[str(path.relative_to(workspace))] = hashlib.sha256(data).hexdigest()
    return found


def _arrays(path: Path) -> bytes:
    """Names and bytes of all arrays of an HDF5 file."""
    import h5py

    parts: list[bytes] = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: parts.extend([name.encode(), item[()].tobytes()]) if hasattr(item, "dtype") else None
        )
    return b"".join(parts)


def left_over(workspace: Path) -> list[str]:
    """Temporary files and checkpoints that a run that has ended should not leave."""
    drafts = [*workspace.rglob(".*.tmp.*"), *workspace.rglob("*.checkpoint.npz")]
    return sorted(str(path.relative_to(workspace)) for path in drafts)


def run(
    folder: Path,
    kills: int,
    jobs: int = 1,
    seed: int = 0,
    told: Callable[[str], None] = print,
    minutes: float = math.inf,
) -> dict[str, Any]:
    """Kill runs until there were `kills` kills, and compare each with one that nobody killed.

    Args:
        folder: An empty one, for the competition and the workspaces.
        kills: How many.
        jobs: Processes of each run.
        seed: Of the moments.
        told: Gets a line a run.
        minutes: After these, the run in work is let end and is the last.
    """
    import tiny

    competition = tiny.draw_competition(folder / "walls")
    begun = time.monotonic()
    end = begun + 60 * minutes
    quiet = folder / "quiet"
    seconds = whole_run(competition, quiet, jobs)
    expected = digests(quiet)
    rng = np.random.default_rng(seed)
    stages: Counter[str] = Counter()
    differing: list[str] = []
    again: list[str] = []
    left: list[str] = []
    runs = 0
    while sum(stages.values()) < kills and time.monotonic() < end:
        workspace = folder / f"killed{runs:03d}"
        count, where = killed_run(competition, workspace, jobs, rng, kills - sum(stages.values()), end)
        found = digests(workspace)
        differing += [f"{workspace.name}/{name}" for name in expected if found.get(name) != expected[name]]
        differing += [f"{workspace.name}/{name}" for name in found if name not in expected]
        again += Journal(Path(str(workspace) + ".journal")).computed_again()
        left += left_over(workspace)
        stages += where
        runs += 1
        told(f"run {runs}: {count} kills, {sum(stages.values())} in all; files that differ so far: {len(differing)}")
        if not differing and not again and not left:
            shutil.rmtree(workspace)
    return {
        "kills": sum(stages.values()),
        "runs": runs,
        "files_compared_a_run": len(expected),
        "files_that_differ": differing,
        "units_computed_again_though_stored": again,
        "temporary_files_left": left,
        "kills_by_stage": dict(stages),
        "seconds_of_a_run_that_nobody_killed": round(seconds, 1),
        "seconds": round(time.monotonic() - begun, 1),
    }


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    options = parser("kills", __doc__)
    options.add_argument("--kills", type=int, default=200, help="how many in all (default 200)")
    options.add_argument("--jobs", type=int, default=1, help="processes of each run (default 1)")
    options.add_argument("--seed", type=int, default=0, help="of the moments")
    options.add_argument("--minutes", type=float, default=math.inf, help="begin no kill after these")
    options.add_argument("--folder", type=Path, help="keep competition and workspaces there")
    return options.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """The command `lmk bench kills`."""
    options = _options(words)
    load()
    with tempfile.TemporaryDirectory() as folder:
        found = run(
            options.folder or Path(folder),
            options.kills,
            options.jobs,
            options.seed,
            lambda line: print(line, file=sys.stderr, flush=True),
            options.minutes,
        )
    show(found, options.json)
    if found["files_that_differ"] or found["units_computed_again_though_stored"] or found["temporary_files_left"]:
        raise LmkError("A killed run does not end as one that nobody killed.")


if __name__ == "__main__":
    main()
