"""Wheels for a kernel whose image lacks a package: a private dataset, sent anew only if the wheels changed."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmk.kaggle.api import Client
from lmk.kaggle.inside import sha256_of
from lmk.kaggle.kernels import Kernel
from lmk.util.errors import LmkError, RemoteError
from lmk.util.files import write_json

MEMORY = "wheels.json"
READY_SECONDS = 300.0
POLL_SECONDS = 3.0


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
    with tempfile.TemporaryDirectory(prefix="lmk-wheels-") as draft, _own_upload_state(Path(draft) / "state"):
        upload = Path(draft, "upload")
        upload.mkdir()
        for wheel in wheels:
            shutil.copyfile(wheel, upload / wheel.name)
        metadata = {"id": ref, "title": slug.replace("-", " "), "licenses": [{"name": "other"}]}
        write_json(upload / "dataset-metadata.json", metadata)
        api = client.api
        exists = _exists(client, ref)
        answer = client.write(
            f"{'update' if exists else 'create'} dataset {ref}",
            lambda: (
                api.dataset_create_version(str(upload), f"wheels {digest[:12]}", quiet=True)
                if exists
                else api.dataset_create_new(str(upload), quiet=True)
            ),
            size=sum(wheel.stat().st_size for wheel in wheels),
        )
    if answer.error or (answer.status or "").lower() == "error":
        raise LmkError(f"Kaggle refused dataset {ref}: {answer.error or 'no reason given'}.")
    _wait_until_ready(client, ref)
    write_json(kernel.folder / MEMORY, {"dataset": ref, "digest": digest})
    return ref


def _remembered(kernel: Kernel) -> object:
    try:
        return json.loads((kernel.folder / MEMORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _exists(client: Client, ref: str) -> bool:
    """Whether the account has the dataset; Kaggle answers 403 or 404 where it has not."""
    try:
        client.read(f"look for dataset {ref}", lambda: client.api.dataset_status(ref))
    except RemoteError:
        raise
    except LmkError:
        return False
    return True


def _wait_until_ready(client: Client, ref: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        status = str(client.read(f"read the status of dataset {ref}", lambda: client.api.dataset_status(ref))).lower()
        if "ready" in status:
            return
        if time.monotonic() >= deadline:
            raise RemoteError(f"Dataset {ref} is {status} after {READY_SECONDS:.0f} s. Run the command again later.")
        time.sleep(POLL_SECONDS)


@contextmanager
def _own_upload_state(folder: Path) -> Iterator[None]:
    """The official client keeps the state of uploads in one folder for all users of a machine; here in its own."""
    folder.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
