"""Submissions against the stand-in server, over real HTTP by the official client."""

import csv
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import kaggle_server
import pytest

from lmk.kaggle.api import Client
from lmk.kaggle.records import Record, Records, digest_of_csv, now
from lmk.kaggle.submit import refresh, submit_file, wait_for_score
from lmk.util.errors import CredentialsError, LimitError, LmkError, RemoteError

SLUG = "tiny"


@pytest.fixture
def kaggle(tmp_path) -> Iterator[kaggle_server.Kaggle]:
    folder = tmp_path / "competition"
    folder.mkdir()
    rows = [("a", "7", "Public"), ("b", "", "Public"), ("c", "9", "Public"), ("d", "7", "Private")]
    with (folder / "solution.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "landmarks", "Usage"), *rows])
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, folder)])
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.fixture
def client(kaggle) -> Client:
    return Client(seconds=0.5)


@pytest.fixture
def records(tmp_path) -> Records:
    return Records(tmp_path / "submissions")


@pytest.fixture
def answers(tmp_path) -> Path:
    path = tmp_path / "answers.csv"
    path.write_text("id,landmarks\na,7 0.9\nb,7 0.8\nc,9 0.7\nd,\n")
    return path


def new(path: Path, message: str = "first") -> Record:
    return Record(SLUG, message, path.name, path.stat().st_size, digest_of_csv(path), now())


def submitted(kaggle: kaggle_server.Kaggle) -> int:
    return len(kaggle.competitions[SLUG].submissions)


def test_a_submission_arrives_once_and_gets_the_score_that_a_hand_gives(kaggle, client, records, answers):
    record = wait_for_score(client, records, submit_file(client, records, new(answers), answers), 10)
    assert submitted(kaggle) == 1
    # Ranked a, b, c: right 1/1, a distractor, right 2/3; two queries of the public half show a landmark.
    assert record.public == pytest.approx((1 / 1 + 2 / 3) / 2, abs=1e-5)
    assert record.private == 0.0
    assert records.all(SLUG) == [record]
    assert (records.folder(record) / "submission.csv").read_bytes() == answers.read_bytes()


def test_a_file_that_was_sent_is_refused_by_its_hash_whatever_its_name(kaggle, client, records, answers, tmp_path):
    submit_file(client, records, new(answers), answers)
    twin = tmp_path / "other-name.csv"
    twin.write_bytes(answers.read_bytes())
    with pytest.raises(LmkError, match="sent already"):
        submit_file(client, records, new(twin, "other"), twin)
    with pytest.raises(LmkError, match="Kaggle has this file already as submission 40000001"):
        submit_file(client, Records(tmp_path / "another machine"), new(twin), twin)
    assert submitted(kaggle) == 1
    submit_file(client, records, new(twin), twin, again=True)
    assert submitted(kaggle) == 2
    assert [record.ref for record in records.all()] == [40000001, 40000002]


@pytest.mark.parametrize("fault", ["hang-done", "500-done"])
def test_a_lost_answer_to_a_submission_that_arrived_sends_nothing_again(kaggle, client, records, answers, fault):
    kaggle.fault(fault, times=1)
    record = submit_file(client, records, new(answers), answers, settle_seconds=2)
    assert (submitted(kaggle), record.ref, record.status) == (1, 40000001, "pending")


def test_a_submission_that_arrives_late_is_found_and_not_sent_again(kaggle, client, records, answers):
    kaggle.fault("hang-late", times=1, seconds=2.0)
    record = submit_file(client, records, new(answers), answers, settle_seconds=10)
    assert (submitted(kaggle), record.ref, kaggle.count("CreateSubmission")) == (1, 40000001, 1)


def test_a_lost_answer_in_doubt_is_settled_by_the_next_call(kaggle, client, records, answers):
    kaggle.fault("hang-late", times=1, seconds=3.0)
    with pytest.raises(RemoteError, match="stays unconfirmed") as failure:
        submit_file(client, records, new(answers), answers, settle_seconds=0.5)
    assert failure.value.exit_code == 5
    assert [record.status for record in records.all()] == ["unconfirmed"]
    told: list[str] = []
    record = submit_file(client, records, new(answers), answers, tell=told.append, settle_seconds=10)
    assert (submitted(kaggle), record.ref, kaggle.count("CreateSubmission")) == (1, 40000001, 1)
    assert told[-1] == "It arrived: submission 40000001. Nothing is sent again."


def test_a_submission_that_never_arrived_is_sent_by_the_next_call(kaggle, client, records, answers):
    kaggle.fault("hang", times=1)
    with pytest.raises(RemoteError, match="stays unconfirmed"):
        submit_file(client, records, new(answers), answers, settle_seconds=0.2)
    assert submitted(kaggle) == 0
    record = submit_file(client, records, new(answers), answers, settle_seconds=0.2)
    assert (submitted(kaggle), record.ref, len(records.all())) == (1, 40000001, 1)


def test_a_fault_that_had_no_effect_is_tried_again_in_the_same_call(kaggle, client, records, answers):
    kaggle.fault("500", times=1, method="CreateSubmission")
    submit_file(client, records, new(answers), answers)
    assert (submitted(kaggle), kaggle.count("CreateSubmission")) == (1, 2)


def test_a_process_killed_before_the_submission_leaves_nothing_in_doubt(kaggle, client, records, answers):
    killed = new(answers)
    records.save(killed, answers)  # what is on disk while the file is uploaded
    record = submit_file(client, records, new(answers), answers)
    assert (submitted(kaggle), record.ref) == (1, 40000001)


@pytest.mark.parametrize(
    ("fault", "method", "error", "says"),
    [
        ("401", "CreateSubmission", CredentialsError, "does not take the credentials"),
        ("rules", "", LmkError, "tiny/rules, join and accept"),
        ("404", "CreateSubmission", LmkError, "404"),
        ("429", "CreateSubmission", LimitError, "fewer requests"),
        ("500", "", RemoteError, "Kaggle failed"),
        ("silence", "", RemoteError, "did not answer in time"),
        ("page", "", RemoteError, "page in place of data"),
        ("upload-break", "", RemoteError, "upload answers.csv"),
        ("upload-403", "", LmkError, "upload answers.csv"),
        ("upload-503", "", RemoteError, "503"),
        ("no-slots", "", LimitError, "No submission to tiny is left today"),
        ("unlisted", "", RemoteError, "does not list it"),
    ],
)
def test_a_refused_submission_leaves_no_trace(
    kaggle, client, records, answers, fault, method, error, says, monkeypatch
):
    monkeypatch.setattr("lmk.kaggle.faults.time.sleep", lambda seconds: None)
    kaggle.fault(fault, method=method)
    with pytest.raises(error, match=says) as failure:
        submit_file(client, records, new(answers), answers, settle_seconds=0.1)
    assert failure.value.exit_code == error.exit_code
    assert "secret" not in str(failure.value)
    assert kaggle_server.TOKEN not in str(failure.value)
    assert (submitted(kaggle), records.all()) == (0, [])
    kaggle.faults.clear()
    submit_file(client, records, new(answers), answers)
    assert submitted(kaggle) == 1


def test_a_broken_upload_is_sent_again_in_the_same_call(kaggle, client, records, answers):
    kaggle.fault("upload-break", times=1)
    submit_file(client, records, new(answers), answers)
    assert submitted(kaggle) == 1
    assert kaggle.count("PUT") == 2


def test_a_score_that_never_comes_ends_the_wait_and_counts_all_the_same(kaggle, client, records, answers):
    kaggle.fault("no-score")
    record = submit_file(client, records, new(answers), answers)
    with pytest.raises(RemoteError, match="40000001 arrived, but has no score after 0 s"):
        wait_for_score(client, records, record, 0.2, poll_seconds=0.1)
    kaggle.faults.clear()
    assert refresh(client, records, SLUG) == []
    assert records.all()[0].public == pytest.approx(5 / 6, abs=1e-5)


def test_a_file_that_cannot_be_scored_is_reported_with_kaggles_reason(kaggle, client, records, answers):
    kaggle.fault("bad-score")
    record = submit_file(client, records, new(answers), answers)
    with pytest.raises(LmkError, match="null values"):
        wait_for_score(client, records, record, 5)


def test_the_daily_limit_holds_back_the_sixth_file(kaggle, client, records, tmp_path):
    for number in range(5):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"id,landmarks\na,7 0.{number + 1}\nb,\nc,\nd,\n")
        submit_file(client, records, new(path), path)
    path = tmp_path / "sixth.csv"
    path.write_text("id,landmarks\na,7 0.99\nb,\nc,\nd,\n")
    with pytest.raises(LimitError, match=r"5 made.*00:00 UTC"):
        submit_file(client, records, new(path), path)
    assert kaggle.count("PUT") == 5


def test_a_request_that_reads_waits_as_long_as_kaggle_asks_and_goes_on(kaggle, client, records, answers):
    kaggle.fault("429", times=2, method="ListSubmissions", seconds=0.4)
    start = time.monotonic()
    submit_file(client, records, new(answers), answers)
    assert time.monotonic() - start >= 0.8
    assert submitted(kaggle) == 1


def test_a_wait_that_is_too_long_is_left_to_the_person(kaggle, client, records, answers):
    kaggle.fault("429", method="ListSubmissions", seconds=3600)
    with pytest.raises(LimitError, match="Run it again in 3600 s"):
        submit_file(client, records, new(answers), answers)
    assert kaggle.count("ListSubmissions") == 1


def test_two_commands_at_once_send_a_file_once(kaggle, client, records, answers):
    failures: list[LmkError] = []

    def send() -> None:
        try:
            submit_file(client, Records(records.root), new(answers), answers)
        except LmkError as error:
            failures.append(error)

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert submitted(kaggle) == 1
    assert [str(error).split(" on ")[0] for error in failures] == ["answers.csv was sent already"] * 2
