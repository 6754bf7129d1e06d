"""Functions that a kernel's script calls: where its inputs and outputs lie, and the list of what it leaves behind."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np

import lmk as lmk_package
from lmk.kaggle.resume import KEPT, MANIFEST, earlier_session, restore, sha256_of
from lmk.kaggle.session import STOP_AFTER, UNFINISHED, Unfinished, time_left
from lmk.predictions import NO_LANDMARK, Predictions, best_of
from lmk.util.backend import backend_here
from lmk.util.errors import LmkError
from lmk.util.files import write_json

KINDS = (".parquet", ".npz", ".h5", ".json", ".csv", ".sha256")
"""Files of the kept folders that are left; checkpoints (`.checkpoint.npz`) only of an unfinished training."""
STORES_LIMIT = 4_000_000_000
"""Bytes of a store that is still left: retrieval at home needs descriptors, but Kaggle keeps only 20 GB."""


def input_root() -> Path:
    """Where Kaggle puts what is attached; `LMK_KAGGLE_INPUT` stands in for it elsewhere."""
    return Path(os.environ.get("LMK_KAGGLE_INPUT", "/kaggle/input"))


def working() -> Path:
    """Where a kernel leaves its results; `LMK_KAGGLE_WORKING` stands in for it elsewhere."""
    return Path(os.environ.get("LMK_KAGGLE_WORKING", "/kaggle/working"))


def attached(slug: str) -> Path:
    """The folder of an attached competition, dataset or kernel's output, in any of the layouts that Kaggle has had.

    Raises:
        LmkError: Nothing of that name is attached.
    """
    root = input_root()
    for place in (root / slug, root / "competitions" / slug, *root.glob(f"*/*/{slug}"), *root.glob(f"*/{slug}")):
        if place.is_dir():
            return place
    there = ", ".join(sorted(path.name for path in root.glob("*"))) or "nothing"
    raise LmkError(f"{slug} is not attached to this kernel ({root} holds {there}). Add it to kernel-metadata.json.")


RECIPES = "recipes"
"""Folder of the kernel's recipe files in its bundle, beside the package."""


def bundled(name: str) -> str:
    """Path of a recipe file that was pushed with the kernel.

    Raises:
        LmkError: No such file was beside the script.
    """
    path = _recipes_folder() / name
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*"))) or "none"
        raise LmkError(f"{name} was not pushed with this kernel (recipe files: {there}). Put it beside the script.")
    return str(path)


def _recipes_folder() -> Path:
    return Path(lmk_package.__file__).parent.parent / RECIPES


WEIGHTS = (
    "*notop*.h5",
    "efficientnet-lite*.pth",
    "xfeat.pt",
    "aliked-*.pth",
    "*.weights.h5",
    "*.safetensors",
    "pytorch_model.bin",
    "*.pth",
    "*.pt",
)
"""Files of weights as datasets and models hold them; backbones without their classifier go first."""
MODEL_DEPTH = "models/*/*/*/*/*/"
"""Where Kaggle puts an attached model: owner, model, framework, variation, version."""


def weights_folder() -> Path:
    """The attached folder that holds weights: a dataset's, or that of a model (`model_sources`).

    Raises:
        LmkError: None is attached.
    """
    # A competition's photos lie deeper than a dataset's files; looking at a million of them takes minutes.
    for pattern in WEIGHTS:
        depths = (f"*/{pattern}", f"*/*/{pattern}", f"*/*/*/{pattern}", MODEL_DEPTH + pattern)
        holders = {path.parent for depth in depths for path in input_root().glob(depth)}
        holders = {folder for folder in holders if not _is_output(folder)}
        if holders:
            return min(holders)
    raise LmkError(
        f"{input_root()} holds no weights of backbones ({', '.join(WEIGHTS)}). "
        "`lmk weights push FOLDER --attach KERNEL` makes a dataset of them and attaches it; or add a dataset to "
        "dataset_sources or a model to model_sources in kernel-metadata.json."
    )


def _is_output(folder: Path) -> bool:
    """Whether a folder is part of another kernel's output: trained weights are no backbone's."""
    return (folder / MANIFEST).is_file() or (folder.parent / MANIFEST).is_file()


def is_rerun() -> bool:
    """Whether this is the scored run of a code competition, which sees other photos."""
    return bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))


def keep_present(predictions: Predictions, landmarks: np.ndarray) -> Predictions:
    """Predictions without the landmarks that are absent from `landmarks` (m,) int; what is left moves up."""
    present = np.isin(predictions.landmarks, landmarks)
    kept = np.where(present, predictions.landmarks, NO_LANDMARK)
    return best_of(predictions.ids, kept, predictions.scores, predictions.landmarks.shape[1])


def scratch() -> Path:
    """A workspace on the kernel's own disk, which Kaggle does not keep: stored features may be large."""
    return Path(tempfile.gettempdir(), "workspace")


@dataclass
class _Session:
    """State of the script: commands that ran, and the session of training that it is in."""

    commands: list[list[str]] = field(default_factory=list)
    number: int = 1
    stops: bool = False


_session = _Session()


def lmk(*words: object) -> None:
    """Run the command line: `lmk("make-submission", "--workspace", scratch())`.

    Within `session` training stops before Kaggle would stop the kernel.

    Raises:
        Unfinished: The command stopped in time, with a checkpoint; only within `session`.
        SystemExit: The command failed; it has said why, and that stays the last line of the kernel's log.
    """
    command = [str(word) for word in words]
    _session.commands.append(command)
    environment = dict(os.environ)
    left = time_left() if _session.stops else None
    if left is not None:
        if left <= 0:
            raise Unfinished
        environment[STOP_AFTER] = f"{max(1.0, left):.0f}s"
    done = subprocess.run([sys.executable, "-m", "lmk.cli.main", *command], env=environment)
    if done.returncode == UNFINISHED and _session.stops:
        raise Unfinished
    if done.returncode:
        sys.exit(done.returncode)


@contextmanager
def session(kernel: str, competition: str, recipes: Sequence[str], workspace: Path) -> Iterator[None]:
    """One session of a training that may need several: `lmk kernel train` pushes the next one.

    On entry, what an earlier session left is copied into the workspace; on exit, what is worth keeping is left. A
    training that stopped before Kaggle's limit ends the script well, since Kaggle keeps the output of such a run.
    """
    earlier = earlier_session(input_root(), kernel)
    if earlier is not None:
        count = restore(earlier, workspace)
        _session.number = earlier.session + 1
        print(
            f"session {_session.number}: {count} files of session {earlier.session} from {earlier.folder}", flush=True
        )
    _session.stops = True
    try:
        yield
    except Unfinished:
        leave(kernel, competition, recipes, workspace, finished=False)
        print(f"session {_session.number} stopped before its limit; `lmk kernel train {kernel}` goes on", flush=True)
    else:
        leave(kernel, competition, recipes, workspace)
    finally:
        _session.stops = False


def leave(kernel: str, competition: str, recipes: Sequence[str], workspace: Path, finished: bool = True) -> Path:
    """Copy what is worth keeping of a workspace to `/kaggle/working`, with a list of digests, written last.

    `lmk kernel pull` checks by the list what it brings home. An unfinished training leaves its checkpoints, too.
    """
    root = working()
    files = {}
    for source in _kept(workspace, checkpoints=not finished):
        name = source.relative_to(workspace).as_posix()
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / name)
        files[name] = {"sha256": sha256_of(source), "size": source.stat().st_size}
    manifest = {
        "kernel": kernel,
        "bundle": os.environ.get("LMK_BUNDLE", ""),
        "competition": competition,
        "recipes": _portable(recipes),
        "keras": metadata.version("keras"),
        "backend": backend_here().name,
        "versions": _versions(),
        "commands": [_portable(command) for command in _session.commands],
        "finished": finished,
        "session": _session.number,
        "files": files,
    }
    write_json(root / MANIFEST, manifest)
    print(f"{len(files)} files for `lmk kernel pull {kernel}`", flush=True)
    return root / MANIFEST


def _versions() -> dict[str, str]:
    """Versions of what computes: Python, and the packages whose numbers differ from version to version."""
    found = {"python": platform.python_version()}
    for package in ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "scikit-learn"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _portable(command: Sequence[str]) -> list[str]:
    """A command's words, so that paths can be named elsewhere: `input:REST` below /kaggle/input, `recipe:FILE`."""
    places = {"input": str(input_root()), "recipe": str(_recipes_folder())}
    portable = list(command)
    for kind, root in places.items():
        portable = [
            f"{kind}:{Path(word).relative_to(root).as_posix()}" if word.startswith(f"{root}/") else word
            for word in portable
        ]
    return portable


def _kept(workspace: Path, checkpoints: bool) -> list[Path]:
    """The files of a workspace that are left; too large a store is not."""
    found = [path for name in KEPT for path in (workspace / name).rglob("*") if path.suffix in KINDS]
    found = [path for path in found if not path.name.startswith(".")]
    found = [path for path in found if checkpoints or ".checkpoint." not in path.name]
    for store in sorted((workspace / "stores").glob("*")):
        size = sum(path.stat().st_size for path in store.glob("*"))
        if size > STORES_LIMIT:
            print(f"{store.name} has {size:,} bytes and is not left behind", flush=True)
            found = [path for path in found if store not in path.parents]
    return sorted(found)
