"""Downloads: every photo or its reason, none twice; killed and gone on with; polite to hosts."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import photo_server
import pytest

from lmk.cli.main import main
from lmk.data.address import Limits
from lmk.data.competitions import read_competition
from lmk.data.download import STORED, Way, download, photo_path
from lmk.data.hosts import Turns
from lmk.data.images import read_photo
from lmk.util.errors import LmkError

REASONS = {
    "missing": "404 Not Found",
    "gone": "410 Gone",
    "forbidden": "403 Forbidden",
    "broken": "500 Server Error",
    "reset": "connection broken",
    "page": "an HTML page, not a photo",
    "short": "cut short",
    "empty": "empty file",
    "loop": "redirected too often",
    "silent": "no answer in time",
}
WAY = Way(threads=8, backoff=0.01, limits=Limits(silence=0.4), allow_private=True)  # the server is on this machine


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(40):
        small = rng.integers(0, 255, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), cv2.resize(small, (160, 120)))
    return folder


@pytest.fixture
def server(photos):
    """The address of a server that runs while the test does."""
    path = Path(photo_server.__file__)
    process = subprocess.Popen([sys.executable, path, photos], stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.wait()


def asked(server: str) -> Counter:
    return Counter(json.load(urlopen(f"{server}/count")))


def listed(server: str, kinds: list[str]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([f"{number:016x}"[::-1] for number in range(len(kinds))])
    return ids, np.array([f"{server}/{kind}/{number}.jpg" for number, kind in enumerate(kinds)])


def test_every_address_gives_a_photo_or_its_reason(server, tmp_path):
    ids, urls = listed(server, ["photo"] * 30 + list(photo_server.FAILURES) + ["busy"])
    extra = ["http://no-such-host.invalid/1.jpg", "ftp://127.0.0.1/1.jpg", "", "http://[", "http://127.0.0.1:1/1.jpg"]
    names = np.concatenate([ids, [f"extra{number}" for number in range(len(extra))]])
    found = download(names, np.concatenate([urls, extra]), tmp_path / "train", WAY)
    assert (found.stored, found.new) == (31, 31)
    rows = {row["id"]: row for row in csv.DictReader(found.table.open())}
    assert list(rows) == names.tolist()
    for number, kind in enumerate(photo_server.FAILURES, start=30):
        assert rows[ids[number]]["outcome"] == REASONS[kind], kind
    outcomes = [rows[f"extra{number}"]["outcome"] for number in range(len(extra))]
    wrong = "no address of http or https"
    assert outcomes == ["no such host", wrong, wrong, wrong, "connection refused"]
    assert sum(found.reasons.values()) == 10 + len(extra)
    for name in [*ids[:30], ids[40]]:
        assert read_photo(photo_path(tmp_path / "train", name)).shape == (120, 160, 3)
        assert (rows[name]["outcome"], rows[name]["width"], rows[name]["height"]) == (STORED, "160", "120")


def test_what_failed_for_good_is_asked_once_and_what_may_pass_as_often_as_it_was_said(server, tmp_path):
    ids, urls = listed(server, ["photo", "missing", "broken", "busy", "page"])
    download(ids, urls, tmp_path / "train", WAY)
    assert [asked(server)[url.removeprefix(server)] for url in urls] == [1, 1, 3, 2, 1]


def test_a_second_call_asks_for_nothing_and_retry_for_what_failed(server, tmp_path):
    ids, urls = listed(server, ["photo", "missing", "photo"])
    first = download(ids, urls, tmp_path / "train", WAY)
    second = download(ids, urls, tmp_path / "train", WAY)
    assert (second.stored, second.new, second.reasons) == (2, 0, first.reasons)
    assert sum(asked(server).values()) == 3
    download(ids, urls, tmp_path / "train", WAY, retry=True)
    assert asked(server)["/missing/1.jpg"] == 2
    assert sum(asked(server).values()) == 4


def test_a_larger_photo_is_scaled_and_a_small_one_keeps_its_bytes(server, tmp_path, photos):
    ids, urls = listed(server, ["photo"])
    download(ids, urls, tmp_path / "small", Way(side=40, allow_private=True))
    assert read_photo(photo_path(tmp_path / "small", ids[0])).shape == (30, 40, 3)
    download(ids, urls, tmp_path / "same", Way(side=160, allow_private=True))
    assert photo_path(tmp_path / "same", ids[0]).read_bytes() == (photos / "000.jpg").read_bytes()
    with pytest.raises(LmkError, match="begun with --side 40, not no --side"):
        download(ids, urls, tmp_path / "small", Way())


def test_one_address_at_several_ids_is_asked_once_and_the_same_bytes_lie_once_on_the_disk(server, tmp_path):
    ids, urls = listed(server, ["photo"] * 3)
    urls = np.array([urls[0], urls[0], f"{server}/photo/40.jpg"])  # 40 photos: number 40 is number 0 again
    found = download(ids, urls, tmp_path / "train", WAY)
    assert found.stored == 3
    assert sum(asked(server).values()) == 2
    assert len({photo_path(tmp_path / "train", name).stat().st_ino for name in ids}) == 1


def test_a_host_serves_no_more_at_once_than_it_was_said(server, tmp_path):
    ids, urls = listed(server, ["photo"] * 200)
    download(ids, urls, tmp_path / "train", Way(threads=24, each_host=3, allow_private=True))
    assert json.load(urlopen(f"{server}/most")) <= 3 + 1  # and this very request


def test_a_download_killed_again_and_again_ends_with_all_and_asks_hardly_more(server, tmp_path):
    ids, urls = listed(server, ["photo", "photo", "photo", "photo", "missing", "photo"] * 60)
    table = "\n".join(["id,url,landmark_id", *(f"{name},{url},1" for name, url in zip(ids, urls, strict=True))])
    (tmp_path / "train.csv").write_text(table + "\n")
    command = [sys.executable, "-m", "lmk.cli.main", "data", "download", "-c", str(tmp_path), "--threads", "4"]
    command += ["-w", str(tmp_path / "w"), "--json", "--allow-private"]
    chosen = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        before = sum(asked(server).values())
        while process.poll() is None and sum(asked(server).values()) < before + chosen.randint(20, 100):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["parts"]["train"]["stored"] == 300
    rows = list(csv.DictReader((tmp_path / "train.downloads.csv").open()))
    assert Counter(row["outcome"] for row in rows) == {STORED: 300, "404 Not Found": 60}
    assert sorted(row["id"] for row in rows) == sorted(ids)
    assert len(list((tmp_path / "train").rglob("*.*"))) == 300  # no temporary file, none twice
    again = sum(asked(server).values()) - len(ids)
    assert again <= 3 * (4 + 64)  # requests in flight, and failures whose lines were not written yet


def test_what_was_downloaded_is_a_competition(server, tmp_path, monkeypatch, capsys):
    ids, urls = listed(server, ["photo", "photo", "missing", "photo"])
    rows = [f'"{name}","{url}",{number % 2}' for number, (name, url) in enumerate(zip(ids, urls, strict=True))]
    (tmp_path / "train.csv").write_text("\n".join(["id,url,landmark_id", *rows]) + "\n")
    (tmp_path / "test.csv").write_text(f"id,url\nffff,{server}/photo/9.jpg\n")
    monkeypatch.setattr(
        sys, "argv", ["lmk", "data", "download", "-c", str(tmp_path), "-w", str(tmp_path / "w"), "--allow-private"]
    )
    with pytest.raises(SystemExit):
        main()
    assert "404 Not Found" in capsys.readouterr().out
    competition = read_competition("some", tmp_path)
    assert competition.train_ids.tolist() == [ids[0], ids[1], ids[3]]
    assert competition.has_photo(competition.test_ids).all()


def test_a_competition_without_addresses_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "train.csv").write_text("id,landmark_id\na,1\n")
    monkeypatch.setattr(sys, "argv", ["lmk", "data", "download", "-c", str(tmp_path), "-w", str(tmp_path / "w")])
    with pytest.raises(SystemExit):
        main()
    assert "no column `url`" in capsys.readouterr().err


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_host_that_asks_for_a_pause_gets_it_and_others_go_on():
    clock, hosts = Clock(), ["a", "a", "b"]
    turns = Turns(range(3), hosts.__getitem__, each=1, clock=clock)
    first, second = turns.take(), turns.take()
    assert {hosts[first], hosts[second]} == {"a", "b"}
    of_a, of_b = (first, second) if hosts[first] == "a" else (second, first)
    turns.done(of_b)
    turns.again(of_a, seconds=1.0, pause=30.0)
    clock.now = 29.0
    assert turns._next() == (None, 1.0)
    clock.now = 30.0
    assert hosts[turns.take()] == "a"


def test_when_all_is_done_every_thread_is_let_go():
    turns = Turns([0], lambda task: "", each=1)
    assert turns.take() == 0
    turns.done(0)
    assert turns.take() is None


def test_a_full_disk_ends_the_download_with_its_name(server, tmp_path, monkeypatch):
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", os.fspath(path))

    ids, urls = listed(server, ["photo"] * 5)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        download(ids, urls, tmp_path / "train", WAY)
