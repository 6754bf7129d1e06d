"""Kill runs at random moments of every stage, go on, and compare: the same bytes, nothing computed twice, nothing left.

A run of all stages on a tiny competition, DELF among them, is killed (SIGKILL) once or twice in each of its phases: a
phase is a stage or a part of one, such as a network's training or the shards of a store. A kill waits until a run tells
that the phase begins, and then a random while, at the most as long as the phase takes. When all phases had their kills,
the run goes on to its end and the next one begins with an empty workspace, until there were as many kills as asked for.
What each run ends with is compared, byte by byte, with what a run ends with that nobody killed. A journal beside the
workspace tells which shards, epochs and stages were computed and which were stored: what was stored must never be
computed again. One kill in twelve meets `lmk data download` from a server on this machine.

Runs are forked from a process that has loaded the libraries, so that a kill costs no start of TensorFlow.

    python -m tests.stress.kills --kills 200 --json
"""

import argparse
import csv
import hashlib
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.download import server, write_table
from benchmarks.output import parser, show
from lmk.util.checked import SEAL, verify
from lmk.util.errors import LmkError
from tests.stress.journal import Journal, watch

TESTS = Path(__file__).parents[1]
COMPARED = ("predictions/*", "stores/*/*", "weights/*", "submissions/*", "runs/*/*.npz")
"""Of a workspace; the rest (run.json, the report) tells times and must differ."""
LONGEST = 1800.0
"""Seconds after which a run that nobody kills is taken to hang."""
ADDRESSES, FAILING = 150, 0.1
"""Of a download."""
DOWNLOADS = 12
"""Of so many kills one meets a download."""


def load() -> None:
    """Load the libraries and the tiny recipes, and start nothing: a TensorFlow that has computed dies in a fork."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(TESTS))
    import cv2
    import tiny

    cv2.setNumThreads(1)  # its threads, too, die in a fork, and whatever waits for them hangs
    for name in (
        "lmk.pipeline.networks",
        "lmk.pipeline.retrieve",
        "lmk.pipeline.blend",
        "lmk.pipeline.fuse",
        "lmk.pipeline.run",
        "lmk.ensemble.fuse",
        "lmk.report.page",
        "lmk.cli.make_submission",
    ):
        import_module(name)
    for name in (
        "lmk.pipeline.delf",
        "lmk.models.delf.network",
        "lmk.models.delf.training",
        "lmk.data.download",
        "lmk.cli.download",
    ):
        import_module(name)
    tiny.install(tiny._put)
    tiny.install_network(tiny._put)
    tiny.install_delf(tiny._put)


@dataclass(frozen=True)
class Place:
    """Where a run works: the competition, its workspace, and beside it what the run prints and tells.

    Attributes:
        folder: Of the competition.
        workspace: Of the run.
        jobs: Its processes.
    """

    folder: Path
    workspace: Path
    jobs: int = 1

    @property
    def log(self) -> Path:
        """What its processes print."""
        return Path(f"{self.workspace}.log")

    @property
    def journal(self) -> Journal:
        """What its processes tell."""
        return Journal(Path(f"{self.workspace}.journal"))

    def said(self) -> str:
        """The end of the log."""
        return self.log.read_text(encoding="utf-8", errors="replace").strip()[-600:]

    def start(self) -> int:
        """Start `lmk make-submission --ensemble` in a child of this process; returns its number."""
        import tiny

        words = ["make-submission", "--ensemble", "-c", str(self.folder), "-w", str(self.workspace)]
        words += [word for name in tiny.RECIPE_NAMES for word in ("--recipe", name)]
        words += ["--weights", str(tiny_weights(self.folder.parent)), "--delf", "tiny", "--local-features", "both"]
        words += ["--folds", "3", "--jobs", str(self.jobs), "--out", str(self.workspace / "submissions" / "out.csv")]
        return fork(words, self.log, lambda: _prepare(self.journal))


def _prepare(journal: Journal) -> None:
    watch(journal, setattr)
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)  # tracing such small networks takes far longer than running them


def tiny_weights(folder: Path) -> Path:
    """The file of weights of the tiny backbone, written by a child."""
    import tiny

    path = folder / "tiny.weights.h5"
    if not path.exists() and fork([], folder / "weights.log", lambda: tiny.write_weights(path)):
        os.wait()
    return path


def fork(words: Sequence[str], log: Path, prepare: Callable[[], None]) -> int:
    """Start `lmk WORDS`, or nothing without words, in a child of this process; returns its number."""
    child = os.fork()
    if child:
        return child
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = 1
    try:
        prepare()
        if words:
            from lmk.cli.main import main as lmk

            sys.argv = ["lmk", *words]
            lmk()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    finally:
        os._exit(code)


def wait(child: int, seconds: float, until: Callable[[], bool] = lambda: False) -> int | None:
    """The child's exit code, or None if it still runs after that time, or once `until` is true."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end or until():
            return None
        time.sleep(min(0.005, max(0.0, end - time.monotonic())))


def kill(child: int) -> None:
    """By SIGKILL."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def whole_run(place: Place) -> float:
    """A run that nobody kills; returns its seconds.

    Raises:
        LmkError: It failed, or hangs.
    """
    start = time.monotonic()
    child = place.start()
    code = wait(child, LONGEST)
    if code is None:
        kill(child)
    if code != 0:
        raise LmkError(f"The run in {place.workspace} ended with {code}: {place.said()}")
    return time.monotonic() - start


def killed_run(place: Place, phases: dict[str, float], rng: np.random.Generator, most: int, end: float) -> Counter[str]:
    """A run that is killed once or twice in each phase, `most` times at the most, and then goes on to its end.

    Args:
        place: Where.
        phases: Their seconds by name, in order.
        rng: Of the moments.
        most: Kills.
        end: No kill after this time.

    Returns:
        The kills by phase.
    """
    order = {phase: number for number, phase in enumerate(phases)}
    kills: Counter[str] = Counter()
    targets = [phase for phase in phases for _ in range(rng.integers(1, 3))]
    for target in targets:
        if kills.total() >= most or time.monotonic() >= end:
            break
        first = place.journal.lines()

        def reached(first: int = first, target: str = target) -> bool:
            told = place.journal.events(first)
            return any(what == "phase" and order.get(unit, 0) >= order[target] for what, unit in told)

        child = place.start()
        code = wait(child, LONGEST, reached)
        if code is None:
            code = wait(child, rng.uniform(0, phases[target]))
        if code == 0:
            return kills
        if code is not None:
            raise LmkError(f"A resumed run in {place.workspace} failed with {code}: {place.said()}")
        kill(child)
        kills[place.journal.phase()] += 1
    whole_run(place)
    return kills


def killed_download(folder: Path, kills: int, rng: np.random.Generator) -> dict[str, Any]:
    """Downloads from a server on this machine, killed at random moments.

    Returns:
        kills; differing: ids whose photo or outcome is not that of a quiet download; left: temporary files.
    """
    folder.mkdir(parents=True)
    done, differing, left = 0, [], []
    with server(folder) as address:
        expected, seconds = _downloaded(folder / "quiet", address)
        while done < kills:
            place = folder / f"killed{done:03d}"
            _addresses(place, address)
            for _ in range(min(kills - done, int(rng.integers(1, 5)))):
                child = fork(_download_words(place), folder / "log", lambda: None)
                if wait(child, rng.uniform(0, seconds)) is not None:
                    break
                kill(child)
                done += 1
            found, _ = _downloaded(place, address)
            differing += [name for name in expected if found.get(name) != expected[name]]
            left += [str(path) for path in place.rglob(".*.tmp.*")]
            shutil.rmtree(place)
    return {"kills": done, "differing": differing, "left": left}


def _addresses(place: Path, address: str) -> None:
    if not place.exists():
        write_table(place, address, ADDRESSES, FAILING, 1)


def _download_words(place: Path) -> list[str]:
    words = ["data", "download", "-c", str(place), "-w", str(place / "w"), "--side", "128", "--threads", "8"]
    return [*words, "--allow-private", "--each-host", "8", "--timeout", "0.5", "--tries", "2"]


def _downloaded(place: Path, address: str) -> tuple[dict[str, tuple[str, str]], float]:
    """Let a download end: each id's outcome with the digest of its photo; and the seconds that it took."""
    _addresses(place, address)
    start = time.monotonic()
    code = wait(fork(_download_words(place), place.parent / "log", lambda: None), LONGEST)
    if code != 0:
        raise LmkError(f"The download into {place} ended with {code}: {(place.parent / 'log').read_text()[-600:]}")
    seconds = time.monotonic() - start
    photos = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in (place / "train").rglob("*.jpg")}
    with (place / "train.downloads.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: (row["outcome"], photos.get(row["id"], "")) for row in csv.DictReader(file)}, seconds


def digests(workspace: Path) -> dict[str, str]:
    """What is compared of a workspace: files by name, each with the digest of its bytes; of weights, of the arrays.

    HDF5 writes the time into its files, so a seal is compared with its own file alone.

    Raises:
        DamagedFile: A seal and its file do not agree.
    """
    found = {}
    for pattern in COMPARED:
        for path in sorted(workspace.glob(pattern)):
            if path.suffix == SEAL:
                verify(path.with_suffix(""))
            data = _arrays(path) if path.suffix == ".h5" else b"" if path.suffix == SEAL else path.read_bytes()
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

    competition = folder / "walls"
    if fork(
        [], folder / "walls.log", lambda: tiny.draw_competition(competition)
    ):  # OpenCV's threads die in a fork, too
        os.wait()
    begun = time.monotonic()
    end = begun + 60 * minutes
    quiet = Place(competition, folder / "quiet", jobs)
    seconds = whole_run(quiet)
    expected, phases = digests(quiet.workspace), quiet.journal.seconds()
    rng = np.random.default_rng(seed)
    downloads = killed_download(folder / "downloads", kills // DOWNLOADS, rng)
    told(f"downloads: {downloads}")
    by_phase = Counter({"download": downloads["kills"]})
    differing: list[str] = downloads["differing"]
    left: list[str] = downloads["left"]
    again: list[str] = []
    runs = 0
    while by_phase.total() < kills and time.monotonic() < end:
        place = Place(competition, folder / f"killed{runs:03d}", jobs)
        by_phase += killed_run(place, phases, rng, kills - by_phase.total(), end)
        found = digests(place.workspace)
        differing += [f"{place.workspace.name}/{name}" for name in expected if found.get(name) != expected[name]]
        differing += [f"{place.workspace.name}/{name}" for name in found if name not in expected]
        again += place.journal.computed_again()
        left += left_over(place.workspace)
        runs += 1
        told(f"run {runs}: {by_phase.total()} kills in all; files that differ so far: {len(differing)}")
        if not differing and not again and not left:
            shutil.rmtree(place.workspace)
    return {
        "kills": by_phase.total(),
        "runs": runs,
        "resumed": by_phase.total(),
        "files_compared_a_run": len(expected),
        "files_that_differ": differing,
        "units_computed_again_though_stored": again,
        "temporary_files_left": left,
        "kills_by_phase": {phase: by_phase[phase] for phase in ("start", "download", *phases) if by_phase[phase]},
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
    """The command `python -m tests.stress.kills`."""
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
