"""Work on many machines: joblib's Dask backend, for stages that are many independent photos or pairs.

Shards stay with this process, which writes them as always: a worker that is lost costs the work that it had in hand,
which another one does again, and a scheduler that goes away costs the shard in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import joblib

from lmk.util.errors import LmkError, RemoteError

SAME = ("lmk", "numpy", "opencv-python-headless")
"""Packages that must be the same everywhere, for the same bytes."""
TLS = ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")
"""Ends of the variables `DASK_DISTRIBUTED__COMM__TLS__...` that a client of an encrypted cluster needs."""
SECONDS = 20
"""Until a scheduler that does not answer, or has no worker, is given up."""


def workers_apart() -> bool:
    """Whether the workers of the present joblib backend share no memory with this process."""
    return type(joblib.parallel.get_active_backend()[0]).__name__ == "DaskDistributedBackend"


@contextmanager
def on_cluster(address: str) -> Iterator[int]:
    """Let joblib's work run on a Dask cluster while the block runs; gives the number of its threads.

    Args:
        address: Address of the scheduler, as `dask scheduler` prints it: `tcp://HOST:8786`, or `tls://HOST:8786` for
            one that was started with `--tls-ca-file`, `--tls-cert` and `--tls-key`. Certificates come from Dask's own
            settings (`distributed.comm.tls`, in its files or in variables):
            https://distributed.dask.org/en/stable/tls.html

    Raises:
        LmkError: Dask is not installed, or the workers' packages are not this process'.
        RemoteError: The scheduler does not answer, has no workers, or went away.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise LmkError("--cluster needs Dask, which is not installed. Run `pip install 'lmk[cluster]'`.") from error
    failures = (
        OSError,
        CancelledError,
        asyncio.CancelledError,
        distributed.KilledWorker,
        distributed.core.CommClosedError,
    )
    with dask.config.set({"distributed.comm.timeouts.connect": SECONDS}):
        try:
            client = distributed.Client(address, timeout=SECONDS, set_as_default=False)
        except TypeError as error:  # Dask's own answer to tls:// without certificates
            raise LmkError(f"{address} is encrypted, and {_certificates()}") from error
        except (OSError, ValueError) as error:
            hint = f" If there is one, {_certificates()}" if address.startswith("tls://") else ""
            raise RemoteError(
                f"No Dask scheduler answers at {address}. Start one by `dask scheduler`, and workers by `dask "
                f"worker`.{hint}"
            ) from error
        try:
            _check_workers(client, address)
            with joblib.parallel_config(backend="dask", client=client):
                yield sum(client.ncores().values())
        except failures as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a full disk, not the network
            raise RemoteError(
                f"The cluster at {address} went away ({type(error).__name__}). What is stored stays: run it again."
            ) from error
        finally:
            client.close(timeout=2)


def _certificates() -> str:
    """What an encrypted cluster asks of its clients, as the end of a sentence."""
    names = [f"DASK_DISTRIBUTED__COMM__TLS__{name}" for name in TLS]
    return f"Dask's settings must name this client's certificates: {', '.join(names)}, which are files."


def versions() -> dict[str, str]:
    """Versions of the packages in `SAME`, in the process that calls it."""
    found = {}
    for name in SAME:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def _check_workers(client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=SECONDS)
    except TimeoutError as error:
        raise RemoteError(
            f"The Dask scheduler at {address} has no workers. Start some: `dask worker {address}`."
        ) from error
    here = versions()
    for worker, there in client.run(versions).items():
        for name in SAME:
            if there[name] != here[name]:
                raise LmkError(f"{name} is {there[name]} on worker {worker}, but {here[name]} here. Install the same.")
