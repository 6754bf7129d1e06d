"""One script that carries lmk: the same sources, the same bytes; no credential goes with it."""

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import lmk
from lmk.kaggle import prologue
from lmk.kaggle.inside import RECIPES
from lmk.kaggle.session import LONGEST
from lmk.util.errors import LmkError

SIZE_LIMIT = 1_000_000
"""Bytes of a script; Kaggle names no limit, and scripts of about a megabyte are known to go through."""
_WIDTH = 120
"""Characters of a line of the encoded archive."""

_QUOTED = r"(?:\b[A-Za-z]{1,2})?[\\\"']+"
"""The beginning of a literal, its prefix with it (b"...", f"...")."""
_IS = r"[\\\"'\])]*\s*(?::\s*(?:str|bytes)\s*)?[=:,]\s*\(?\s*"
"""What may stand between the name of a secret and its value in Python, JSON, YAML and shells."""
_VALUE = rf"{_QUOTED}(?=[A-Za-z_.-]*[0-9])[0-9A-Za-z_.\-]{{16,}}[\\\"']"
"""A value between quotes, with a digit: neither the call that gets one nor the name of a variable."""
_HEX = rf"(?:{_QUOTED})?[0-9a-fA-F]{{32,}}\b"
PATTERNS = {
    "a Kaggle token": re.compile(r"KGAT_[0-9A-Za-z]{16,}", re.IGNORECASE),
    "a Kaggle key": re.compile(
        rf"[\\\"']key[\\\"'\]]+\s*[:,=]\s*{_HEX}|\bkey\s*=\s*{_QUOTED}{_HEX}"
        rf"|(?i:kaggle[_-]?(?:api[_-]?)?(?:key|token))(?:{_IS}(?:{_VALUE}|{_HEX})|\s+{_HEX})"
        r"|\beyJ1c2VybmFtZSI6[0-9A-Za-z+/]{30,}"  # kaggle.json in base64
    ),
    "a key of Weights & Biases": re.compile(
        r"(?i:wandb[\w.\"'\](\s]{0,30}(?:key|token)?[\"'\]]*\s*[=:,(]\s*(?:key\s*=\s*)?)[\\\"']*[0-9a-f]{40}\b"
        r"|\bwandb_v1_[0-9A-Za-z_]{20,}|wandb(?:\.ai\b.{0,60}|\s+login\s.{0,40})\b[0-9a-f]{40}\b"
    ),
    "an OpenAI or Anthropic key": re.compile(r"\bsk-[0-9A-Za-z]*-?[0-9A-Za-z_-]{20,}"),
    "a Slack token": re.compile(r"\bxox[a-z](?:\.xox[a-z])?-[0-9A-Za-z-]{10,}|\bxapp-[0-9]-[0-9A-Za-z-]{10,}"),
    "a Slack webhook": re.compile(r"hooks\.slack\.com/(?:services|workflows)/[0-9A-Za-z/]{20,}"),
    "a GitLab token": re.compile(r"\bgl(?:pat|dt|rt|ptt|oas|cbt|ft|imt|agent|soat|ffct)-[0-9A-Za-z_.-]{20,}"),
    "a Google key": re.compile(
        r"\bAIza[0-9A-Za-z_-]{35}|\bya29\.[0-9A-Za-z_-]{20,}|\bGOCSPX-[0-9A-Za-z_-]{20,}|\b1//0[0-9A-Za-z_-]{40,}"
    ),
    "a bearer token": re.compile(r"\b[Bb]earer\s+(?=[^\s\"']*[0-9])[0-9A-Za-z._~+/=-]{20,}"),
    "a password in a header": re.compile(
        r"\bAuthorization[\"']?\s*[:=,]\s*[\"']?(?:Basic\s+[0-9A-Za-z+/=]{8,}|[Tt]oken\s+[0-9A-Za-z._-]{20,})"
    ),
    "a JSON web token": re.compile(r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[0-9A-Za-z]{36}|\bgithub_pat_[0-9A-Za-z_]{40,}"),
    "a Hugging Face token": re.compile(r"\bhf_[0-9A-Za-z]{30,}"),
    "an AWS key": re.compile(
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|(?i:aws_secret_access_key)[\"'\])]*\s*[=:,]\s*[\"']?[0-9A-Za-z/+=]{40}(?![0-9A-Za-z/+=])"
    ),
    "a package index's token": re.compile(r"\bpypi-[0-9A-Za-z_-]{50,}|\bnpm_[0-9A-Za-z]{36}\b"),
    "a Stripe key": re.compile(r"\b[sr]k_(?:live|test)_[0-9A-Za-z]{20,}"),
    "a Discord or Telegram token": re.compile(
        r"discord(?:app)?\.com/api/webhooks/[0-9]{10,}/[0-9A-Za-z_-]{30,}|\b[0-9]{8,10}:AA[0-9A-Za-z_-]{33}\b"
    ),
    "an Azure key": re.compile(r"\b(?:Account|SharedAccess)Key=[0-9A-Za-z+/]{40,}"),
    "a token of a service": re.compile(
        r"\b(?:SG\.[0-9A-Za-z_-]{16,}\.|dop_v1_|r8_|gsk_|dapi|lin_api_|xai-|pplx-|nvapi-|shpat_|fw_|sl\.)"
        r"(?=[A-Za-z_-]*[0-9])[0-9A-Za-z_-]{24,}"
    ),
    "a value that its name calls a secret": re.compile(
        rf"(?i:api_?key|token|secret|access_?key){_IS}{_VALUE}"
        rf"|(?i:password|passwd){_IS}{_QUOTED}[^\s\"'\\{{}}$]{{8,}}[\\\"']"
        r"|(?:API_?KEY|TOKEN|SECRET|ACCESS_?KEY|PASSWORD)=(?=[^\s\"']*[0-9])[^\s\"'$(){}\[\]<>]{8,}"
    ),
    "a password in an address": re.compile(r"\b[a-z]{2,20}://[^\s/:@\"'{}]{1,200}:[^\s/@\"'{}]{1,200}@[a-z0-9]"),
}
"""Looks of secrets of services whose keys lie in people's scripts. A net, no proof: a secret may look like anything."""
FORBIDDEN_NAMES = re.compile(
    r"kaggle[^/]*\.json(\..*|~)?|access_token(\.txt)?|.*credentials\.json|client_secret.*\.json|service[-_]?account.*\.json"
    r"|.*\.env(\..*)?|[._]netrc|\.git-credentials|\.pypirc|\.npmrc|secrets?\.(toml|json|ya?ml|py)|id_(rsa|dsa|ecdsa|ed25519)"
    r"|.*\.(pem|p12|pfx|ppk)",
    re.IGNORECASE,
)
"""Names of files that hold credentials."""


@dataclass(frozen=True)
class Bundle:
    """A kernel's whole script, and the digest of the lmk in it (12 hexadecimal digits)."""

    text: str
    digest: str

    @property
    def size(self) -> int:
        """Bytes of the script."""
        return len(self.text.encode())


def package_files(root: Path | None = None) -> dict[str, bytes]:
    """lmk's files by their names in the archive, `lmk/...`; without caches, hidden files and the demo's weights."""
    root = root or Path(lmk.__file__).parent
    return {
        f"lmk/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.suffix != ".h5"  # for a demo without network, and large
        and not any(part == "__pycache__" or part.startswith(".") for part in path.parts[len(root.parts) :])
    }


def pack(files: Mapping[str, bytes]) -> bytes:
    """A zip of files by name: neither the clock, nor the user, nor the order changes its bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, files[name], compresslevel=9)
    return packed.getvalue()


def recipe_files(folder: Path) -> list[Path]:
    """Recipe files of a kernel: those beside its script."""
    return sorted(path for path in folder.glob("*.toml") if path.is_file() and not path.name.startswith("."))


def bundle_files(script: Path) -> dict[str, bytes]:
    """All that a kernel's bundle holds, by name in the archive: lmk, and the recipe files beside the script."""
    return package_files() | {f"{RECIPES}/{path.name}": path.read_bytes() for path in recipe_files(script.parent)}


def make_bundle(script: Path, secrets: Iterable[str] = (), seconds: float = LONGEST["gpu"]) -> Bundle:
    """The script that is pushed: lmk and the recipe files, unpacked by `prologue`, then the kernel's own lines.

    Args:
        script: The kernel's own script.
        secrets: Credentials of this machine that must not leave it.
        seconds: The session's limit, by which the kernel knows when to stop training.

    Raises:
        LmkError: A credential would go with it, the script cannot stand behind other lines, or it is too large.
    """
    files = bundle_files(script)
    try:
        own = script.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LmkError(f"{script} cannot be read: {error}") from error
    check_for_secrets({script.name: own.encode(), **files}, secrets)
    if re.search(r"^from __future__ ", own, re.MULTILINE):
        raise LmkError(f"{script} imports from __future__, which must come first in a file; remove that line.")
    packed = pack(files)
    digest = hashlib.sha256(packed).hexdigest()
    encoded = base64.b64encode(packed).decode()
    payload = "\n".join(encoded[start : start + _WIDTH] for start in range(0, len(encoded), _WIDTH))
    text = (
        f"# {script.stem}: lmk {lmk.__version__}, bundle {digest[:12]}. Made by `lmk kernel push`; edit "
        f"{script.name} of the kernel's folder, not this.\n"
        f"{Path(prologue.__file__).read_text(encoding='utf-8')}\n\n"
        f'unpack_lmk(\n    digest="{digest}",\n    seconds={seconds:.0f},\n    payload="""\n{payload}\n""",\n)\n\n'
        f"# ---- {script.name}\n{own}"
    )
    bundle = Bundle(text, digest[:12])
    if bundle.size > SIZE_LIMIT:
        raise LmkError(f"The script with lmk has {bundle.size:,} bytes; Kaggle takes about {SIZE_LIMIT:,}.")
    return bundle


def check_for_secrets(files: Mapping[str, bytes], secrets: Iterable[str] = ()) -> None:
    """Refuse files that hold a credential: by name, by the look of it, or because it is this machine's.

    This is a net that catches mistakes, no proof that nothing secret is left.

    Raises:
        LmkError: Names the file and the line, never the credential.
    """
    known = [secret for secret in secrets if len(secret) >= 8]
    for name, content in files.items():
        if FORBIDDEN_NAMES.fullmatch(Path(name).name):
            raise LmkError(f"{name} holds credentials by its name; nothing is pushed. Remove it.")
        text = _text_of(content)
        found = [
            ("this machine's Kaggle credential, or its one of another service", text.index(secret))
            for secret in known
            if secret in text
        ]
        found += _looks_of_secrets(content)
        for what, place in found:
            line = text.count("\n", 0, place) + 1
            raise LmkError(f"{name}, line {line} holds {what}; nothing is pushed. Remove it (and revoke it).")


def _text_of(content: bytes) -> str:
    return content.replace(b"\0", b"").decode("utf-8", errors="replace")  # UTF-16 has a zero for each ASCII letter


@lru_cache(maxsize=1024)  # a training pushes the same files in every session, and a search of all of lmk takes 0.6 s
def _looks_of_secrets(content: bytes) -> tuple[tuple[str, int], ...]:
    """Text in a file that looks like a secret, and the place of its first character."""
    text = _text_of(content)
    return tuple((what, match.start()) for what, pattern in PATTERNS.items() if (match := pattern.search(text)))
