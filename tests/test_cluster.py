"""Many machines give the evidence that one process gives, also when a worker dies; a cluster that dies says so."""

import os
import shutil
import signal
import subprocess
import threading
import time

import dask
import distributed
import joblib
import numpy as np
import pytest
from scenes import scene, tilt, view

from lmk.local import verify as verification
from lmk.local.features import extract
from lmk.local.rootsift import RootSift
from lmk.local.verify import verify
from lmk.predictions import Predictions
from lmk.util.cluster import on_cluster, versions, workers_apart
from lmk.util.errors import LmkError, RemoteError
from lmk.util.store import ArrayStore

EXTRACTOR = RootSift(side=160, max_features=100)
PHOTOS = {
    f"{landmark}{take}": view(scene(landmark, (160, 120)), tilt(3 * take, 1.0, (4 * take, 0)), take)
    for landmark in range(4)
    for take in range(4)
}
GALLERY = {landmark: [f"{landmark}{take}" for take in range(4)] for landmark in range(4)}
ASKED = Predictions(
    np.array(list(PHOTOS)),
    np.array([[int(name[0]), (int(name[0]) + 1) % 4] for name in PHOTOS]),
    np.ones((len(PHOTOS), 2)) * [1.0, 0.5],
)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr("lmk.util.cluster.SECONDS", 3)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as made:
        yield made


def run(folder, jobs=1, told=lambda: None) -> dict[str, bytes]:
    """Extract and verify into `folder`; the bytes of what is stored."""
    features, pairs = ArrayStore(folder, "features", {}), ArrayStore(folder, "pairs", {})
    table = extract(PHOTOS.__getitem__, list(PHOTOS), features, EXTRACTOR, jobs)
    told()
    evidence = verify(ASKED, GALLERY, table, table, pairs, jobs=jobs)
    assert evidence.inliers.max() > 20
    return {path.name + path.parent.name: path.read_bytes() for path in sorted(folder.glob("*/*.npz"))}


def test_a_cluster_stores_the_bytes_that_one_process_stores(cluster, tmp_path):
    one = run(tmp_path / "one")
    with on_cluster(cluster.scheduler_address) as threads:
        assert threads == 2
        assert workers_apart()
        assert run(tmp_path / "two", threads) == one
    assert not workers_apart()


def test_a_killed_worker_costs_its_work_in_hand_and_nothing_else(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "SHARD", 8)
    one = run(tmp_path / "one")
    pid = next(iter(cluster.workers.values())).pid

    def kill() -> None:
        def soon() -> None:
            while not list((tmp_path / "two").glob("pairs*/*.npz")):
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)

        threading.Thread(target=soon, daemon=True).start()

    with on_cluster(cluster.scheduler_address) as threads:
        assert run(tmp_path / "two", threads, kill) == one


def test_a_scheduler_that_is_not_there_is_named():
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1:9"), on_cluster("tcp://127.0.0.1:9"):
        pass


def test_no_address_is_a_mistake_in_one_line():
    with pytest.raises(LmkError, match="No Dask scheduler"), on_cluster("nowhere at all"):
        pass


@pytest.fixture
def certificate(tmp_path) -> dict[str, str]:
    """Dask's settings for a certificate that signs itself, for all roles."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lmk"
    subprocess.run([*words.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    roles = [f"distributed.comm.tls.{role}" for role in ("client", "scheduler", "worker")]
    files = {f"{role}.{kind}": path for role in roles for kind, path in (("cert", cert), ("key", key))}
    return {"distributed.comm.tls.ca-file": cert, **files}


def test_an_encrypted_cluster_is_reached_with_dasks_own_settings_and_only_so(certificate):
    with dask.config.set(certificate):
        security = distributed.Security(require_encryption=True)
    options = {"processes": False, "dashboard_address": None, "protocol": "tls://", "silence_logs": 50}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, security=security, **options) as made:
        with dask.config.set(certificate), on_cluster(made.scheduler_address) as threads:
            assert joblib.Parallel(threads)(joblib.delayed(abs)(number) for number in (-1, -2)) == [1, 2]
        with pytest.raises(LmkError, match="TLS__CA_FILE"), on_cluster(made.scheduler_address):
            pass
        absent = certificate | {"distributed.comm.tls.ca-file": "absent.pem"}
        missing = pytest.raises(RemoteError, match="TLS__CA_FILE")
        with dask.config.set(absent), missing, on_cluster(made.scheduler_address):
            pass


def test_a_cluster_that_goes_away_says_what_to_do(tmp_path):
    made = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    with pytest.raises(RemoteError, match="run it again"), on_cluster(made.scheduler_address) as threads:
        run(tmp_path / "w", threads, lambda: made.close(timeout=1))
    assert run(tmp_path / "w") == run(tmp_path / "one")  # what was stored is whole


def test_workers_must_have_the_same_packages(cluster, monkeypatch):
    other = versions() | {"numpy": "1.0"}
    monkeypatch.setattr("lmk.util.cluster.versions", lambda: other)
    monkeypatch.setattr(distributed.Client, "run", lambda *_: {"tcp://w": other | {"numpy": "2.0"}})
    told = r"numpy is 2\.0 on worker tcp://w, but 1\.0 here"
    with pytest.raises(LmkError, match=told), on_cluster(cluster.scheduler_address):
        pass
