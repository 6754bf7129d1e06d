"""20,000 addresses, 15 % failing in ten ways, killed five times; and photos per second beside img2dataset.

A server on this machine gives photos and fails as it is asked to. `lmk data download` runs against it, is killed
(SIGKILL) five times at random moments and goes on: every address must end with its photo or its reason, none twice.
Then lmk and img2dataset (in an environment of its own: `--img2dataset PYTHON`) fetch the same addresses with the same
threads, side and time-outs, in turns; seconds run from the first request that the server sees to the end, so that
neither's start counts.

    python -m benchmarks.download --img2dataset /path/to/its/bin/python --json
"""

import argparse
import csv
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np

from benchmarks.output import parser, show
from lmk.util.errors import LmkError

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tests" / "photo_server.py"
FAILING, KILLS, ROUNDS = 0.15, 5, 2
THREADS, SIDE, SILENCE = 32, 256, 2.0
PHOTOS, WIDTH, HEIGHT = 200, 600, 450
OTHER = """
import sys
from img2dataset import download
urls, out, threads, side, seconds, shard = sys.argv[1:]
download(url_list=urls, output_folder=out, processes_count=2, thread_count=int(threads) // 2, image_size=int(side),
         resize_mode="keep_ratio_largest", resize_only_if_bigger=True, output_format="files", input_format="csv",
         url_col="url", timeout=float(seconds), retries=0, number_sample_per_shard=int(shard), enable_wandb=False,
         disallowed_header_directives=[])
"""


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a server of photos that runs while the block does."""
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        rough = rng.integers(0, 255, (HEIGHT // 10, WIDTH // 10, 3), np.uint8)
        cv2.imwrite(
            str(photos / f"{number:04d}.jpg"), cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        )
    words = [sys.executable, str(SERVER), str(photos)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def write_table(folder: Path, address: str, count: int, failing: float, seed: int) -> dict[str, str]:
    """Write a train.csv of so many addresses into `folder`; what each id's address does."""
    sys.path.insert(0, str(SERVER.parent))
    from photo_server import FAILURES

    rng = random.Random(seed)
    folder.mkdir(parents=True)
    kinds: dict[str, str] = {}
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "url", "landmark_id"])
        for number in range(count):
            kind = rng.choice(FAILURES) if rng.random() < failing else "busy" if rng.random() < 0.005 else "photo"
            name = f"{rng.getrandbits(64):016x}"
            kinds[name] = kind
            writer.writerow([name, f"{address}/{kind}/{seed * count + number}.jpg", 1])
    return kinds


def command(folder: Path) -> list[str]:
    """`lmk data download` with the benchmark's settings."""
    words = [sys.executable, "-m", "lmk.cli.main", "data", "download", "-c", str(folder), "-w", str(folder / "w")]
    words += ["--allow-private", "--side", str(SIDE), "--threads", str(THREADS), "--each-host", str(THREADS)]
    return [*words, "--timeout", str(SILENCE), "--tries", "2", "--json"]


def killed(folder: Path, address: str, count: int) -> dict[str, Any]:
    """Download with kills; what every address ended with."""
    kinds = write_table(folder, address, count, FAILING, 1)
    rng, asked_before = random.Random(0), 0
    kills = 0
    for _ in range(KILLS):
        wanted = asked_before + rng.randrange(count // 20, count // 6)
        process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        while process.poll() is None and (asked_before := _asked(address)) < wanted:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    subprocess.run(command(folder), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    rows = list(csv.DictReader((folder / "train.downloads.csv").open(encoding="utf-8")))
    files = [path.stem for path in (folder / "train").rglob("*.*")]
    good = {name for name, kind in kinds.items() if kind in ("photo", "busy")}
    return {
        "addresses": count,
        "failing": count - len(good),
        "kills": kills,
        "stored": len(files),
        "reasons": dict(Counter(row["outcome"] for row in rows if row["outcome"] != "stored")),
        "photos_missing": len(good - set(files)),
        "photos_too_many_or_twice": len(files) - len(set(files) & good),
        "ids_without_outcome_or_with_two": len(set(kinds) ^ {row["id"] for row in rows}) + len(rows) - len(kinds),
        "asked_again_after_kills": _asked(address) - _fewest(kinds),
    }


def _fewest(kinds: dict[str, str]) -> int:
    """Requests that a download without kills makes: two tries of what may pass, six hops of a circle."""
    tries = {"busy": 2, "broken": 2, "reset": 2, "short": 2, "silent": 2, "loop": 6}
    return sum(tries.get(kind, 1) for kind in kinds.values())


def raced(folder: Path, count: int, other: Path) -> dict[str, Any]:
    """Photos per second of lmk and of img2dataset on the same addresses, in turns."""
    rates: dict[str, list[float]] = {"lmk": [], "img2dataset": []}
    processor: dict[str, list[float]] = {"lmk": [], "img2dataset": []}
    for number in range(ROUNDS):
        for name in rates:
            place = folder / f"{name}{number}"
            place.mkdir()
            with server(place) as address:
                write_table(place / "c", address, count, 0.0, 2 + number)
                words = command(place / "c")
                if name == "img2dataset":
                    out = [str(place / "c" / "train.csv"), str(place / "out"), str(THREADS), str(SIDE), str(SILENCE)]
                    words = [str(other), "-c", OTHER, *out, str(max(1, count // 8))]  # shards for both processes
                before = os.times()
                log = (place / "log").open("w")
                environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
                environment.pop("PYTHONPATH" if name == "img2dataset" else "", None)
                done = subprocess.run(
                    words, stdout=log, stderr=log, cwd=ROOT if name == "lmk" else place, env=environment
                )
                end, after = time.time(), os.times()
                if done.returncode:
                    raise LmkError(f"{name} failed: {(place / 'log').read_text()[-500:]}")
                first = json.load(urlopen(f"{address}/times"))[0]
            stored = sum(1 for path in place.rglob("*.jpg") if "photos" not in path.parts)
            rates[name].append(stored / (end - first))
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            processor[name].append(spent)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "addresses_raced": count,
        "photos_per_second": medians,
        "ratio": medians["lmk"] / medians["img2dataset"],
        "processor_seconds": {name: statistics.median(values) for name, values in processor.items()},
    }


def _asked(address: str) -> int:
    return sum(json.load(urlopen(f"{address}/count")).values())


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    options = parser("download", __doc__)
    options.add_argument("--addresses", type=int, default=20_000)
    options.add_argument("--raced", type=int, default=4_000, help="addresses of each round beside img2dataset")
    options.add_argument("--img2dataset", type=Path, metavar="PYTHON", help="of an environment that has it")
    return options.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.download`."""
    options = _options(words)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.addresses:
            with server(Path(folder)) as address:
                found = killed(Path(folder, "killed"), address, options.addresses)
        if options.img2dataset:
            found |= raced(Path(folder), options.raced, options.img2dataset)
    show(found, options.json)
    if any(
        found.get(name) for name in ("photos_missing", "photos_too_many_or_twice", "ids_without_outcome_or_with_two")
    ):
        raise LmkError("An address ended with neither its photo nor its reason, or with both.")


if __name__ == "__main__":
    main()
