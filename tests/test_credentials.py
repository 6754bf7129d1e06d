"""Credentials as people and secret stores leave them: cleaned or refused by their place, and never shown."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import kaggle_server
import pytest
import requests
import urllib3

from lmk.kaggle.api import Client
from lmk.kaggle.credentials import access_token, secrets, settings
from lmk.kaggle.faults import call, explain
from lmk.kaggle.official import endpoint
from lmk.util.errors import CredentialsError, LmkError, RemoteError

TOKEN = kaggle_server.TOKEN


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home without credentials, and an environment without any."""
    for name in ("TOKEN", "USERNAME", "KEY", "CONFIG_DIR"):
        monkeypatch.delenv(f"KAGGLE_API_{name}" if name == "TOKEN" else f"KAGGLE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kaggle").mkdir()
    return tmp_path


@pytest.fixture
def kaggle(home, monkeypatch) -> Iterator[kaggle_server.Kaggle]:
    with kaggle_server.running(kaggle_server.Kaggle([]), home=home) as stand_in:
        monkeypatch.delenv("KAGGLE_API_TOKEN")
        yield stand_in


AROUND = ["{}\n", "{}\r\n", "\n{}", " {} ", "\ufeff{}", "{}\0", "\u200b{}", "{}\xa0"]


@pytest.mark.parametrize("text", [text for text in AROUND if "\0" not in text])
def test_what_stands_around_a_token_in_a_variable_is_taken_off(kaggle, monkeypatch, text):
    monkeypatch.setenv("KAGGLE_API_TOKEN", text.format(TOKEN))
    assert Client(2.0).username == kaggle_server.USER


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["access_token", "access_token.txt"])
def test_a_file_with_a_token_is_read_in_the_encodings_that_editors_and_shells_write(kaggle, home, encoding, name):
    (home / ".kaggle" / name).write_bytes(f"{TOKEN}\r\n".encode(encoding))
    assert Client(2.0).username == kaggle_server.USER


WRONG = [
    f"{TOKEN[:9]}\n{TOKEN[9:]}",
    f"{TOKEN}\r\nX-Injected: 1",
    TOKEN[:9] + "…" + TOKEN[9:],
    TOKEN + " x",
    TOKEN + "\x1b[0m",
]


@pytest.mark.parametrize("value", [*WRONG, "x" * 5000 + "é" + TOKEN])
@pytest.mark.parametrize("place", ["variable", "file", "named file", "key", "kaggle.json", "login"])
def test_what_cannot_be_a_credential_is_named_by_its_place_and_never_shown(home, monkeypatch, value, place):
    named = {
        "variable": "KAGGLE_API_TOKEN",
        "file": "~/.kaggle/access_token",
        "named file": "the file that KAGGLE_API_TOKEN names",
        "key": "KAGGLE_KEY",
        "kaggle.json": "kaggle.json",
        "login": "credentials.json",
    }[place]
    if place == "variable":
        monkeypatch.setenv("KAGGLE_API_TOKEN", value)
    elif place == "file":
        (home / ".kaggle" / "access_token").write_text(value)
    elif place == "named file":
        (home / "t").write_text(value)
        monkeypatch.setenv("KAGGLE_API_TOKEN", str(home / "t"))
    elif place == "key":
        monkeypatch.setenv("KAGGLE_USERNAME", "tester")
        monkeypatch.setenv("KAGGLE_KEY", value)
    elif place == "kaggle.json":
        (home / ".kaggle" / "kaggle.json").write_text(json.dumps({"username": "tester", "key": value}))
    else:
        (home / ".kaggle" / "credentials.json").write_text(json.dumps({"refresh_token": value}))
    monkeypatch.setenv("LMK_KAGGLE_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(CredentialsError) as failure:
        Client(2.0)
    assert named in str(failure.value)
    assert failure.value.exit_code == 3
    for shown in (str(failure.value), repr(failure.value.__cause__), repr(failure.value.__context__)):
        assert "KGAT" not in shown
        assert TOKEN[9:] not in shown


@pytest.mark.parametrize(
    "text", ['["tester"]', '"x"', "3", "null", "{", "", '{"username": "tester", "key": 5}', "[" * 100_000]
)
def test_a_damaged_kaggle_json_is_one_line_with_its_name(home, monkeypatch, text):
    (home / ".kaggle" / "kaggle.json").write_text(text)
    monkeypatch.setenv("LMK_KAGGLE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CredentialsError, match=r"kaggle\.json"):
        Client(2.0)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["kaggle.json", "credentials.json"])
def test_a_pipe_or_a_folder_in_place_of_a_file_of_credentials_is_named_at_once(home, monkeypatch, make, name):
    make(home / ".kaggle" / name)
    monkeypatch.setenv("LMK_KAGGLE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CredentialsError, match=f"{name} is no file"):
        Client(2.0)


def test_a_damaged_kaggle_json_does_not_matter_beside_a_token(kaggle, home, monkeypatch):
    (home / ".kaggle" / "kaggle.json").write_text("[]")
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert Client(2.0).username == kaggle_server.USER


@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_an_empty_variable_means_an_unset_one(home, monkeypatch, empty):
    (home / ".kaggle" / "kaggle.json").write_text('{"username": "tester", "key": "0123456789abcdef"}')
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.setenv(name, empty)
    assert access_token() is None
    assert settings() == {"username": "tester", "key": "0123456789abcdef"}


def test_user_and_key_sign_in_without_a_token(kaggle, home, monkeypatch):
    heads = []
    original = kaggle_server.Handler.do_POST

    def heard(handler):
        heads.append(handler.headers.get("Authorization"))
        original(handler)

    monkeypatch.setattr(kaggle_server.Handler, "do_POST", heard)
    monkeypatch.setenv("KAGGLE_USERNAME", "tester\n")
    monkeypatch.setenv("KAGGLE_KEY", " 0123456789abcdef\r\n")
    client = Client(2.0)
    assert client.username == "tester"
    with pytest.raises(LmkError):
        client.limits("absent")
    assert heads[-1] == requests.auth._basic_auth_str("tester", "0123456789abcdef")


def test_a_token_longer_than_a_path_may_be_is_a_token(home, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "K" * 9000)
    assert access_token().value == "K" * 9000


ELSEWHERE = [
    "http://evil.example\\@127.0.0.1",
    "http://127.0.0.1:80\\@evil.example",
    "http://evil.example@127.0.0.1",
    "http://127.0.0.1@evil.example",
    "http://user:secret@127.0.0.1:80",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1#@evil.example",
    "http://127.0.0.1?@evil.example",
    "http://127.0.0.1;@evil.example",
    "http://127.0.0.1/@evil.example\n",
    "http://127.0.0.1 .evil.example",
    "http://127.0.0.1\t.evil.example",
    "http://127.0.0.1%2eevil.example",
    "http://127.0.0.1:80:90",
    "http://127.0.0.1:99999",
    "http://[::1]evil.example",
    "http://[::ffff:8.8.8.8]",
    "http://１２７.0.0.1",
    "http://127.0.0.999",
    "//127.0.0.1",
    "ftp://127.0.0.1",
    "https://kaggle.example.org",
    "127.0.0.1",
]


@pytest.mark.parametrize("address", ELSEWHERE)
def test_no_address_that_parsers_might_read_differently_gets_the_token(monkeypatch, address):
    monkeypatch.setenv("LMK_KAGGLE_ENDPOINT", address)
    with pytest.raises(LmkError, match="only a loopback address") as failure:
        endpoint()
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8642", "http://localhost:1", "https://[::1]:8642/", "http://127.0.0.1:80/api/v1"]
)
def test_plain_addresses_of_this_machine_are_taken(monkeypatch, address):
    monkeypatch.setenv("LMK_KAGGLE_ENDPOINT", address)
    assert endpoint() == address.rstrip("/")


def test_a_proxy_does_not_get_the_token_that_is_meant_for_this_machine(kaggle, monkeypatch):
    listener = socket.create_server(("127.0.0.1", 0))
    came = []
    threading.Thread(target=lambda: came.append(listener.accept()), daemon=True).start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert Client(2.0).username == kaggle_server.USER
    assert came == []
    listener.close()


SECRET = "s3cret-of-mine"
FAILURES = [
    requests.exceptions.ProxyError(f"Cannot connect to proxy http://me:{SECRET}@proxy:3128"),
    requests.exceptions.InvalidProxyURL(f"http://me:{SECRET}@"),
    requests.exceptions.InvalidHeader(f"Bearer {SECRET}"),
    requests.exceptions.InvalidURL(f"http://x/?{SECRET}"),
    requests.exceptions.InvalidSchema(f"ftp://x/?{SECRET}"),
    requests.exceptions.SSLError(f"https://x/?{SECRET}"),
    requests.exceptions.ContentDecodingError(SECRET),
    requests.TooManyRedirects(SECRET),
    requests.ConnectionError(SECRET),
    requests.Timeout(SECRET),
    requests.HTTPError(f"503 Server Error for url: http://x/?{SECRET}"),
    urllib3.exceptions.LocationParseError(SECRET),
    urllib3.exceptions.ProtocolError(SECRET),
    ValueError(f"Invalid header value b'Bearer {SECRET}'"),
    UnicodeEncodeError("latin-1", f"Bearer {SECRET}\u2026", 0, 1, SECRET),
    TypeError(SECRET),
    AttributeError(SECRET),
    ConnectionResetError(104, SECRET),
    RecursionError(SECRET),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_no_exceptions_text_comes_through(error):
    assert SECRET not in str(explain("list things", error))

    def request() -> None:
        raise error

    with pytest.raises(LmkError) as failure:
        call("list things", request)
    assert SECRET not in str(failure.value)
    assert "list things" in str(failure.value)


def test_a_call_to_kaggle_that_drips_ends_in_time(home, monkeypatch):
    listener, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip() -> None:
        while True:
            connection = listener.accept()[0]
            threading.Thread(target=feed, args=(connection,), daemon=True).start()

    def feed(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            while not over.is_set():
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                over.wait(0.05)

    threading.Thread(target=drip, daemon=True).start()
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    monkeypatch.setenv("LMK_KAGGLE_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setattr("lmk.kaggle.api.WHOLE", 2)
    with pytest.raises(RemoteError, match="did not end within 1 s"):
        Client(0.5)
    over.set()


def test_all_credentials_of_the_machine_are_known_to_the_search(home, monkeypatch):
    (home / ".kaggle" / "access_token").write_text("token-in-a-file\n")
    (home / ".kaggle" / "kaggle.json").write_text('{"username": "tester", "key": "key-in-kaggle-json"}')
    (home / ".kaggle" / "credentials.json").write_text('{"refresh_token": "refresh-token-1", "username": "tester"}')
    (home / ".netrc").write_text("machine api.example login me password netrc-password-1\n")
    (home / ".git-credentials").write_text("https://me:git-password-1@example.org\n")
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text("[default]\naws_secret_access_key = aws-secret-key-1\n")
    monkeypatch.setenv("WANDB_API_KEY", "wandb-key-1234")
    monkeypatch.setenv("MY_PASSWORD", "password-1234")
    monkeypatch.setenv("HF_TOKEN", "short")
    found = secrets()
    expected = {"token-in-a-file", "key-in-kaggle-json", "refresh-token-1", "netrc-password-1", "git-password-1"}
    assert expected | {"aws-secret-key-1", "wandb-key-1234", "password-1234"} <= set(found)
    assert not {"tester", "short", str(home)} & set(found)
