"""Feed the readers spoiled files for an hour: each must answer, or refuse in one line; no other error, and soon.

Readers: the competitions' tables, names of landmarks, submissions, photos, archives, shards of the store, stored
predictions, records of runs, histories and checkpoints of training, PyTorch files, the list and the files that a kernel
left, what lmk remembers of kernels, leaderboards and backends, leaderboards as Kaggle sends them, and the downloader's
journal. Inputs are whole files spoiled by chance: bytes turned, cut, doubled, put together from two, words of their
format put in; of zip files half have a member spoiled and their checksums right; half of the archives are built with
hostile members.
A worker process with bounded memory reads; what makes it raise anything but an `LmkError`, die, take long, or write
outside its folder is kept in --findings. `tests/fuzz_seeds/` holds what was found, as `READER-NAME`.

    python -m tests.stress.fuzz --minutes 60 --json
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.output import parser, show
from lmk.util.errors import LmkError

SECONDS = 20.0
"""Of one input, however busy the machine."""
MEMORY = 6 << 30
"""Bytes of address space of a worker; libraries alone map two thirds of it."""
BATCH = 100
"""Inputs of one worker's turn."""
WORDS = {
    "csv": [
        *(b",", b'"', b"\n", b"\r", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff", b" ", b"-1", b"1e999", b"nan", b"inf"),
        *(b"9" * 19, b"9" * 400, b"None", b"id", b"landmarks", b"id,landmarks\n", b"../x", b"\xc3\xa9", b"1_0"),
        b"a" * 70000,
    ],
    "binary": [
        *(b"\0", b"\xff", b"\xff\xd9", b"\xff\xda", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"PK"),
        *(b"\xff\xc4", b"\x80\0\0\0", b"IDAT", b"\x01\0", b"O", b"|O", b"'descr': '|O'", b"(9999999999,)"),
    ],
    "json": [
        *(b"{", b"}", b"[", b"]", b'"', b":", b"null", b"1e999", b"NaN", b"-1", b"..", b"/", b"[" * 5000, b"9" * 5000),
        *(b"\\u0000", b"true", b'"files"', b"stores/../../x"),
    ],
}
PATHS = [
    *("../out", "/tmp/out", "a/../../out", "..\\out", "C:\\out", "a\0b", "x" * 300),
    *("", ".", "a/", "a//b", "\n", "con:x"),
]
"""Of hostile members of archives."""


@dataclass(frozen=True)
class Reader:
    """What is fuzzed: a function of a file in a folder of its own, whole files to spoil, and their format's words."""

    name: str
    read: Callable[[Path], object]
    whole: Callable[[], list[bytes]]
    words: str


def spoil(whole: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the files with a few things wrong."""
    data = bytearray(rng.choice(whole))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice((1, 2, 4, 16, 200)))
        kind = rng.randrange(8)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place:end] = rng.randbytes(end - place)
        elif kind == 2:
            del data[place:end]
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            data[place:place] = data[place:end] * rng.choice((1, 2, 50))
        elif kind == 5:
            data[place:place] = rng.choice(words)
        elif kind == 6:
            data[place:end] = rng.choice(words)
        else:
            other = rng.choice(whole)
            data[place:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)


def spoil_inside(whole: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the zip files with one member spoiled and packed again, so that its checksum is right."""
    data = rng.choice(whole)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            members = {name: bundle.read(name) for name in bundle.namelist()}
    except (zipfile.BadZipFile, RuntimeError, OSError, ValueError):
        return data
    name = rng.choice(list(members))
    members[name] = spoil([members[name]], words, rng)
    with io.BytesIO() as file:
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as bundle:
            warnings.simplefilter("ignore")  # of names that stand twice
            for member, content in members.items():
                bundle.writestr(zipfile.ZipInfo(member or "/"), content)  # zipfile itself writes no empty name
        return file.getvalue()


def _tables() -> list[bytes]:
    rows = ["000088da12d664db,8815", "0001623c6d808702,None", "0001bbb682d45002,0"]
    urls = [f'"{row.split(",")[0]}","http://a/b.jpg","{row.split(",")[1]}"' for row in rows]
    cells = ["a,8815 9 Public", "b,,Private", "c,1,Ignored"]
    return [
        "\n".join(["id,landmark_id", *rows]).encode(),
        "\r\n".join(["id,url,landmark_id", *urls, ""]).encode(),
        "\n".join(["id,landmarks", "a,5 0.5", "b,"]).encode(),
        "\n".join(["id,landmarks,Usage", *cells]).encode().replace(b" Public", b",Public"),
        b"\xef\xbb\xbfid,url\na,http://a\n",
        b"",
    ]


def _photos() -> list[bytes]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 60, 3), np.uint8)
    found = []
    for kind, mode, options in [
        ("JPEG", "RGB", {}), ("JPEG", "RGB", {"progressive": True}), ("JPEG", "L", {}), ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "I;16", {}), ("PNG", "1", {}),
        ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}), ("GIF", "P", {}), ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "F", {}),
    ]:  # fmt: skip
        image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
        image = image.convert("I;16") if mode == "I;16" else image
        exif = Image.Exif()
        exif[0x0112] = 6
        with io.BytesIO() as file:
            image.save(file, kind, **options, **({"exif": exif} if kind in ("JPEG", "WEBP", "PNG", "TIFF") else {}))
            found.append(file.getvalue())
    return found


def _npz() -> list[bytes]:
    found = []
    for arrays in (
        {"ids": np.array(["a", "b"]), "values": np.zeros((2, 3), np.float16)},
        {"ids": np.array(["a"]), "x": np.zeros(1), "y": np.array(["text"])},
    ):
        with io.BytesIO() as file:
            np.savez(file, **arrays)
            found.append(file.getvalue())
    return found


def _parquet() -> list[bytes]:
    from lmk.predictions import Predictions

    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "p.parquet")
        for count in (1, 3, 200):
            ids = np.array([f"q{row}" for row in range(count)])
            Predictions(ids, np.arange(count * 2).reshape(-1, 2), np.ones((count, 2))).save(path)
            found.append(path.read_bytes())
    return found


def _manifests() -> list[bytes]:
    values = {"kernel": "me/k", "bundle": "b", "competition": "c", "recipes": ["r"], "keras": "3", "backend": "t"}
    files = {"stores/s-1/000000.npz": {"size": 3, "sha256": "0" * 64}, "weights/w.h5": {"size": 0, "sha256": ""}}
    return [json.dumps({**values, "files": files}).encode(), json.dumps({**values, "files": {}}, indent=1).encode()]


def _records() -> list[bytes]:
    from lmk.runs import DevFigures, RunRecord, StepRecord

    figures = {"recipe": 0.5, "submission": None}
    record = RunRecord(
        run="c-01", competition="c", root="/c", digest="ab", size={"train": 3}, submission="s.csv", submitted="recipe",
        settings={"recipes": ["r"], "metric": "gap"}, made="2026-01-02T03:04:05+00:00", command="lmk",
        dev=DevFigures(figures, figures, figures, {"recipe": 0.1}, 5, 3), weights={"r": 1.0}, stages=["recipe"],
        predictions={"recipe": "r-1"}, steps=[StepRecord("r", "recipe", "ab", 1.5, True)], seconds={"recipe": 1.5},
        spent={"recipe": 2.5}, reused=[], unreadable={"a": "cut"}, versions={"keras": "3"}, backends={"r": "t"},
        read_side=64, comparison={"side": 64}, local_features={"rootsift": "local-1"},
    )  # fmt: skip
    return [json.dumps(record.to_dict()).encode(), json.dumps(record.to_dict(), indent=1, sort_keys=True).encode()]


def _memories() -> list[bytes]:
    version = {"version": 3, "ref": "a/b", "bundle": "c", "script": "d", "pushed": "e", "url": ""}
    session = {"version": 3, "seconds": 60, "pushed": "e", "number": 1, "state": "running"}
    weights = {"ref": "a/b", "digest": "c", "folder": "/w", "files": {"x.h5": 5}, "sent": "e"}
    team = {"rank": 1, "name": "a", "score": 0.5, "submissions": 3, "date": "e"}
    epoch = {"stage": 0, "loss": 1.5, "dev_score": 0.5}
    training = {"script": "d", "sessions": [session], "pushing": {"seconds": 60}, "published": ""}
    return [json.dumps(one).encode() for one in ([version], training, [weights], [team], [epoch], [["3.15", "jax"]])]


def _checkpoints() -> list[bytes]:
    with io.BytesIO() as file:
        np.savez(file, said=np.array('{"stage": 0}'), model0=np.arange(40.0), best0=np.arange(3))
        return [file.getvalue()]


def _boards() -> list[bytes]:
    head = "Rank,TeamId,TeamName,LastSubmissionDate,Score,SubmissionCount,TeamMemberUserNames"
    rows = ["0,1,host,2026-01-02,0.5,1,h", '1,2,"[red]x, y",2026-01-02,0.4,3,"u,v"', "2,3,z,2026-01-02,,3,w"]
    found = []
    for text in ("\n".join([head, *rows]), "\ufeff" + "\r\n".join([head, *rows, ""])):
        with io.BytesIO() as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
                bundle.writestr("board.csv", text)
            found.append(file.getvalue())
    return found


def _archives() -> list[bytes]:
    found = []
    for rng in map(random.Random, range(60)):
        with io.BytesIO() as file:
            with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as bundle:
                warnings.simplefilter("ignore")  # of names that stand twice
                for number in range(rng.randint(1, 4)):
                    hostile = rng.random() < 0.3
                    member = zipfile.ZipInfo(rng.choice(PATHS) if hostile else f"train/{number}.csv")
                    member.compress_type = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
                    member.external_attr = rng.choice((0, 0o100644, 0o120777, 0o060644, 0o040755)) << 16
                    bundle.writestr(member, rng.choice((b"id\n", b"", bytes(1 << 20), b"../../etc/passwd")))
            found.append(file.getvalue())
    return found


def _read_table(path: Path) -> None:
    from lmk.data.tables import read_sample, read_solution, read_test, read_train

    for read in (read_train, read_test, read_sample, read_solution):
        try:
            read(path)
        except LmkError as error:
            _one_line(error)


def _read_submission(path: Path) -> None:
    from lmk.predictions import read_submission

    read_submission(path)


def _read_photo(path: Path) -> None:
    from lmk.data.images import read_photo

    for side in (None, 16):
        photo = read_photo(path, side)
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
            raise AssertionError(f"A photo of shape {photo.shape}, {photo.dtype}.")


def _unpack(path: Path) -> None:
    from lmk.kaggle.archive import unpack

    inside = path.parent / "inside"
    try:
        unpack(path, inside)
    finally:
        outside = {entry.name for entry in path.parent.iterdir()} - {"inside", path.name}
        links = [entry for entry in inside.rglob("*") if entry.is_symlink()]
        if outside or links or Path("/tmp/out").exists():
            raise AssertionError(f"Written outside: {outside or links or '/tmp/out'}.")


def _read_store(path: Path) -> None:
    from lmk.util.store import ArrayStore

    store = ArrayStore(path.parent, "s", {})
    store.folder.mkdir(exist_ok=True)  # which the first shard makes
    path.replace(store.folder / "000000.npz")
    ids = store.ids()
    try:
        store.load(ids)
    finally:
        if store.folder.joinpath("000000.npz").exists():
            store.folder.joinpath("000000.npz").unlink()


def _read_predictions(path: Path) -> None:
    from lmk.predictions import Predictions

    Predictions.load(path)


def _read_manifest(path: Path) -> None:
    from lmk.kaggle.pull import read_manifest

    for name in read_manifest(path).files:
        if not (path.parent / name).resolve().is_relative_to(path.parent.resolve()):
            raise AssertionError(f"The list may name {name}.")


def _read_kernel_file(path: Path) -> None:
    from lmk.kaggle.inside import sha256_of
    from lmk.kaggle.pull import Entry, check_file

    for name in ("predictions/p.parquet", "stores/s/0.npz", "submissions/s.csv", "runs/r.json", "weights/w.h5"):
        try:
            check_file(path, name, Entry(path.stat().st_size, sha256_of(path)))
        except LmkError as error:
            _one_line(error)


def _read_journal(path: Path) -> None:
    from lmk.data.download import _read_journal as read

    read(path)


def _read_record(path: Path) -> None:
    from lmk.runs import read_record

    read_record(path).to_dict()


def _read_names(path: Path) -> None:
    from lmk.data.names import NAMES, names_flaw, read_names

    path = path.replace(path.with_name(NAMES))
    if bool(names_flaw(path.parent)) and read_names(path.parent):
        raise AssertionError("Names of a table with a flaw.")


def _read_memories(path: Path) -> None:
    """Any of the small files of JSON that lmk keeps for later calls; each reader is given the file."""
    from lmk.kaggle import kernels, train_loop, weights
    from lmk.kaggle.leaderboard import load_board
    from lmk.pipeline.histories import read_history
    from lmk.util.workspace import Workspace

    kernel = kernels.Kernel(path.parent)
    workspace = Workspace.open(path.parent)
    readers: dict[str, Callable[[], object]] = {
        kernels.MEMORY: kernel.versions,
        train_loop.MEMORY: lambda: train_loop.read_training(kernel),
        weights.MEMORY: lambda: weights.published(path.parent),
        workspace.libraries_file.name: workspace.libraries,
        "board.json": lambda: load_board(path.parent / "board.json"),
        "history.json": lambda: read_history(path.parent / "history.json"),
    }
    for name, read in readers.items():
        path = path.replace(path.with_name(name))
        try:
            read()
        except LmkError as error:
            _one_line(error)


def _read_checkpoint(path: Path) -> None:
    """A checkpoint with the right digest of what it holds, if it can have one: else nothing but the digest is read."""
    from lmk.models.checkpoints import read_checkpoint
    from lmk.util.checked import seal_inside

    with suppress(ValueError, OSError):
        seal_inside(path)
    read_checkpoint(path)


def _read_board(path: Path) -> None:
    from lmk.kaggle.leaderboard import medal_lines, read_board

    medal_lines(read_board(path.read_bytes(), "u"))


def _one_line(error: LmkError) -> None:
    if len(str(error)) > 4000 or "\n" in str(error):
        raise AssertionError(f"A message of {len(str(error))} letters, or of several lines: {str(error)[:300]!r}.")


READERS = (
    Reader("table", _read_table, _tables, "csv"),
    Reader("submission", _read_submission, _tables, "csv"),
    Reader("photo", _read_photo, _photos, "binary"),
    Reader("archive", _unpack, _archives, "binary"),
    Reader("store", _read_store, _npz, "binary"),
    Reader("predictions", _read_predictions, _parquet, "binary"),
    Reader("manifest", _read_manifest, _manifests, "json"),
    Reader("kernel-file", _read_kernel_file, lambda: [*_parquet(), *_npz(), *_manifests(), *_tables()[:4]], "binary"),
    Reader("record", _read_record, _records, "json"),
    Reader("names", _read_names, lambda: [b'landmark_id,name\n1,Church\n2,"A, b"\n'], "csv"),
    Reader("memory", _read_memories, _memories, "json"),
    Reader("checkpoint", _read_checkpoint, _checkpoints, "binary"),
    Reader("board", _read_board, _boards, "csv"),
    Reader("journal", _read_journal, lambda: [b"a,stored,5,4,3,00ff\nb,404 Not Found,0,0,0,\n"], "csv"),
)


def attempt(reader: Reader, data: bytes) -> str | None:
    """Read one input; what is wrong with how it went, or None."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        path = Path(folder, "file.bin")
        path.write_bytes(data)
        start = time.process_time()
        try:
            reader.read(path)
        except LmkError as error:
            try:
                _one_line(error)
            except AssertionError as flaw:
                return str(flaw)
        except Exception as error:  # any other kind is what is looked for
            return f"{type(error).__name__}: {str(error)[:300]}"
        seconds = time.process_time() - start
    return f"{seconds:.1f} s for {len(data):,} bytes" if seconds > SECONDS / 4 else None


def work(turn: tuple[str, int, str]) -> list[tuple[str, bytes]]:
    """A worker's turn: `BATCH` inputs of one reader from one seed; the one in work lies in a file, should it die."""
    name, seed, current = turn
    reader = next(reader for reader in READERS if reader.name == name)
    rng, whole, found = random.Random(f"{name} {seed}"), reader.whole(), []
    for _ in range(BATCH):
        spoiled = spoil_inside if whole[0].startswith(b"PK") and rng.random() < 0.5 else spoil
        data = spoiled(whole, WORDS[reader.words], rng) if rng.random() < 0.97 else rng.choice(whole)
        Path(current).write_bytes(data)
        problem = attempt(reader, data)
        if problem is not None:
            found.append((problem, data))
    return found


def _serve(connection: Connection) -> None:
    """A worker process with bounded memory: it does the turns that come, until it is ended."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115, it stays open as long as the worker
    while True:
        connection.send(work(connection.recv()))


class _Worker:
    """A worker process, and another one after each that died or took too long."""

    def __init__(self):
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._connection, other = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()  # so that a worker's death ends the connection

    def do(self, turn: tuple[str, int, str]) -> list[tuple[str, bytes]]:
        """What `work` finds in a turn, or how its worker ended."""
        try:
            self._connection.send(turn)
            if self._connection.poll(SECONDS * BATCH / 4):
                return self._connection.recv()
            problem = "took too long"
        except (EOFError, OSError):
            self._process.join()
            problem = f"died, exit code {self._process.exitcode}"
        self.end()
        self._start()
        return [(problem, Path(turn[2]).read_bytes())]

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def run(minutes: float, findings: Path, seed: int = 0) -> dict[str, Any]:
    """Fuzz all readers in turn for so many minutes; every kind of finding is kept once in `findings`.

    Returns:
        inputs: How many were read, by reader.
        findings: Of each kind: the reader, what went wrong, how often, and the file.
    """
    findings.mkdir(parents=True, exist_ok=True)
    inputs: Counter[str] = Counter()
    kinds: dict[tuple[str, str], dict[str, Any]] = {}
    end, number = time.monotonic() + 60 * minutes, seed
    with tempfile.TemporaryDirectory() as folder:
        worker, current = _Worker(), Path(folder, "current")
        while time.monotonic() < end:
            for reader in READERS:
                found = worker.do((reader.name, number, str(current)))
                inputs[reader.name] += BATCH
                for problem, data in found:
                    kind = (reader.name, "".join(letter for letter in problem[:24] if not letter.isdigit()))
                    if kind not in kinds:
                        path = findings / f"{reader.name}-{len(kinds)}"
                        path.write_bytes(data)
                        kinds[kind] = {"reader": reader.name, "problem": problem, "times": 0, "file": str(path)}
                        print(f"{reader.name}: {problem} ({path})", file=sys.stderr, flush=True)
                    kinds[kind]["times"] += 1
            number += 1
        worker.end()
    return {"minutes": minutes, "inputs": dict(inputs), "findings": list(kinds.values())}


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    options = parser("fuzz", __doc__)
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=0, help="of the first turn; each turn has the next one")
    options.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for what was found")
    return options.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """The command `python -m tests.stress.fuzz`."""
    options = _options(words)
    show(run(options.minutes, options.findings, options.seed), options.json)


if __name__ == "__main__":
    main()
