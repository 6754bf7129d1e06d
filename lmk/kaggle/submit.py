"""Submitting once: whatever breaks, Kaggle's own list decides whether a submission arrived.

The record is written before anything is sent. `CreateSubmission` may have worked although its answer was lost, and a
second one would spend a second of the day's few slots; so after a lost answer the list of submissions is searched for
the file's tag, and where nothing can be learnt the record stays `unconfirmed` for the next call to settle.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lmk.kaggle.api import SITE, Client, Limits, Submission
from lmk.kaggle.faults import NoAnswer, ServerFault
from lmk.kaggle.memory import Memory, Sent
from lmk.kaggle.records import UNCONFIRMED, UPLOADING, Record, Records, digest_of_csv, moment
from lmk.util.errors import LimitError, LmkError, RemoteError

SETTLE_SECONDS = 60.0
"""How long a submission whose answer was lost may still appear in the list."""
POLL_SECONDS = 2.0
SERVER_TRIES = 3
"""How often a submission is sent that Kaggle answered with a fault of its own and that its list does not show."""
LONGEST_DESCRIPTION = 500

Tell = Callable[[str], None]


def submit_file(
    client: Client,
    records: Records,
    record: Record,
    csv: Path,
    again: bool = False,
    tell: Tell = lambda text: None,
    settle_seconds: float = SETTLE_SECONDS,
) -> Record:
    """Submit a CSV once.

    Args:
        client: Kaggle.
        records: Where the record is kept.
        record: What is sent, new; its digest is that of `csv`.
        csv: The file, already checked.
        again: Send a file that was sent before.
        tell: Called with lines on what goes on.
        settle_seconds: How long to look for a submission whose answer was lost.

    Returns:
        The record, with Kaggle's number.

    Raises:
        LmkError: The file was sent already or is not the one of the record, or Kaggle refuses it.
        LimitError: No submission is left today.
        RemoteError: Kaggle failed; nothing was sent, or the record stays `unconfirmed` as the text says.
    """

    def create(token: str) -> int | None:
        return client.create_submission(record.competition, token, record.description)

    with snapshot(csv) as copy:  # while this call waits for another, the file may become another one
        if digest_of_csv(copy) != record.digest:
            raise LmkError(f"{csv} changed after it was checked; nothing was sent. Run the command again.")

        def upload() -> str:
            return client.upload(record.competition, copy)

        return _once(client, records, record, copy, upload, create, again, tell, settle_seconds)


@contextmanager
def snapshot(csv: Path) -> Iterator[Path]:
    """A copy of the file as it is now, of the same name, that nobody else changes; removed at the end.

    Raises:
        LmkError: The file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="lmk-submit-") as folder:
        copy = Path(folder, csv.name)
        try:
            shutil.copyfile(csv, copy)
        except shutil.SpecialFileError as error:
            raise LmkError(f"{csv} is no regular file.") from error
        except OSError as error:
            raise LmkError(f"{csv} cannot be read: {error.strerror}.") from error
        yield copy


def submit_kernel(
    client: Client,
    records: Records,
    record: Record,
    output: str = "submission.csv",
    again: bool = False,
    tell: Tell = lambda text: None,
    settle_seconds: float = SETTLE_SECONDS,
) -> Record:
    """Submit a kernel's version to a code competition once; `record.kernel` is "owner/slug/version"."""
    kernel, _, version = record.kernel.rpartition("/")

    def create(token: str) -> int | None:
        return client.create_code_submission(record.competition, kernel, int(version), output, record.description)

    return _once(client, records, record, None, str, create, again, tell, settle_seconds)


def _once(
    client: Client,
    records: Records,
    record: Record,
    csv: Path | None,
    upload: Callable[[], str],
    create: Callable[[str], int | None],
    again: bool,
    tell: Tell,
    settle_seconds: float,
) -> Record:
    if len(record.description) > LONGEST_DESCRIPTION:
        raise LmkError(f"The message has {len(record.message)} characters; write at the most 480.")
    memory = Memory(tell)
    with memory.locked(), records.locked(tell):
        if settled := _earlier(client, records, record, again, tell, settle_seconds):
            _remember(memory, client, records, settled)
            return settled
        for line in records.damaged:
            tell(f"{line} It is passed over; Kaggle's own list is asked.")
        if not again:
            _refuse_if_sent_elsewhere(client, memory, record, tell, settle_seconds)
        listed = client.submissions(record.competition)
        before = {submission.ref for submission in listed if record.tag in submission.description}
        if before and not again:
            raise LmkError(
                f"Kaggle has this file already as submission {max(before)} of {record.competition}. "
                "`lmk submit --again` sends it once more."
            )
        check_limits(client, record.competition)
        record.status = UPLOADING
        records.reserve(record)
        records.save(record, csv)
        try:
            token = upload()
        except LmkError:
            records.remove(record)
            raise
        record.status = UNCONFIRMED
        records.save(record)
        entry = _remember(memory, client, records, record)
        try:
            record.ref = _create(client, records, record, lambda: create(token), before, settle_seconds)
        except NoAnswer:
            raise
        except LmkError:
            memory.forget(entry)  # Kaggle refused it, or its list shows that nothing arrived
            raise
        record.status = "pending"
        records.save(record)
        _remember(memory, client, records, record)
        return record


def _remember(memory: Memory, client: Client, records: Records, record: Record) -> Sent:
    entry = Sent(
        account=client.account,
        competition=record.competition,
        digest=record.digest,
        file=record.file,
        size=record.size,
        sent=record.sent,
        ref=record.ref,
        records=str(records.root.resolve()),
    )
    memory.put(entry)
    return entry


def _refuse_if_sent_elsewhere(
    client: Client, memory: Memory, record: Record, tell: Tell, settle_seconds: float
) -> None:
    """Refuse a file that this user sent from another folder, where Kaggle's list may not show it yet.

    Raises:
        LmkError: It was sent, and is on Kaggle's list or may still come.
        NoAnswer: Kaggle does not say.
    """
    for entry in memory.find(client.account, record.competition, record.digest):
        left = _seconds_left(entry.sent, settle_seconds)
        if entry.ref is None:
            tell(f"A command in {entry.records} lost Kaggle's answer about this file; looking whether it arrived.")
        ref = _look(client, record, set(), left)
        if ref is None:
            memory.forget(entry)  # the list is the last word
            continue
        memory.put(replace(entry, ref=ref))
        raise LmkError(
            f"Kaggle has this file already as submission {ref} of {record.competition}; it was sent on {entry.sent} "
            f"and is recorded in {entry.records}. `lmk submit --again` sends it once more."
        )


def _seconds_left(sent: str, settle_seconds: float) -> float:
    """How long a submission of that time may still appear in Kaggle's list; a clock may have been wrong."""
    age = (datetime.now(UTC) - moment(sent)).total_seconds()
    return min(max(settle_seconds - age, 0.0), settle_seconds)


def _create(
    client: Client,
    records: Records,
    record: Record,
    create: Callable[[], int | None],
    before: set[int],
    settle_seconds: float,
) -> int:
    """Kaggle's number of the submission; sends again only after an answered fault that the list shows had no effect."""
    for left in reversed(range(SERVER_TRIES)):
        try:
            ref = create()
        except ServerFault:
            found = _look(client, record, before, POLL_SECONDS)
            if found is None and left:
                continue
            if found is None:
                records.remove(record)
                raise
            return found
        except NoAnswer as lost:
            found = _look(client, record, before, settle_seconds)
            if found is None:
                raise NoAnswer(_doubt(record)) from lost
            return found
        except LmkError:
            records.remove(record)
            raise
        found = _look(client, record, before, settle_seconds)  # Kaggle is known to say yes and to keep nothing
        if found is None:
            records.remove(record)
            raise RemoteError(
                f"Kaggle took {record.file} (submission {ref}) but does not list it, so it does not count. "
                f"See {SITE}/competitions/{record.competition}/submissions, then run the command again."
            )
        return found
    raise ValueError("SERVER_TRIES must be at least 1")


def _earlier(
    client: Client, records: Records, record: Record, again: bool, tell: Tell, settle_seconds: float
) -> Record | None:
    """The earlier record of this file where its answer was lost and it turns out to have arrived.

    Raises:
        LmkError: The file was sent before and is not to be sent again.
    """
    same = [old for old in records.all(record.competition) if old.digest == record.digest]
    taken = {old.ref for old in same if old.ref is not None}
    for old in same:
        if old.status == UPLOADING:  # killed before anything was submitted
            records.remove(old)
        if old.status != UNCONFIRMED:
            continue
        tell(f"An earlier call lost Kaggle's answer about this file; looking whether it arrived ({old.sent}).")
        ref = _look(client, old, taken, _seconds_left(old.sent, settle_seconds))
        if ref is None:
            records.remove(old)
            continue
        old.ref, old.status = ref, "pending"
        records.save(old)
        tell(f"It arrived: submission {ref}. Nothing is sent again.")
        return old
    if taken and not again:
        old = max((entry for entry in same if entry.ref is not None), key=lambda entry: moment(entry.sent))
        sent = f"{moment(old.sent):%Y-%m-%d %H:%M} UTC"
        score = f", public score {old.public:.5f}" if old.public is not None else ""
        raise LmkError(
            f"{old.file} was sent already on {sent} as submission {old.ref}{score} ('{old.message}'). "
            "`lmk submit --again` sends it once more."
        )
    return None


def _look(client: Client, record: Record, before: set[int], seconds: float) -> int | None:
    """The newest listed submission with the record's tag and size that was not there before; None after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            listed = client.submissions(record.competition)
        except RemoteError as error:
            if time.monotonic() >= deadline:
                raise NoAnswer(_doubt(record)) from error
            listed = []
        for submission in listed:
            if submission.ref not in before and _is_it(submission, record):
                return submission.ref
        if time.monotonic() >= deadline:
            return None
        time.sleep(min(POLL_SECONDS, max(deadline - time.monotonic(), 0.05)))


def _is_it(submission: Submission, record: Record) -> bool:
    same_size = bool(record.kernel) or submission.size in (0, record.size)
    return record.tag in submission.description and same_size


def _doubt(record: Record) -> str:
    return (
        f"Kaggle's answer about {record.file} was lost and its list does not show the submission (yet). The record "
        "stays unconfirmed: run the same command again, which looks first and sends only what did not arrive."
    )


def check_limits(client: Client, competition: str) -> Limits:
    """The submissions made and left today.

    Raises:
        LimitError: None is left.
    """
    limits = client.limits(competition)
    if limits.allowed == 0 and limits.today > 0:
        raise LimitError(
            f"No submission to {competition} is left today ({limits.today} made). The count begins anew at 00:00 UTC, "
            f"in {_until_midnight()}."
        )
    return limits


def _until_midnight() -> str:
    moment = datetime.now(UTC)
    minutes = 24 * 60 - moment.hour * 60 - moment.minute
    return f"{minutes // 60} h {minutes % 60} min"


def wait_for_score(
    client: Client,
    records: Records,
    record: Record,
    seconds: float,
    poll_seconds: float = POLL_SECONDS,
) -> Record:
    """The record with its score, once Kaggle has it.

    Raises:
        RemoteError: There is no score after `seconds`.
        LmkError: Kaggle could not score the file.
    """
    if record.ref is None:
        raise ValueError("The submission has no number yet.")
    deadline = time.monotonic() + seconds
    while True:
        update(records, record, client.submission(record.ref))
        if record.status == "error":
            raise LmkError(f"Kaggle could not score submission {record.ref}: {record.error or 'no reason given'}.")
        if record.status == "complete":
            return record
        if time.monotonic() >= deadline:
            raise RemoteError(
                f"Submission {record.ref} arrived, but has no score after {seconds:.0f} s. It counts; see it later by "
                "`lmk submissions --update`."
            )
        time.sleep(min(poll_seconds, max(deadline - time.monotonic(), 0.05)))


def update(records: Records, record: Record, submission: Submission) -> None:
    """Bring a record to what Kaggle says of it."""
    record.ref, record.status, record.error = submission.ref, submission.status, submission.error
    record.public, record.private = submission.public, submission.private
    records.save(record)


def refresh(client: Client, records: Records, competition: str) -> list[Submission]:
    """Bring all records of a competition to what Kaggle lists; gives the listed submissions that have no record."""
    listed = client.submissions(competition)
    known = set()
    with records.locked():
        for record in records.all(competition):
            for submission in listed:
                lost = record.ref is None and _is_it(submission, record)
                if record.ref == submission.ref or (lost and submission.ref not in known):
                    known.add(submission.ref)
                    update(records, record, submission)
                    break
    return [submission for submission in listed if submission.ref not in known]
