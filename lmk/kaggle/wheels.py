"""Wheels for a kernel whose image lacks a package: a private dataset, sent anew only if the wheels changed."""

import hashlib
import json
from pathlib import Path

from lmk.kaggle.api import Client
from lmk.kaggle.datasets import publish
from lmk.kaggle.kernels import Kernel
from lmk.kaggle.resume import sha256_of
from lmk.util.errors import LmkError
from lmk.util.files import write_json

MEMORY = "wheels.json"


def publish_wheels(client: Client, kernel: Kernel, folder: Path) -> str:
    """Bring a folder of wheels to Kaggle as a private dataset of this kernel.

    Args:
        client: Kaggle.
        kernel: Remembers which wheels were sent.
        folder: Holds `*.whl` files, as `pip download --no-deps --only-binary=:all:` leaves them.

    Returns:
        The dataset's OWNER/SLUG, once Kaggle has it ready.

    Raises:
        LmkError: There are no wheels, or Kaggle refuses the dataset.
        RemoteError: Kaggle failed, or the dataset is not ready in time.
    """
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise LmkError(
            f"{folder} holds no wheels. Run `pip download --no-deps --only-binary=:all: -d {folder} PACKAGE`."
        )
    digest = hashlib.sha256("".join(path.name + sha256_of(path) for path in wheels).encode()).hexdigest()
    slug = f"lmk-{kernel.name}-wheels"[:50].strip("-")
    ref = f"{client.username}/{slug}"
    if _remembered(kernel) == {"dataset": ref, "digest": digest}:
        return ref
    publish(client, ref, {wheel.name: wheel for wheel in wheels}, f"wheels {digest[:12]}")
    write_json(kernel.folder / MEMORY, {"dataset": ref, "digest": digest})
    return ref


def _remembered(kernel: Kernel) -> object:
    try:
        return json.loads((kernel.folder / MEMORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
