"""Kaggle's credentials, from the places where the official client looks, in its order: read, cleaned and checked.

Only what can stand in a header of HTTP is used. What cannot is named by its place, never by its value: a token that
holds an end of line, a byte order mark or a foreign letter would else come back in the text of an exception.
"""

import codecs
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmk.util.errors import CredentialsError

ADVICE = (
    "Make a token at https://www.kaggle.com/settings (API, Generate New Token) and save it in "
    "~/.kaggle/access_token, or set KAGGLE_API_TOKEN, or run `kaggle auth login`."
)
_FITS = re.compile(r"[!-~]+")
_AROUND = " \t\r\n\f\v\0\ufeff\u200b\u2060\xa0"
"""Characters that editors, shells and secret stores put around a token: blanks, ends of lines, marks that cannot be
seen."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
LARGEST_FILE = 1_000_000
"""Bytes; a file of credentials has hundreds."""


@dataclass(frozen=True)
class Token:
    """An access token, and the variable or file that it came from."""

    value: str
    source: str


def access_token() -> Token | None:
    """The first access token that is there; None where there is none.

    Raises:
        CredentialsError: A place is set, but what it holds is no token; names the place.
    """
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and os.environ.get("KAGGLE_DATA_PROXY_URL"):  # a notebook on Kaggle
        path = variable("KAGGLE_API_V1_TOKEN")
        if path and (found := _in_file(path, "the file that KAGGLE_API_V1_TOKEN names")):
            return found
    given = os.environ.get("KAGGLE_API_TOKEN", "").strip(_AROUND)
    if given:
        if _is_file(given):
            return _in_file(given, "the file that KAGGLE_API_TOKEN names")
        return Token(_checked(given, "KAGGLE_API_TOKEN"), "KAGGLE_API_TOKEN")
    for name in ("access_token", "access_token.txt"):
        path = f"~/.kaggle/{name}"
        if _is_file(path) and (found := _in_file(path, path)):
            return found
    return None


def settings() -> dict[str, str]:
    """Settings of kaggle.json and the variables `KAGGLE_...`, by lower-case names; the variables go first, unless
    empty.

    Raises:
        CredentialsError: A file is damaged, or a user name or key cannot be one.
    """
    found: dict[str, str] = {}
    path = settings_file()
    if path.exists():
        values = _object(path)
        found = {str(name): value for name, value in values.items() if isinstance(value, str) and value.strip(_AROUND)}
    sources = dict.fromkeys(found, str(path))
    for name in os.environ:
        if name.startswith("KAGGLE_") and (value := variable(name)):
            key = name.removeprefix("KAGGLE_").lower()
            found[key], sources[key] = value, name
    for key in ("username", "key"):
        if key in found:
            found[key] = _checked(found[key], sources[key])
    if ":" in found.get("username", ""):  # it ends the name in a header of basic authentication
        raise CredentialsError(f"The user name in {sources['username']} cannot be one of Kaggle's. {ADVICE}")
    return found


def check_login() -> None:
    """Refuse what `kaggle auth login` saved where it is damaged.

    Raises:
        CredentialsError: Names the file.
    """
    path = login_file()
    if not path.exists():
        return
    for name, value in _object(path).items():
        if name in ("refresh_token", "access_token") and value:
            _checked(value, str(path))


def variable(name: str) -> str:
    """A variable of the environment without what stands around it by mistake; "" where it is unset or empty."""
    return os.environ.get(name, "").strip(_AROUND)


def settings_file() -> Path:
    """Where the official client looks for kaggle.json."""
    if folder := os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(folder, "kaggle.json")
    home = Path("~/.kaggle").expanduser()
    if home.exists():
        return home / "kaggle.json"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser(), "kaggle", "kaggle.json")


def login_file() -> Path:
    """Where `kaggle auth login` saves its tokens."""
    return Path("~/.kaggle/credentials.json").expanduser()


def _in_file(path: str, source: str) -> Token | None:
    text = _text(Path(path).expanduser(), source).strip(_AROUND)
    return Token(_checked(text, source), source) if text else None


def _is_file(path: str) -> bool:
    try:
        return Path(path).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long for a path: it is the token itself
        return False


def _text(path: Path, source: str) -> str:
    """A small file's text by its byte order mark, else UTF-8."""
    if path.exists() and not path.is_file():  # a pipe may never end
        raise CredentialsError(f"{source} is no file. {ADVICE}")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE)
        encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
        return data.decode(encoding)
    except OSError as error:
        raise CredentialsError(f"{source} cannot be read: {error.strerror}. {ADVICE}") from None
    except UnicodeError:
        raise CredentialsError(f"{source} is no text. {ADVICE}") from None


def _object(path: Path) -> dict[str, object]:
    try:
        values = json.loads(_text(path, str(path)))
    except (ValueError, RecursionError):
        raise CredentialsError(f"{path} is no JSON. Download it again from Kaggle's settings, or remove it.") from None
    if not isinstance(values, dict):
        raise CredentialsError(
            f'{path} is no JSON object such as {{"username": ..., "key": ...}}. Download it again from Kaggle\'s '
            "settings, or remove it."
        )
    return values


def _checked(value: object, source: str) -> str:
    """The value, which can stand in a header.

    Raises:
        CredentialsError: Names the source, never the value.
    """
    text = value.strip(_AROUND) if isinstance(value, str) else ""
    if not _FITS.fullmatch(text):
        raise CredentialsError(
            f"What {source} holds cannot be a credential of Kaggle: such are letters, digits and signs of ASCII, "
            f"without blanks or ends of lines. {ADVICE}"
        )
    return text


def given() -> list[str]:
    """The variables and files that hold something to sign in with; what it is stays unread."""
    found = [name for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY") if variable(name)]
    files = (f"~/.kaggle/{name}" for name in ("access_token", "access_token.txt", "credentials.json"))
    found += [name for name in files if Path(name).expanduser().exists()]
    return found + [str(path) for path in [settings_file()] if path.exists()]


def sign_in_by() -> list[str]:
    """The variables and files that could sign in, the one that is used first; the rest only if Kaggle refuses it.

    Raises:
        CredentialsError: Signing in would end at a place that holds what cannot be a credential; names it.
    """
    found = []
    if token := access_token():
        found.append(token.source)
    try:
        values = settings()
        if values.get("username") and values.get("key"):
            named = all(variable(name) for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"))
            found.append("KAGGLE_USERNAME and KAGGLE_KEY" if named else str(settings_file()))
        if login_file().exists():
            check_login()
            found.append("~/.kaggle/credentials.json")
    except CredentialsError:
        if not found:  # beside a token that works it does not matter
            raise
    return found


def credential_files() -> list[Path]:
    """Where Kaggle's credentials may lie; whether they do is another matter."""
    names = ("access_token", "access_token.txt")
    return [*(Path("~/.kaggle", name).expanduser() for name in names), login_file(), settings_file()]


# What must not be sent away


def secrets() -> list[str]:
    """All credentials of this machine that lmk can find: Kaggle's, and those of other services in their usual places.

    What cannot be read is left out: this serves a search, which promises nothing.
    """
    return sorted({value for value in _all_secrets() if len(value) >= SHORTEST_SECRET})


SHORTEST_SECRET = 8
_SECRET_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|KAGGLE_KEY|CREDENTIALS?)$", re.IGNORECASE
)
_SECRET_FILES = {
    "~/.netrc": r"\bpassword\s+(\S+)",
    "~/.git-credentials": r"://[^\s:/@]*:([^\s@]+)@",
    "~/.aws/credentials": r"(?m)^\s*aws_(?:secret_access_key|session_token)\s*=\s*(\S+)",
    "~/.pypirc": r"(?m)^\s*password\s*[=:]\s*(\S+)",
    "~/.cache/huggingface/token": r"(\S+)",
    "~/.huggingface/token": r"(\S+)",
    "~/.config/gh/hosts.yml": r"oauth_token:\s*(\S+)",
    "~/.docker/config.json": r'"(?:auth|identitytoken)"\s*:\s*"([^"]+)"',
}
"""Files of other services, and what finds their secrets."""


def _all_secrets() -> Iterator[str]:
    for path in credential_files():
        yield from _strings(path)
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            text = value.strip(_AROUND)
            if _is_file(text):
                yield from _strings(Path(text).expanduser())
            elif not any(letter.isspace() for letter in text):
                yield text
    for name, pattern in _SECRET_FILES.items():
        yield from re.findall(pattern, _quiet_text(Path(name).expanduser()))


def _strings(path: Path) -> Iterator[str]:
    """The secrets in a file: what its JSON holds under names of secrets, or its whole text."""
    text = _quiet_text(path).strip(_AROUND)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        if len(text.split()) == 1:
            yield text
        return
    if isinstance(values, dict):
        yield from (str(value) for name, value in values.items() if name == "key" or _SECRET_NAME.search(str(name)))


def _quiet_text(path: Path) -> str:
    try:
        return _text(path, "") if path.is_file() else ""
    except (CredentialsError, OSError):
        return ""
