"""Submissions against the stand-in server, over real HTTP by the official client."""

import csv
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kaggle_server
import pytest

from lmk.kaggle.api import Client
from lmk.kaggle.memory import Memory, state_folder
from lmk.kaggle.records import Record, Records, digest_of_csv, git_state, now
from lmk.kaggle.runs import run_of
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


def test_a_file_that_changes_after_its_check_is_not_sent(kaggle, client, records, answers):
    record = new(answers)
    answers.write_text("id,landmarks\nnot a submission at all\n")
    with pytest.raises(LmkError, match="changed after it was checked"):
        submit_file(client, records, record, answers)
    assert (submitted(kaggle), records.all()) == (0, [])


@pytest.mark.parametrize("change", ["replaced", "removed", "grown"])
def test_what_was_checked_is_sent_though_the_file_changes_while_another_submits(
    kaggle, client, records, answers, change
):
    content = answers.read_bytes()
    waiting, failures = threading.Event(), []

    def send() -> None:
        try:
            submit_file(client, records, new(answers), answers, tell=lambda line: waiting.set())
        except LmkError as error:
            failures.append(error)

    with Memory(print).locked():
        thread = threading.Thread(target=send)
        thread.start()
        assert waiting.wait(20)  # it says that it waits for another
        if change == "removed":
            answers.unlink()
        else:
            answers.write_text("garbage" if change == "replaced" else answers.read_text() + "e,1 0.5\n")
    thread.join()
    assert failures == []
    (record,) = records.all(SLUG)
    assert (records.folder(record) / "submission.csv").read_bytes() == content
    (blob,) = [path for path in kaggle.blobs.values() if path.is_file()]
    assert blob.read_bytes() == content
    assert blob.name == "answers.csv"


def test_two_folders_of_one_user_send_a_file_once_though_kaggle_lists_it_late(
    kaggle, client, records, answers, tmp_path, monkeypatch
):
    submit_file(client, records, new(answers), answers)
    hidden, kaggle.competitions[SLUG].submissions = kaggle.competitions[SLUG].submissions, []
    threading.Timer(1.0, kaggle.competitions[SLUG].submissions.extend, [hidden]).start()
    with pytest.raises(LmkError, match=r"submission 40000001 .* is recorded in .*submissions"):
        submit_file(client, Records(tmp_path / "another folder"), new(answers), answers, settle_seconds=10)
    assert submitted(kaggle) == 1


def test_two_folders_at_once_send_a_file_once(kaggle, client, answers, tmp_path):
    failures: list[LmkError] = []

    def send(number: int) -> None:
        try:
            submit_file(client, Records(tmp_path / f"folder {number}"), new(answers), answers)
        except LmkError as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert submitted(kaggle) == 1
    assert ["Kaggle has this file already" in str(error) for error in failures] == [True, True]


def test_a_file_in_doubt_in_one_folder_is_looked_for_by_another(kaggle, client, records, answers, tmp_path):
    kaggle.fault("hang-late", times=1, seconds=2.0)
    with pytest.raises(RemoteError, match="stays unconfirmed"):
        submit_file(client, records, new(answers), answers, settle_seconds=0.3)
    with pytest.raises(LmkError, match="Kaggle has this file already as submission 40000001"):
        submit_file(client, Records(tmp_path / "another folder"), new(answers), answers, settle_seconds=10)
    assert (submitted(kaggle), kaggle.count("CreateSubmission")) == (1, 1)


def test_what_never_arrived_from_one_folder_is_sent_by_another(kaggle, client, records, answers, tmp_path):
    kaggle.fault("hang", times=1)
    with pytest.raises(RemoteError, match="stays unconfirmed"):
        submit_file(client, records, new(answers), answers, settle_seconds=0.2)
    submit_file(client, Records(tmp_path / "another folder"), new(answers), answers, settle_seconds=0.2)
    assert submitted(kaggle) == 1


def test_another_account_is_not_held_back_by_what_the_first_one_sent(kaggle, client, records, answers, tmp_path):
    submit_file(client, records, new(answers), answers)
    kaggle.competitions[SLUG].submissions.clear()
    client.api.config_values[client.api.CONFIG_NAME_USER] = "somebody"
    submit_file(client, Records(tmp_path / "another folder"), new(answers), answers)
    assert submitted(kaggle) == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"digest": "x"}]', "null", "[" * 100_000])
def test_a_damaged_memory_of_the_user_is_set_aside_and_blocks_nothing(kaggle, client, records, answers, text):
    path = state_folder() / "sent.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    told: list[str] = []
    submit_file(client, records, new(answers), answers, tell=told.append)
    assert submitted(kaggle) == 1
    assert "damaged" in told[0]
    (aside,) = path.parent.glob("sent-damaged-*.json")
    assert aside.read_text() == text


def test_a_state_folder_that_cannot_be_made_is_said_and_blocks_nothing(kaggle, client, records, answers):
    state_folder().parent.mkdir(parents=True)
    state_folder().write_text("a file in its place")
    told: list[str] = []
    submit_file(client, records, new(answers), answers, tell=told.append)
    assert submitted(kaggle) == 1
    assert "cannot be written" in told[0]


@pytest.mark.parametrize("hours", [5, -5])
@pytest.mark.parametrize("zone", ["Z", "", "+02:00"])
def test_a_record_in_doubt_of_whatever_time_is_settled_in_the_time_that_is_allowed(
    kaggle, client, records, answers, hours, zone
):
    sent = (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S") + zone
    old = Record(SLUG, "old", answers.name, answers.stat().st_size, digest_of_csv(answers), sent, status="unconfirmed")
    records.save(old)
    start = time.monotonic()
    submit_file(client, records, new(answers), answers, settle_seconds=0.5)
    assert time.monotonic() - start < 10
    assert submitted(kaggle) == 1


DAMAGE = [
    "",
    "{",
    "[]",
    "null",
    '{"competition": "tiny"}',
    *(
        json.dumps({**asdict(Record(SLUG, "m", "a.csv", 1, "0" * 64, "2026-01-02T03:04:05Z")), **change})
        for change in (
            {"sent": None},
            {"sent": "yesterday"},
            {"sent": 7},
            {"message": 5},
            {"file": None},
            {"size": "x"},
            {"digest": 7},
            {"ref": "7"},
            {"public": "high"},
            {"models": "xception"},
            {"dev": {"gap": "high"}},
            {"dev": []},
        )
    ),
]


@pytest.mark.parametrize("text", DAMAGE)
def test_a_damaged_record_is_named_and_blocks_neither_submitting_nor_the_list(
    kaggle, client, records, answers, text, lmk
):
    (records.root / "tiny-x").mkdir(parents=True)
    (records.root / "tiny-x" / "record.json").write_text(text)
    told: list[str] = []
    submit_file(client, records, new(answers), answers, tell=told.append)
    assert submitted(kaggle) == 1
    assert any("record.json is no record of a submission" in line for line in told)
    code, out, err = lmk("submissions", "--records", str(records.root))
    assert code == 0
    assert "answers.csv" in out
    assert "is no record of a submission" in " ".join(err.split())


@pytest.mark.parametrize("text", ["{", "[]", '{"run": 1}', "[" * 100_000])
def test_a_damaged_record_of_another_run_does_not_keep_a_file_from_its_own(tmp_path, text):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text(text)
    (tmp_path / "a.csv").write_text("id,landmarks\n")
    assert run_of(tmp_path, tmp_path / "a.csv") is None


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.fsmonitor=false")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.mark.parametrize("way", ["fsmonitor", "hook", "filter", "included filter", "worktree filter", "submodule"])
def test_the_state_of_a_repository_runs_none_of_its_programs(tmp_path, way):
    repository, ran = tmp_path / "repository", tmp_path / "ran"
    repository.mkdir()
    git(repository, "init", "-q")
    (repository / "a.txt").write_text("one")
    (repository / ".gitattributes").write_text("*.txt filter=evil\n" if "filter" in way else "")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "first")
    program = f"sh -c 'touch {ran}; cat'"
    if way == "fsmonitor":
        git(repository, "config", "core.fsmonitor", f"touch {ran}; false")
    elif way == "hook":
        hook = repository / ".git" / "hooks" / "post-index-change"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
        hook.chmod(0o755)
    elif way == "filter":
        git(repository, "config", "filter.evil.clean", program)
    elif way == "included filter":
        (repository / ".git" / "more").write_text(f'[filter "evil"]\n\tclean = "{program}"\n')
        git(repository, "config", "include.path", "more")
    elif way == "worktree filter":
        git(repository, "config", "extensions.worktreeConfig", "true")
        git(repository, "config", "--worktree", "filter.evil.clean", program)
    else:
        inner = repository / "inner"
        inner.mkdir()
        git(inner, "init", "-q")
        git(inner, "commit", "-q", "--allow-empty", "-m", "x")
        git(repository, "add", "inner")
        git(repository, "commit", "-qm", "second")
        git(inner, "config", "core.fsmonitor", f"touch {ran}; false")
    os.utime(repository / "a.txt", (1, 1))  # git has to look into it
    state = git_state(repository)
    assert len(state["commit"]) == 40
    assert state.get("changed") in ((None,) if "filter" in way else (False,))
    assert not ran.exists()


def test_the_state_of_a_repository_tells_its_commit_and_its_changes(tmp_path):
    git(tmp_path, "init", "-q", "-b", "some")
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    assert git_state(tmp_path) == {"commit": git_state(tmp_path)["commit"], "branch": "some", "changed": False}
    (tmp_path / "a.txt").write_text("two")
    assert git_state(tmp_path)["changed"] is True
    (tmp_path / "none").mkdir()
    bare = tmp_path / "none" / "bare"
    git(tmp_path, "clone", "-q", "--bare", str(tmp_path), str(bare))
    assert git_state(bare) == {}  # a folder that only looks like a repository may have come in an archive


def test_a_records_folder_that_is_full_is_named_before_anything_is_sent(kaggle, client, records, answers, monkeypatch):
    original = shutil.copyfile

    def full(source: Path, target: Path) -> Path:
        if records.root in target.parents:
            raise OSError(28, "No space left on device", str(source))
        return original(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(LmkError, match=r"submissions/tiny-.* cannot be written \(No space left on device\)"):
        submit_file(client, records, new(answers), answers)
    assert submitted(kaggle) == 0
