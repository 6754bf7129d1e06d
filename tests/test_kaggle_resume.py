"""Downloads from a storage that fails, lies or drips: what came is kept, and no address is shown."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests

from lmk.kaggle.download import download, small
from lmk.kaggle.http import mount
from lmk.util.errors import LmkError, RemoteError

CONTENT = np.random.default_rng(0).bytes(2_500_000)
CUT = 1_200_000


class Storage(ThreadingHTTPServer):
    """Serves `CONTENT`; the first whole answer breaks after `CUT` bytes; `ranged` and `whole` answer in its place."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.etag = '"one"'
        self.broke = False
        self.ranged: Callable[[Handler, int], None] = Handler.rest
        self.whole: Callable[[Handler], None] = Handler.all
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/archive.zip?signature=secret"

    def handle_error(self, request, client_address) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Storage

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked or "whole")
        self.close_connection = True
        if asked:
            self.server.ranged(self, int(asked.removeprefix("bytes=").split("-")[0]))
        elif self.server.broke:
            self.server.whole(self)
        else:
            self.server.broke = True
            self.head(200, len(CONTENT))
            self.wfile.write(CONTENT[:CUT])

    def head(self, status: int, length: object, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"ETag": self.server.etag, "Content-Length": str(length), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def all(self) -> None:
        self.head(200, len(CONTENT))
        self.wfile.write(CONTENT)

    def rest(self, begin: int) -> None:
        self.head(206, len(CONTENT) - begin, Content_Range=f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.wfile.write(CONTENT[begin:])


@pytest.fixture
def storage() -> Iterator[Storage]:
    server = Storage()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    sleep = time.sleep
    monkeypatch.setattr("lmk.kaggle.download.time.sleep", lambda seconds: sleep(min(seconds, 0.01)))
    monkeypatch.setattr("lmk.kaggle.download.CHUNK", 100_000)


def bring(storage: Storage, path: Path, seconds: float = 2.0) -> None:
    def start() -> requests.Response:
        session = requests.Session()
        mount(session, seconds)
        answer = session.get(storage.address, stream=True)
        answer.raise_for_status()
        return answer

    download("download mini", start, path, seconds)


def answering(*statuses: int) -> Callable[[Handler, int], None]:
    """Answers with each status in turn, then as it should; the last one for ever if it is 0."""
    left = list(statuses)

    def ranged(handler: Handler, begin: int) -> None:
        if not left:
            return handler.rest(begin)
        status = left[0] if len(left) > 1 and left[1] == 0 else left.pop(0)
        handler.head(status, 8)
        handler.wfile.write(b"<Error/>")
        return None

    return ranged


@pytest.mark.parametrize("statuses", [(), (503,), (500, 502, 504), (403, 403), (401,), (429,), (408, 503), (404,)])
def test_whatever_the_storage_answers_for_a_while_the_part_is_kept_and_the_rest_comes(storage, tmp_path, statuses):
    storage.ranged = answering(*statuses)
    bring(storage, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    ranges = [asked for asked in storage.asked if asked != "whole"]
    assert ranges == [ranges[0]] * (len(statuses) + 1)  # never from the beginning
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_a_storage_that_never_gives_the_rest_costs_nothing_of_what_came(storage, tmp_path, status):
    storage.ranged = answering(status, 0)
    with pytest.raises(RemoteError, match=rf"answered {status} .* bytes are kept") as failure:
        bring(storage, tmp_path / "a.zip")
    assert failure.value.exit_code == 5
    assert not re.search("secret|127.0.0.1|signature", str(failure.value))
    kept = (tmp_path / "a.zip.part").read_bytes()
    assert len(kept) >= CUT - 200_000
    assert CONTENT.startswith(kept)
    storage.ranged = Handler.rest
    bring(storage, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_range_that_the_storage_has_not_and_another_etag_begin_anew(storage, tmp_path):
    storage.ranged = answering(416)
    bring(storage, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert storage.asked[-1] == "whole"
    storage.broke = False
    (tmp_path / "b.zip.part").write_bytes(b"of yesterday's archive")
    (tmp_path / "b.zip.part.json").write_text('{"etag": "\\"zero\\"", "size": 2500000}')
    bring(storage, tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == CONTENT


def test_a_storage_without_ranges_sends_all_again_and_a_break_keeps_what_was_there(storage, tmp_path):
    def ignored(handler: Handler, begin: int) -> None:
        handler.head(200, len(CONTENT))
        handler.wfile.write(CONTENT[:200_000] if len(storage.asked) < 4 else CONTENT)

    storage.ranged = ignored
    sizes = []
    write = time.sleep
    part = tmp_path / "a.zip.part"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmk.kaggle.download.time.sleep", lambda _: (sizes.append(part.stat().st_size), write(0.01)))
        bring(storage, tmp_path / "a.zip")
    assert min(sizes) > 200_000
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


LIES = {
    "no Content-Range": {},
    "other bytes": {"Content_Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"},
    "garbage": {"Content_Range": "items */*"},
    "another whole": {"Content_Range": "bytes 1200000-2499999/9999999"},
}


@pytest.mark.parametrize("kind", LIES)
def test_a_range_that_lies_is_never_written(storage, tmp_path, kind):
    def lying(handler: Handler, begin: int) -> None:
        handler.head(206, 10, **LIES[kind])
        handler.wfile.write(b"0" * 10)

    storage.ranged = lying
    with pytest.raises(RemoteError, match="other bytes than the missing ones"):
        bring(storage, tmp_path / "a.zip")
    assert CONTENT.startswith((tmp_path / "a.zip.part").read_bytes())


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", "٣", ""])
def test_a_length_that_is_none_is_taken_for_unknown(storage, tmp_path, length):
    storage.broke = True

    def whole(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + length.encode() + b"\r\n\r\n" + CONTENT)

    storage.whole = whole
    bring(storage, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("kind", "says"), [("text/html; charset=utf-8", "a web page"), ("application/json", "a message")]
)
def test_what_is_no_file_by_its_type_is_refused(storage, tmp_path, kind, says):
    storage.broke = True
    storage.whole = lambda handler: (handler.head(200, 2, Content_Type=kind), handler.wfile.write(b"{}"))
    with pytest.raises(RemoteError, match=f"{says} in place of the file"):
        bring(storage, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_storage_that_drips_is_cut_off_and_the_part_kept(storage, tmp_path, monkeypatch):
    monkeypatch.setattr("lmk.kaggle.download.WHOLE", 2)
    monkeypatch.setattr("lmk.kaggle.download.BREAKS", 1)

    def dripping(handler: Handler, begin: int) -> None:
        handler.head(206, len(CONTENT) - begin, Content_Range=f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
        for place in range(begin, len(CONTENT)):
            handler.wfile.write(CONTENT[place : place + 1])
            time.sleep(0.02)

    storage.ranged = dripping
    start = time.monotonic()
    with pytest.raises(RemoteError, match="bytes are kept"):
        bring(storage, tmp_path / "a.zip", seconds=0.3)
    assert time.monotonic() - start < 20
    assert CONTENT.startswith((tmp_path / "a.zip.part").read_bytes())


def test_two_at_once_do_not_spoil_each_others_part(storage, tmp_path):
    storage.broke = True
    going, go_on = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        handler.head(200, len(CONTENT))
        handler.wfile.write(CONTENT[:CUT])
        going.set()
        go_on.wait(10)
        handler.wfile.write(CONTENT[CUT:])

    storage.whole = slow
    first = threading.Thread(target=bring, args=(storage, tmp_path / "a.zip", 20.0))
    first.start()
    assert going.wait(10)
    with pytest.raises(LmkError, match=r"Another lmk makes .*a\.zip \(process"):
        bring(storage, tmp_path / "a.zip")
    go_on.set()
    first.join()
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_full_disk_is_named_and_not_tried_again(storage, tmp_path, monkeypatch):
    storage.broke = True
    original = Path.open

    def full(path: Path, mode: str = "r", *rest, **options):
        if path.name == "a.zip.part" and "b" in mode:
            raise OSError(28, "No space left on device", str(path))
        return original(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        bring(storage, tmp_path / "a.zip")
    assert storage.asked == ["whole"]


def test_a_small_file_that_drips_or_fails_shows_no_address(storage, tmp_path, monkeypatch):
    monkeypatch.setattr("lmk.kaggle.faults.time.sleep", lambda seconds: None)
    storage.broke = True
    storage.whole = lambda handler: handler.head(503, 0)
    with pytest.raises(RemoteError) as failure:
        small("download x", storage.address, tmp_path / "x", 1.0)
    assert not re.search("secret|127.0.0.1", str(failure.value))
    storage.whole = Handler.all
    small("download x", storage.address, tmp_path / "x", 1.0)
    assert (tmp_path / "x").read_bytes() == CONTENT
