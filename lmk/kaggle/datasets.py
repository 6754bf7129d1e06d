"""Private datasets on Kaggle: made or versioned from files here, and ready when the call returns."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lmk.kaggle.api import Client
from lmk.util.errors import LmkError, RemoteError
from lmk.util.files import write_json

READY_SECONDS = 600.0
"""Longest wait until Kaggle has processed a dataset."""
POLL_SECONDS = 3.0


def publish(
    client: Client, ref: str, files: Mapping[str, Path], notes: str, ready_seconds: float = READY_SECONDS
) -> None:
    """Make dataset `ref` ("owner/slug") of `files`, or a new version of it; returns when Kaggle has it ready.

    Args:
        client: Kaggle.
        ref: The dataset.
        files: Files here by their names in the dataset, which has no folders.
        notes: Text of the version.
        ready_seconds: Longest wait until it is processed.

    Raises:
        LmkError: Kaggle refuses the dataset.
        RemoteError: Kaggle failed, or the dataset is not ready in time.
    """
    slug = ref.split("/")[1]
    with tempfile.TemporaryDirectory(prefix="lmk-dataset-") as draft, _own_upload_state(Path(draft) / "state"):
        upload = Path(draft, "upload")
        upload.mkdir()
        for name, path in files.items():
            try:
                (upload / name).hardlink_to(path.resolve())  # weights may be large
            except OSError:
                shutil.copyfile(path, upload / name)
        metadata = {"id": ref, "title": slug.replace("-", " "), "licenses": [{"name": "other"}]}
        write_json(upload / "dataset-metadata.json", metadata)
        api = client.api
        there = exists(client, ref)
        answer = client.write(
            f"{'update' if there else 'create'} dataset {ref}",
            lambda: (
                api.dataset_create_version(str(upload), notes, quiet=True)
                if there
                else api.dataset_create_new(str(upload), quiet=True)
            ),
            size=sum(path.stat().st_size for path in files.values()),
        )
    if answer.error or (answer.status or "").lower() == "error":
        raise LmkError(f"Kaggle refused dataset {ref}: {answer.error or 'no reason given'}.")
    wait_until_ready(client, ref, ready_seconds)


def exists(client: Client, ref: str) -> bool:
    """Whether this account sees the dataset; Kaggle answers 403 or 404 where it does not.

    Raises:
        RemoteError: Kaggle failed.
    """
    try:
        client.read(f"look for dataset {ref}", lambda: client.api.dataset_status(ref))
    except RemoteError:
        raise
    except LmkError:
        return False
    return True


def wait_until_ready(client: Client, ref: str, seconds: float = READY_SECONDS) -> None:
    """Return when Kaggle has processed the dataset.

    Raises:
        RemoteError: It is not ready after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        status = str(client.read(f"read the status of dataset {ref}", lambda: client.api.dataset_status(ref))).lower()
        if "ready" in status:
            return
        if "error" in status or "failed" in status:
            raise LmkError(f"Kaggle could not process dataset {ref} ({status}). See its page on the site.")
        if time.monotonic() >= deadline:
            raise RemoteError(f"Dataset {ref} is {status} after {seconds:.0f} s. Run the command again later.")
        time.sleep(POLL_SECONDS)


@contextmanager
def _own_upload_state(folder: Path) -> Iterator[None]:
    """A folder of our own for the state of uploads: the official client uses one for all users of a machine."""
    folder.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
