"""What a kernel's script calls: where its inputs and outputs lie, and the list of what it leaves behind."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from lmk.predictions import NO_LANDMARK, Predictions, best_of
from lmk.util.errors import LmkError
from lmk.util.files import write_json

MANIFEST = "lmk-kernel.json"
KEPT = ("predictions", "weights", "stores", "runs", "submissions")
"""Folders of a workspace that a kernel leaves and `lmk kernel pull` brings home."""
KINDS = (".parquet", ".npz", ".h5", ".json", ".csv", ".sha256")
"""Files among them; checkpoints of an unfinished training are none (`.checkpoint.npz`)."""
WEIGHTS = ("*notop*.h5", "efficientnet-lite*.pth", "xfeat.pt", "aliked-*.pth")
"""Files of pretrained weights: backbones without their classifier, and networks of local features."""
MODEL_VERSION = "models/*/*/*/*/*"
"""Where Kaggle puts an attached model: owner, model, framework, variation, version."""
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


def weights_folder() -> Path:
    """The first attached folder that holds pretrained weights (`WEIGHTS`): of a dataset, a kernel's output or a model.

    Raises:
        LmkError: None is attached.
    """
    root = input_root()
    # A competition's photos lie deeper than a dataset's files; looking at a million of them takes minutes.
    places = ("*", "*/*", "*/*/*", MODEL_VERSION)
    holders = {path.parent for place in places for name in WEIGHTS for path in root.glob(f"{place}/{name}")}
    if not holders:
        raise LmkError(
            f"{root} holds no pretrained weights ({', '.join(WEIGHTS)}). Add a dataset of them to dataset_sources or a "
            "model to model_sources in kernel-metadata.json."
        )
    return min(holders)


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


def lmk(*words: object) -> None:
    """Run the command line: `lmk("make-submission", "--workspace", scratch())`.

    Raises:
        SystemExit: The command failed; it has said why, and that stays the last line of the kernel's log.
    """
    done = subprocess.run([sys.executable, "-m", "lmk.cli.main", *map(str, words)])
    if done.returncode:
        sys.exit(done.returncode)


def leave(kernel: str, competition: str, recipes: Sequence[str], workspace: Path) -> Path:
    """Copy what is worth keeping of a workspace to `/kaggle/working`, with a list of digests.

    `lmk kernel pull` checks by the list what it brings home.
    """
    root = working()
    files = {}
    for source in _kept(workspace):
        name = source.relative_to(workspace).as_posix()
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, root / name)
        files[name] = {"sha256": sha256_of(source), "size": source.stat().st_size}
    manifest = {
        "kernel": kernel,
        "bundle": os.environ.get("LMK_BUNDLE", ""),
        "competition": competition,
        "recipes": list(recipes),
        "keras": metadata.version("keras"),
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "files": files,
    }
    write_json(root / MANIFEST, manifest)
    print(f"{len(files)} files for `lmk kernel pull {kernel}`", flush=True)
    return root / MANIFEST


def _kept(workspace: Path) -> list[Path]:
    """The files of a workspace that are left; too large a store is not."""
    found = [path for name in KEPT for path in (workspace / name).rglob("*") if path.suffix in KINDS]
    found = [path for path in found if not path.name.startswith(".") and ".checkpoint." not in path.name]
    for store in sorted((workspace / "stores").glob("*")):
        size = sum(path.stat().st_size for path in store.glob("*"))
        if size > STORES_LIMIT:
            print(f"{store.name} has {size:,} bytes and is not left behind", flush=True)
            found = [path for path in found if store not in path.parents]
    return sorted(found)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, all 64 digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
