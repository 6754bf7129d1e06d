"""Requests to Kaggle, in lmk's own types; each request goes through the official Python client.

Requests that read are tried again after a break or a fault and wait as long as Kaggle asks; requests that change
something are sent once, and what is not known about them is said (`faults.NoAnswer`).
"""

import difflib
import io
import logging
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lmk.kaggle.faults import READ_TRIES, Refused, call
from lmk.kaggle.http import SLOWEST_UPLOAD, WHOLE
from lmk.util.errors import LmkError

T = TypeVar("T")
log = logging.getLogger(__name__)

SITE = "https://www.kaggle.com"
ANSWER_SECONDS = 30.0
"""Longest silence of Kaggle within one request."""
PAGE = 100
EDITIONS = (
    "landmark-recognition-challenge",
    "landmark-recognition-2019",
    "landmark-recognition-2020",
    "landmark-recognition-2021",
)


@dataclass(frozen=True)
class Competition:
    """Kaggle's facts about a competition; `entered` is whether this account accepted its rules."""

    slug: str
    title: str
    entered: bool
    teams: int
    code_only: bool


@dataclass(frozen=True)
class Submission:
    """One submission as Kaggle lists it; scores are None until they are there (private: until the end)."""

    ref: int
    date: datetime | None
    description: str
    file_name: str
    size: int
    status: str
    error: str
    public: float | None
    private: float | None
    team: str


@dataclass(frozen=True)
class Limits:
    """Submissions of this team: made today (UTC), allowed now."""

    today: int
    allowed: int


def slug_of(name: str) -> str:
    """The slug in a competition's slug or address.

    Raises:
        LmkError: It is neither.
    """
    if "://" in name or name.startswith(("www.", "kaggle.com")):
        parts = [part for part in urlsplit(name if "://" in name else f"https://{name}").path.split("/") if part]
        slug = parts[1] if len(parts) > 1 and parts[0] in ("c", "competitions") else None
        hint = f" Write `-c {slug}`." if slug else " Write the last part of the competition's address."
        raise LmkError(f"'{name}' is an address; Kaggle wants the competition's slug.{hint}")
    if not name or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise LmkError(f"'{name}' is no competition's slug, such as {EDITIONS[2]}.")
    return name


class Client:
    """Kaggle, signed in. Raises `CredentialsError`, `LimitError`, `RemoteError` or `LmkError` by what went wrong."""

    def __init__(self, seconds: float = ANSWER_SECONDS):
        from lmk.kaggle import official

        self.whole = WHOLE * seconds
        self.api = call("sign in", lambda: official.sign_in(seconds), READ_TRIES, self.whole)

    @property
    def username(self) -> str:
        """Name of the account that is signed in, "" where the credentials do not say."""
        return self.api.config_values.get(self.api.CONFIG_NAME_USER) or ""

    def secrets(self) -> list[str]:
        """Secrets that this client signs in with: never to be sent as part of anything."""
        values = self.api.config_values
        return [values[name] for name in (self.api.CONFIG_NAME_KEY, self.api.CONFIG_NAME_TOKEN) if values.get(name)]

    @property
    def account(self) -> str:
        """Account that submissions belong to: the address of a stand-in, if any, and the user's name."""
        return f"{self.api.address or ''} {self.username}".strip()

    def read(self, doing: str, request: Callable[[], T], competition: str | None = None) -> T:
        """The answer to a request that changes nothing."""
        return self._ask(doing, request, competition, READ_TRIES)

    def write(self, doing: str, request: Callable[[], T], competition: str | None = None, size: int = 0) -> T:
        """The answer to a request that changes something: sent once; `size` is the bytes that go with it."""
        return self._ask(doing, request, competition, 1, size / SLOWEST_UPLOAD)

    def _ask(
        self, doing: str, request: Callable[[], T], competition: str | None, tries: int, more_seconds: float = 0.0
    ) -> T:
        said = io.StringIO()
        try:
            with redirect_stdout(said):
                return call(doing, request, tries, self.whole + more_seconds)
        except Refused as refused:
            if competition is None:
                raise
            raise self._cause(competition, refused) from refused
        finally:
            if said.getvalue():
                log.debug("the official client printed %d characters", len(said.getvalue()))

    def _cause(self, slug: str, refused: Refused) -> LmkError:
        """Why Kaggle answered 403 about a competition: no such slug, rules not accepted, or what it said."""
        try:
            found = self.search(slug)
        except LmkError:
            return refused
        for competition in found:
            if competition.slug == slug and competition.entered:
                return Refused(f"{refused} The rules are accepted; see {SITE}/competitions/{slug} for what is closed.")
            if competition.slug == slug:
                return Refused(
                    f"The rules of {slug} are not accepted by this account: open {SITE}/competitions/{slug}/rules, "
                    "join and accept, then run the command again."
                )
        near = difflib.get_close_matches(slug, [*EDITIONS, *(competition.slug for competition in found)], 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Look it up at {SITE}/competitions."
        return Refused(f"Kaggle has no competition '{slug}' that this account may see. {hint}")

    def search(self, words: str) -> list[Competition]:
        """Competitions that Kaggle finds for `words`."""
        answer = self.read(f"search competitions for {words}", lambda: self.api.competitions_list(search=words))
        return [
            Competition(
                slug=str(found.ref).rstrip("/").rsplit("/", 1)[-1],
                title=found.title,
                entered=found.user_has_entered,
                teams=found.team_count,
                code_only=found.is_kernels_submissions_only,
            )
            for found in answer.competitions or []
        ]

    def competition(self, slug: str) -> Competition:
        """Kaggle's facts about one competition.

        Raises:
            LmkError: There is none of that name, or its rules are not accepted.
        """
        for found in self.search(slug):
            if found.slug == slug and found.entered:
                return found
        raise self._cause(slug, Refused(f"Kaggle does not let this account see {slug}."))

    # Submissions

    def submissions(self, slug: str, newest: int = 1000) -> list[Submission]:
        """The team's submissions, newest first, at the most `newest`."""
        listed: list[Submission] = []
        while len(listed) < newest:
            page = len(listed) // PAGE + 1
            answer = self.read(
                f"list the submissions of {slug}",
                lambda page=page: self.api.competition_submissions(slug, page_number=page, page_size=PAGE),  # type: ignore[misc]
                slug,
            )
            listed += [_submission(entry) for entry in answer or []]
            if len(answer or []) < PAGE:
                break
        return listed[:newest]

    def submission(self, ref: int) -> Submission:
        """One submission by its number."""
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest

        wanted = ApiGetSubmissionRequest()
        wanted.ref = ref

        def request() -> Any:
            with self.api.build_kaggle_client() as kaggle:
                return kaggle.competitions.competition_api_client.get_submission(wanted)

        return _submission(self.read(f"read submission {ref}", request))

    def limits(self, slug: str) -> Limits:
        """How many submissions are made today and allowed now."""
        answer = self.read(
            f"tell the submission limits of {slug}", lambda: self.api.competition_get_submission_limits(slug), slug
        )
        return Limits(answer.num_today, answer.num_allowed_now)

    def upload(self, slug: str, path: Path) -> str:
        """Bring a file to Kaggle without submitting it; gives the token that `create_submission` takes."""
        from kagglesdk.competitions.types.competition_api_service import ApiStartSubmissionUploadRequest

        wanted = ApiStartSubmissionUploadRequest()
        wanted.competition_name, wanted.file_name = slug, path.name
        wanted.content_length = path.stat().st_size
        wanted.last_modified_epoch_seconds = int(path.stat().st_mtime)

        def start() -> Any:
            with self.api.build_kaggle_client() as kaggle:
                return kaggle.competitions.competition_api_client.start_submission_upload(wanted)

        place = self.read(f"take a file for {slug}", start, slug)
        self.write(
            f"upload {path.name}",
            lambda: self.api.upload_complete(str(path), place.create_url, quiet=True),
            slug,
            path.stat().st_size,
        )
        return place.token

    def create_submission(self, slug: str, token: str, description: str) -> int | None:
        """Submit an uploaded file; gives the submission's number, None where Kaggle gives none. Never sent twice here.

        Raises:
            NoAnswer: It may have been submitted or not.
        """
        from kagglesdk.competitions.types.competition_api_service import ApiCreateSubmissionRequest

        wanted = ApiCreateSubmissionRequest()
        wanted.competition_name, wanted.blob_file_tokens = slug, token
        wanted.submission_description = description

        def request() -> Any:
            with self.api.build_kaggle_client() as kaggle:
                return kaggle.competitions.competition_api_client.create_submission(wanted)

        return self.write(f"submit to {slug}", request, slug).ref or None

    def create_code_submission(self, slug: str, kernel: str, version: int, output: str, description: str) -> int | None:
        """Submit what version `version` of `kernel` ("owner/slug") writes as `output`; as `create_submission`."""
        answer = self.write(
            f"submit version {version} of {kernel} to {slug}",
            lambda: self.api.competition_submit_code(output, description, slug, kernel, version, quiet=True),
            slug,
        )
        return answer.ref or None

    # The competition's files and board

    def archive(self, slug: str) -> Any:
        """The open response (`requests.Response`, streamed) that carries all files of a competition as one zip."""
        from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

        wanted = ApiDownloadDataFilesRequest()
        wanted.competition_name = slug

        def request() -> Any:
            with self.api.build_kaggle_client() as kaggle:
                return kaggle.competitions.competition_api_client.download_data_files(wanted)

        return self.read(f"download {slug}", request, slug)

    def leaderboard(self, slug: str) -> bytes:
        """The public leaderboard as the zip that Kaggle sends."""
        from kagglesdk.competitions.types.competition_api_service import ApiDownloadLeaderboardRequest

        wanted = ApiDownloadLeaderboardRequest()
        wanted.competition_name = slug

        def request() -> bytes:
            with self.api.build_kaggle_client() as kaggle:
                return kaggle.competitions.competition_api_client.download_leaderboard(wanted).content

        return self.read(f"download the leaderboard of {slug}", request, slug)


def _submission(entry: Any) -> Submission:
    return Submission(
        ref=entry.ref,
        date=entry.date,
        description=entry.description,
        file_name=entry.file_name,
        size=entry.total_bytes,
        status=entry.status.name.lower(),
        error=entry.error_description,
        public=_score(entry.public_score),
        private=_score(entry.private_score),
        team=entry.team_name,
    )


def _score(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
