"""Which hosts a table of addresses may reach, who asks, and how long one request may take whatever the server sends."""

import csv
import socket
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import urllib3

from lmk import __version__
from lmk.data.address import Limits, NoPhoto, get, is_public, photo_pool
from lmk.data.download import STORED, Way, download
from lmk.util.deadline import deadline
from lmk.util.errors import LmkError


class Server:
    """Hands each connection to `answer`, with the request's head; counts the connections."""

    def __init__(self, answer):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.heads: list[bytes] = []
        self._answer = answer
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.heads.append(connection.recv(1 << 16))
                self._answer(connection, self.heads[-1])
            except OSError:
                pass


@pytest.fixture
def serve() -> Iterator:
    servers: list[Server] = []

    def start(answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.socket.close()


def drip(head: bytes, piece: bytes):
    def answer(connection: socket.socket, asked: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.05)

    return answer


DRIPS = {
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", b"x"),
    "body without a length": (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "length of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "header": (b"HTTP/1.1 200 OK\r\nA: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
    "status": (b"HTTP/1.1 200 ", b"O"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "packed body": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\0"),
}


@pytest.mark.parametrize("kind", DRIPS)
def test_a_server_that_is_never_silent_holds_a_request_no_longer_than_its_limit(serve, kind):
    server = serve(drip(*DRIPS[kind]))
    start = time.monotonic()
    with pytest.raises(NoPhoto, match="too slow"):
        get(urllib3.PoolManager(), server.address, Limits(silence=3.0, seconds=0.5))
    assert time.monotonic() - start < 3.0


def test_redirects_share_the_limit_of_one_request(serve):
    def answer(connection: socket.socket, asked: bytes) -> None:
        time.sleep(0.3)
        # It closes the connection and says so; else the next request may go out on one that is just being closed.
        connection.sendall(b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")

    start = time.monotonic()
    with pytest.raises(NoPhoto, match="too slow"):
        get(urllib3.PoolManager(), serve(answer).address, Limits(silence=3.0, seconds=0.5))
    assert time.monotonic() - start < 1.2


def test_a_connection_that_was_in_time_serves_the_next_request(serve):
    """A deadline that has ended must not cut off what comes after it on the same connection."""

    def answer(connection: socket.socket, asked: bytes) -> None:
        for _ in range(2):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.recv(1 << 16)

    server, pool = serve(answer), urllib3.PoolManager()
    assert get(pool, server.address, Limits(seconds=0.4)) == b"ok"
    time.sleep(0.6)
    assert get(pool, server.address, Limits(seconds=5)) == b"ok"
    assert len(server.heads) == 1


def test_a_deadline_without_a_limit_never_passes():
    with deadline(None) as limit:
        time.sleep(0.05)
    assert not limit.passed


PRIVATE = [
    *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "not an address"),
    *("::127.0.0.1", "::ffff:0:127.0.0.1", "3fff::1", "5f00::1", "64:ff9b:1::1", "fec0::1"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_of_this_machine_or_of_a_private_network_is_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "208.80.154.240", "2620:0:861:ed1a::1", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_a_private_host_is_refused_however_it_is_written(serve, host):
    server = serve(drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x"))
    port = server.address.rsplit(":", 1)[1]
    with pytest.raises(NoPhoto, match=r"private network|no such host"):
        get(photo_pool(2), f"http://{host}:{port}/photo.jpg", Limits(seconds=2))
    assert server.heads == []


def test_a_name_that_leads_to_a_private_address_is_refused_and_a_public_one_is_asked_by_the_address_that_was_checked(
    serve, monkeypatch
):
    server = serve(lambda connection, asked: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    port = int(server.address.rsplit(":", 1)[1])
    lookup, asked = socket.getaddrinfo, []

    def named(host, *rest, **options):
        asked.append(host)
        address = {"inside.example": "10.0.0.7", "outside.example": "127.0.0.1"}.get(host, host)
        return lookup(address, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", named)
    with pytest.raises(NoPhoto, match="private network"):
        get(photo_pool(2), f"http://inside.example:{port}/", Limits(seconds=2))
    monkeypatch.setattr("lmk.data.address.is_public", lambda address: address == "127.0.0.1")
    asked.clear()
    assert get(photo_pool(2), f"http://outside.example:{port}/", Limits(seconds=5)) == b"ok"
    assert asked == ["outside.example", "127.0.0.1"]  # the name is looked up once
    assert b"Host: outside.example" in server.heads[-1]


def test_a_redirect_to_a_private_host_is_refused(serve, monkeypatch):
    inner = serve(lambda connection, asked: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    port = inner.address.rsplit(":", 1)[1]
    head = f"HTTP/1.1 302 Found\r\nLocation: http://[::ffff:127.0.0.1]:{port}/\r\nContent-Length: 0\r\n\r\n"
    outer = serve(lambda connection, asked: connection.sendall(head.encode()))
    monkeypatch.setattr("lmk.data.address.is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(NoPhoto, match="private network"):
        get(photo_pool(2), outer.address, Limits(seconds=5))
    assert len(outer.heads) == 1
    assert inner.heads == []


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "//", "http://", "gopher://x/"])
def test_a_redirect_to_no_web_address_is_a_reason_and_no_error(serve, target):
    head = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
    server = serve(lambda connection, asked: connection.sendall(head.encode()))
    with pytest.raises(NoPhoto):
        get(urllib3.PoolManager(), server.address, Limits(seconds=2))


def test_private_hosts_are_refused_by_default_and_the_table_says_why(serve, tmp_path):
    server = serve(lambda connection, asked: connection.sendall(b"HTTP/1.1 404 Gone\x1b]0;x\x07\r\n\r\n"))
    ids, urls = np.array(["abcd"]), np.array([f"{server.address}/1.jpg"])
    found = download(ids, urls, tmp_path / "train", Way())
    assert list(found.reasons) == ["address of this machine or a private network (--allow-private)"]
    assert server.heads == []
    found = download(ids, urls, tmp_path / "train", Way(allow_private=True), retry=True)
    assert list(found.reasons) == ["404 Gone?]0;x?"]  # no escape of a terminal goes into the table
    assert len(server.heads) == 1


def test_requests_say_who_asks_and_where_to_reach_them(serve, tmp_path):
    server = serve(lambda connection, asked: connection.sendall(b"HTTP/1.1 404 Gone\r\n\r\n"))
    way = Way(allow_private=True, contact="me@example.org")
    download(np.array(["abcd"]), np.array([f"{server.address}/1.jpg"]), tmp_path / "train", way)
    assert f"User-Agent: lmk/{__version__} (".encode() in server.heads[0]
    assert b"; me@example.org)" in server.heads[0]


@pytest.mark.parametrize("contact", ["a\nInjected: b", "mé", "\x1b"])
def test_a_contact_that_a_header_cannot_hold_is_refused_before_anything_is_asked(contact, tmp_path):
    with pytest.raises(LmkError, match="printable ASCII"):
        download(np.array(["abcd"]), np.array(["http://127.0.0.1/"]), tmp_path / "train", Way(contact=contact))


def test_a_host_is_asked_by_few_at_once_by_default():
    assert Way().each_host <= 3


def photo() -> bytes:
    return cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))[1].tobytes()


@pytest.fixture
def photos(serve) -> Server:
    data = photo()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode()
    return serve(lambda connection, asked: connection.sendall(head + data))


@pytest.mark.parametrize("harm", ["folder", "photo", "half", "empty", "other photo in its place"])
def test_what_the_journal_says_is_checked_against_the_disk(photos, tmp_path, harm):
    ids = np.array(["abcd0", "efgh1"])
    urls = np.array([f"{photos.address}/1.jpg", f"{photos.address}/2.jpg"])
    way = Way(allow_private=True)
    first = download(ids, urls, tmp_path / "train", way)
    assert (first.stored, first.new) == (2, 2)
    paths = sorted((tmp_path / "train").rglob("*.jpg"))
    assert len(paths) == 2
    for path in paths if harm == "folder" else paths[:1]:
        content = path.read_bytes()
        path.unlink()  # both photos are one file
        if harm in ("half", "empty"):
            path.write_bytes(content[: len(content) // 2 if harm == "half" else 0])
        elif harm.startswith("other"):
            path.write_bytes(content + b"\0")
    asked = len(photos.heads)
    found = download(ids, urls, tmp_path / "train", way)
    lost = {"folder": 2, "other photo in its place": 0}.get(harm, 1)
    assert (found.stored, len(photos.heads) - asked) == (2, lost)
    assert sorted((tmp_path / "train").rglob("*.jpg")) == paths
    data = photo()
    assert all(path.read_bytes().startswith(data) for path in paths)
    assert {row["outcome"] for row in csv.DictReader(found.table.open())} == {STORED}


def test_the_advice_after_another_side_brings_the_photos(photos, tmp_path, lmk):
    (tmp_path / "train.csv").write_text(f"id,url,landmark_id\nabcd,{photos.address}/1.jpg,1\n")
    words = ["data", "download", "-c", str(tmp_path), "-w", str(tmp_path / "w"), "--allow-private"]
    assert lmk(*words)[0] == 0
    code, _, err = lmk(*words, "--side", "64")
    assert code == 1
    folder, marker = tmp_path / "train", tmp_path / "train.download.json"
    assert f"remove {folder} and {marker}" in " ".join(err.split())
    for path in folder.rglob("*.jpg"):
        path.unlink()
    marker.unlink()
    code, out, _ = lmk(*words, "--side", "64")
    assert (code, "1 photos, 1 of them new" in out) == (0, True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"side": "x"}', "[" * 100_000])
def test_a_damaged_marker_of_a_download_is_one_line(tmp_path, text):
    (tmp_path / "train").mkdir()
    (tmp_path / "train.download.json").write_text(text)
    with pytest.raises(LmkError, match=r"train\.download\.json is damaged"):
        download(np.array(["abcd"]), np.array(["http://127.0.0.1/"]), tmp_path / "train", Way())
