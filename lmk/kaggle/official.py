"""The official client, kept quiet: the one file that imports `kaggle`.

Importing `kaggle` looks for credentials at once, asks Kaggle about a token (without a time limit) and prints help on
stdout. Here it is imported where it finds none, so that no byte leaves before lmk says so; the class below then signs
in by the client's own order with credentials that lmk has read and checked, and with time limits on each request.
"""

import contextlib
import io
import ipaddress
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import requests
from urllib3.util import parse_url

from lmk.kaggle.credentials import ADVICE, access_token, check_login, given, settings, settings_file
from lmk.kaggle.http import mount
from lmk.util.errors import CredentialsError, LmkError

ENDPOINT_VARIABLE = "LMK_KAGGLE_ENDPOINT"
"""Address of a stand-in for Kaggle; a loopback address, so that no token leaves the machine."""

UPLOAD_TRIES = 3
"""How often a file's upload is tried: the same bytes to the same place, so that trying again is safe."""


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


_ENDPOINT = re.compile(
    r"https?://(127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|localhost|\[::1\])(:[0-9]{1,5})?(/[\w.~-]+)*/*", re.A
)
"""Addresses of this machine in the one form that all parsers read alike: no user, backslash, blank or escape."""


def endpoint() -> str | None:
    """The stand-in's address, None for Kaggle itself.

    Raises:
        LmkError: The address is not one of this machine.
    """
    address = os.environ.get(ENDPOINT_VARIABLE, "").strip()
    if not address:
        return None
    if not _ENDPOINT.fullmatch(address) or not _is_loopback(address):
        raise LmkError(
            f"{ENDPOINT_VARIABLE} names another machine; only a loopback address in plain form, such as "
            "http://127.0.0.1:PORT, is taken, since the token goes there."
        )
    return address.rstrip("/")


def _is_loopback(address: str) -> bool:
    """Whether the client's own parser finds a host of this machine in an address, and a port that there can be."""
    try:
        host = parse_url(address).host or ""
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # as urllib3's errors about addresses are
        return False


class OfficialApi(KaggleApi):
    """The official client with a time limit, lmk's endpoint and credentials, and uploads that raise what went wrong."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.address = endpoint()
        self.config = str(settings_file())
        self.config_values: dict[str, str] = {}
        self.args: list[str] = []
        self._token: str | None = None

    def build_kaggle_client(self) -> SdkClient:
        client = super().build_kaggle_client()
        http = client.http_client()
        if self.address:
            http._endpoint = self.address
        http._signed_in = False  # else it looks for credentials by itself, and takes them as they are
        http._init_session()
        if self.address:
            http._session.trust_env = False  # a proxy must not get the token that is meant for this machine
        token = self.config_values.get(self.CONFIG_NAME_TOKEN) or self._token
        user, key = (self.config_values.get(name) for name in (self.CONFIG_NAME_USER, self.CONFIG_NAME_KEY))
        if token:
            http._session.auth = http.BearerAuth(token)
        elif user and key:
            http._session.auth = (user, key)
        mount(http._session, self.seconds)
        return client

    def authenticate(self) -> None:
        """Sign in by the first way that there is, in the official order: access token, user and key, login.

        Raises:
            CredentialsError: There are no credentials, or Kaggle does not take them.
        """
        if token := access_token():
            self._token = token.value
            if self._known(token.value):
                return
            self._token = None
        self.config_values = settings()
        self.config_values.pop(self.CONFIG_NAME_TOKEN, None)
        if self._authenticate_with_legacy_apikey():
            return
        check_login()
        if not self._authenticate_with_oauth_creds():
            raise CredentialsError(_lacking())

    def _known(self, token: str) -> bool:
        user = self._introspect_token(token)
        if not user:
            return False
        with contextlib.suppress(CredentialsError):  # a damaged kaggle.json does not matter beside a token
            self.config_values = settings()
        self.config_values[self.CONFIG_NAME_TOKEN] = token
        self.config_values[self.CONFIG_NAME_USER] = user
        return True

    def upload_complete(self, path, url, quiet, resume=False):
        """Send a file's bytes to the place that Kaggle named.

        Raises:
            requests.RequestException: Every try failed; the official code prints it and goes on as if nothing was.
        """
        with requests.Session() as session:
            mount(session, self.seconds)
            for left in reversed(range(UPLOAD_TRIES)):
                try:
                    with Path(path).open("rb") as file:
                        answer = session.put(url, data=file)
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
    with redirect_stdout(io.StringIO()):
        api.authenticate()
    return api


def _lacking() -> str:
    """Text on missing or refused credentials, and where to get them."""
    found = given()
    if "KAGGLE_USERNAME" in found and "KAGGLE_KEY" not in found:
        return f"KAGGLE_USERNAME is set, but KAGGLE_KEY is not, and nothing else signs in. {ADVICE}"
    if found:
        return f"Kaggle does not take the credentials in {' or '.join(found)} (expired, revoked or damaged). {ADVICE}"
    return f"No Kaggle credentials were found. {ADVICE}"
