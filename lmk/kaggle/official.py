"""The official client, kept quiet: the one file that imports `kaggle`.

Importing `kaggle` looks for credentials at once, asks Kaggle about a token (without a time limit) and prints help on
stdout. Here it is imported where it finds none, so that no byte leaves before lmk says so; the class below then signs
in by the client's own rules, with a time limit on each request.
"""

import io
import ipaddress
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from lmk.util.errors import CredentialsError, LmkError

ENDPOINT_VARIABLE = "LMK_KAGGLE_ENDPOINT"
"""Where a stand-in for Kaggle listens; a loopback address, so that no token goes astray."""

UPLOAD_TRIES = 3
"""Of a file's upload: the same bytes to the same place, so that trying again is safe."""


@contextmanager
def _without_credentials() -> Iterator[None]:
    """An environment in which the client finds neither credentials nor a folder of settings."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="lmk-kaggle-") as empty:
        for name in before:
            if name.startswith("KAGGLE_") or name in ("VERBOSE", "VERBOSE_OUTPUT"):  # verbose prints tokens
                del os.environ[name]
        os.environ |= {"HOME": empty, "USERPROFILE": empty, "KAGGLE_CONFIG_DIR": empty}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before


try:
    with _without_credentials(), redirect_stdout(io.StringIO()):
        from kaggle.api.kaggle_api_extended import KaggleApi
        from kaggle.models.kaggle_models_extended import ResumableUploadResult
        from kagglesdk import KaggleClient as SdkClient
except ImportError as error:
    raise LmkError(f"The package kaggle cannot be imported ({error}). Run `pip install kaggle six`.") from error


def endpoint() -> str | None:
    """The stand-in's address, None for Kaggle itself.

    Raises:
        LmkError: The address is not one of this machine.
    """
    address = os.environ.get(ENDPOINT_VARIABLE, "").rstrip("/")
    if not address:
        return None
    host = urlsplit(address).hostname or ""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise LmkError(f"{ENDPOINT_VARIABLE} is '{address}'; only a loopback address (http://127.0.0.1:PORT) is taken.")
    return address


def _settings_file() -> Path:
    """Where the client looks for kaggle.json."""
    if folder := os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(folder, "kaggle.json")
    home = Path("~/.kaggle").expanduser()
    if home.exists():
        return home / "kaggle.json"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser(), "kaggle", "kaggle.json")


class TimedAdapter(HTTPAdapter):
    """Requests that name no time limit get one."""

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        return super().send(request, stream, timeout or self.seconds, verify, cert, proxies)


class OfficialApi(KaggleApi):
    """The official client with a time limit, lmk's endpoint, and uploads that raise what went wrong."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.address = endpoint()
        self.config = str(_settings_file())
        self.config_values: dict[str, str] = {}
        self.args: list[str] = []

    def build_kaggle_client(self) -> SdkClient:
        client = super().build_kaggle_client()
        http = client.http_client()
        if self.address:
            http._endpoint = self.address
        http._init_session()
        for scheme in ("http://", "https://"):
            http._session.mount(scheme, TimedAdapter(self.seconds))
        return client

    def upload_complete(self, path, url, quiet, resume=False):
        """Send a file's bytes to the place that Kaggle named.

        Raises:
            requests.RequestException: Every try failed; the official code prints it and goes on as if nothing was.
        """
        for left in reversed(range(UPLOAD_TRIES)):
            try:
                with Path(path).open("rb") as file:
                    answer = requests.put(url, data=file, timeout=self.seconds)
                answer.raise_for_status()
                return ResumableUploadResult.COMPLETE
            except (requests.ConnectionError, requests.Timeout, requests.HTTPError) as error:
                refused = error.response is not None and error.response.status_code < 500
                if refused or not left:
                    raise


def sign_in(seconds: float) -> OfficialApi:
    """The official client, signed in by the first way that it knows and finds.

    Raises:
        CredentialsError: There are no credentials, or Kaggle does not take them.
        requests.RequestException: Kaggle could not be asked about a token.
    """
    api = OfficialApi(seconds)
    try:
        with redirect_stdout(io.StringIO()):
            api.authenticate()
    except SystemExit:
        raise CredentialsError(_lacking()) from None
    return api


def _lacking() -> str:
    """What is missing or refused, and where to get it."""
    mend = (
        "Make a token at https://www.kaggle.com/settings (API, Generate New Token) and save it in "
        "~/.kaggle/access_token, or set KAGGLE_API_TOKEN, or run `kaggle auth login`."
    )
    given = [name for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY") if os.environ.get(name)]
    files = ("access_token", "access_token.txt", "credentials.json")
    given += [f"~/.kaggle/{name}" for name in files if Path("~/.kaggle", name).expanduser().exists()]
    given += [str(path) for path in [_settings_file()] if path.exists()]
    if "KAGGLE_USERNAME" in given and "KAGGLE_KEY" not in given:
        return f"KAGGLE_USERNAME is set, but KAGGLE_KEY is not, and nothing else signs in. {mend}"
    if given:
        return f"Kaggle does not take the credentials in {' or '.join(given)} (expired, revoked or damaged). {mend}"
    return f"No Kaggle credentials were found. {mend}"
