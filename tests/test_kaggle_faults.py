"""Every fault of the stand-in server, met by a command as a person calls it: its message and its exit code."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import kaggle_server
import pytest

from lmk.cli.main import main
from lmk.kaggle.kernels import new_kernel

SLUG = "tiny"
FETCH = ["data", "fetch", "-c", SLUG]
SUBMIT = ["submit", "answers.csv", "-m", "first", "-c", SLUG]
PUSH = ["kernel", "push", "hello"]
PULL = ["kernel", "pull", "hello"]
STATUS = ["kernel", "status", "hello", "--wait", "--every", "0.1"]

# fault, the call that meets it, the command, exit code, words of its message
TABLE = [
    ("401", "", ["leaderboard", "-c", SLUG], 3, "make a new token at https://www.kaggle.com/settings"),
    ("401", "GetLeaderboard", SUBMIT, 0, ""),
    ("401", "DownloadLeaderboard", ["leaderboard", "-c", SLUG], 3, "does not take the credentials (401)"),
    ("rules", "", FETCH, 1, "competitions/tiny/rules, join and accept"),
    ("rules", "", SUBMIT, 1, "competitions/tiny/rules, join and accept"),
    ("404", "DownloadDataFiles", FETCH, 1, "Kaggle knows nothing of that name (404"),
    ("429", "ListSubmissions", SUBMIT, 4, "fewer requests (429)"),
    ("500", "ListSubmissions", SUBMIT, 5, "Kaggle failed (500: Internal error)"),
    ("500-done", "", SUBMIT, 0, ""),
    ("hang-done", "", SUBMIT, 0, ""),
    ("hang-late", "", SUBMIT, 0, ""),
    ("hang", "", SUBMIT, 5, "The record stays unconfirmed"),
    ("silence", "", ["leaderboard", "-c", SLUG], 5, "did not answer in time"),
    ("page", "GetSubmissionLimits", SUBMIT, 5, "a page in place of data"),
    ("upload-break", "", SUBMIT, 5, "failed or broke while it was asked to upload answers.csv"),
    ("upload-403", "", SUBMIT, 1, "does not let this account upload answers.csv (403)"),
    ("upload-503", "", SUBMIT, 5, "Kaggle failed (503); it was asked to upload answers.csv"),
    ("download-break", "", FETCH, 5, "bytes are kept"),
    ("html", "", FETCH, 5, "web page in place of the file"),
    ("no-score", "", [*SUBMIT, "--wait", "--wait-seconds", "1"], 5, "arrived, but has no score after 1 s"),
    ("bad-score", "", [*SUBMIT, "--wait"], 1, "could not score submission 40000001: Submission contains null values"),
    ("no-slots", "", SUBMIT, 4, "No submission to tiny is left today"),
    ("unlisted", "", SUBMIT, 5, "does not list it, so it does not count"),
    ("push-error", "", PUSH, 1, "refused kernel tester/lmk-hello: Notebook title already in use."),
    ("push-sources", "", PUSH, 1, "without tiny: misspelt, private, or rules not accepted"),
    ("hang", "", PUSH, 5, "asked to save kernel tester/lmk-hello"),
    ("kernel-fails", "", [*PUSH, "&&", *STATUS], 1, "exited with code 1. See `lmk kernel logs hello`"),
    ("html", "", [*PUSH, "&&", *STATUS, "&&", *PULL], 5, "web page in place of the file"),
    ("half", "", [*PUSH, "&&", *STATUS, "&&", *PULL], 5, "came damaged or cut short"),
    # not switched on: what a person mistypes
    (
        "",
        "",
        ["leaderboard", "-c", "tinny"],
        1,
        "no competition 'tinny' that this account may see. Did you mean 'tiny'",
    ),
    (
        "",
        "",
        ["leaderboard", "-c", "https://www.kaggle.com/c/tiny"],
        1,
        "wants the competition's slug. Write `-c tiny`",
    ),
    ("", "", ["submit", "absent", "-c", SLUG], 1, "'absent' is neither a file nor a run"),
    ("", "", ["kernel", "status", "hello"], 1, "was never pushed from here"),
    ("", "", ["kernel", "push", "absent"], 1, "There is no kernel 'absent'"),
    ("", "", ["kernel", "push", "helo"], 1, "Did you mean 'hello'?"),
    ("", "", ["kernel", "new", "x", "--recipe", "mobilnet-gem"], 2, "Did you mean 'mobilenet-gem'?"),
    ("", "", ["kernel", "new", "x", "--kind", "trian", "--recipe", "mobilenet-gem"], 2, "Did you mean 'train'?"),
    ("", "", ["submit", "answers.csv", "-c", "tinny"], 1, "Did you mean 'tiny'?"),
]


@pytest.fixture
def kaggle(tmp_path, monkeypatch) -> Iterator[kaggle_server.Kaggle]:
    folder = tmp_path / "competition"
    folder.mkdir()
    (folder / "train.csv").write_text("id,landmark_id\nt1,7\n" * 100)
    (folder / "sample_submission.csv").write_text("id,landmarks\na,7 0.1\nb,7 0.1\nc,7 0.1\n")
    (folder / "solution.csv").write_text("id,landmarks,Usage\na,7,Public\nb,,Public\nc,9,Private\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lmk.kaggle.submit.SETTLE_SECONDS", 0.5)
    monkeypatch.setattr("lmk.kaggle.submit.POLL_SECONDS", 0.1)
    monkeypatch.setattr("lmk.kaggle.faults.LONGEST_WAIT", 0.5)
    monkeypatch.setattr("lmk.kaggle.download.BREAKS", 0)
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, folder)])
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.fixture
def desk(kaggle, tmp_path, monkeypatch) -> Path:
    """A person's folder: a fetched competition, answers, a kernel."""
    here = tmp_path / "workspace" / "competitions" / SLUG
    here.mkdir(parents=True)
    (here / "sample_submission.csv").write_text("id,landmarks\na,7 0.1\nb,7 0.1\nc,7 0.1\n")
    (tmp_path / "answers.csv").write_text("id,landmarks\na,7 0.9\nb,\nc,9 0.7\n")
    script = "from pathlib import Path\nfrom lmk.kaggle.inside import leave\nleave('hello', 'tiny', [], Path())\n"
    new_kernel(tmp_path / "kernels", "hello", script, SLUG, enable_gpu=False)
    monkeypatch.setenv("LMK_KAGGLE_TIMEOUT", "1")
    return tmp_path


def call(words: list[str], monkeypatch) -> int:
    """The exit code of one command, or of the first of several joined by && that fails."""
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        monkeypatch.setattr(sys, "argv", ["lmk", *words[:end]])
        with pytest.raises(SystemExit) as leaving:
            main()
        if leaving.value.code:
            return int(leaving.value.code)
        words = words[end + 1 :]
    return 0


@pytest.mark.parametrize(("fault", "method", "command", "code", "says"), TABLE)
def test_each_fault_ends_in_its_own_message_and_exit_code(
    kaggle, desk, monkeypatch, capsys, fault, method, command, code, says
):
    if fault:
        kaggle.fault(fault, method=method, seconds=1.0, **({"times": 1} if fault.endswith(("done", "late")) else {}))
    assert call(command, monkeypatch) == code
    out, err = capsys.readouterr()
    assert says in err
    assert kaggle_server.TOKEN not in out + err
    assert "signature=secret" not in out + err
    if code:
        assert out == "" or "&&" in command  # stdout is data: a failed command has none
    assert err.count("error:") == (1 if code else 0)
    assert "Traceback" not in err
    assert len(kaggle.competitions[SLUG].submissions) <= 1


def test_the_table_names_every_fault_of_the_server():
    of_sessions = {"kernel-cut", "source-lost"}  # a training goes on after them: tests/test_kaggle_train.py
    assert {row[0] for row in TABLE} - {""} | of_sessions == set(kaggle_server.FAULTS)


@pytest.mark.parametrize("fault", [name for name, _, command, *_ in TABLE if command == SUBMIT and name])
def test_after_any_fault_the_same_call_ends_with_one_submission(kaggle, desk, monkeypatch, fault):
    method = next(row[1] for row in TABLE if row[0] == fault and row[2] == SUBMIT)
    kaggle.fault(fault, method=method, times=1 if fault.endswith(("done", "late")) else 1000)
    call(SUBMIT, monkeypatch)
    kaggle.faults.clear()
    call(SUBMIT, monkeypatch)
    assert len(kaggle.competitions[SLUG].submissions) == 1
    records = [json.loads(path.read_text()) for path in Path("submissions").glob("*/record.json")]
    assert [record["ref"] for record in records] == [40000001]


@pytest.mark.parametrize(
    ("environment", "files", "says"),
    [
        ({}, {}, "No Kaggle credentials were found. Make a token"),
        ({"KAGGLE_USERNAME": "tester"}, {}, "KAGGLE_USERNAME is set, but KAGGLE_KEY is not"),
        ({"KAGGLE_API_TOKEN": "KGAT_expired00000000000"}, {}, "does not take the credentials in KAGGLE_API_TOKEN"),
        ({}, {".kaggle/access_token": "KGAT_expired00000000000"}, "credentials in ~/.kaggle/access_token"),
    ],
)
def test_missing_or_refused_credentials_are_said_with_where_to_get_some(
    kaggle, desk, monkeypatch, capsys, environment, files, says
):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, text in files.items():
        (desk / name).parent.mkdir(exist_ok=True)
        (desk / name).write_text(text)
    assert call(["leaderboard", "-c", SLUG], monkeypatch) == 3
    out, err = capsys.readouterr()
    assert says in err
    assert "expired0000" not in out + err
    assert out == ""


@pytest.mark.parametrize(
    "way", ["token", "token file", "access_token", "access_token.txt", "key", "kaggle.json", "dir", "login"]
)
def test_every_way_to_sign_in_that_the_official_client_knows_works(kaggle, desk, monkeypatch, capsys, way):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    token, key = kaggle_server.TOKEN, json.dumps({"username": kaggle_server.USER, "key": kaggle_server.TOKEN})
    (desk / ".kaggle").mkdir()
    (desk / "elsewhere").mkdir()
    match way:
        case "token":
            monkeypatch.setenv("KAGGLE_API_TOKEN", token)
        case "token file":
            (desk / "token").write_text(token + "\n")
            monkeypatch.setenv("KAGGLE_API_TOKEN", str(desk / "token"))
        case "access_token" | "access_token.txt":
            (desk / ".kaggle" / way).write_text(token)
        case "key":
            monkeypatch.setenv("KAGGLE_USERNAME", kaggle_server.USER)
            monkeypatch.setenv("KAGGLE_KEY", token)
        case "kaggle.json":
            (desk / ".kaggle" / "kaggle.json").write_text(key)  # readable by all: the client prints a warning
        case "login":
            signed_in = {"refresh_token": "r", "access_token": token, "username": kaggle_server.USER}
            signed_in["access_token_expiration"] = "2999-01-01T00:00:00+00:00"
            (desk / ".kaggle" / "credentials.json").write_text(json.dumps(signed_in))
        case "dir":
            (desk / "elsewhere" / "kaggle.json").write_text(key)
            monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(desk / "elsewhere"))
    assert call(["leaderboard", "-c", SLUG, "--json"], monkeypatch) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["teams"]) == 48  # nothing but JSON on stdout
    assert token not in out + err


def test_only_this_machine_is_taken_for_a_stand_in(kaggle, desk, monkeypatch, capsys):
    monkeypatch.setenv("LMK_KAGGLE_ENDPOINT", "https://kaggle.example.org")
    assert call(["leaderboard", "-c", SLUG], monkeypatch) == 1
    assert "only a loopback address" in capsys.readouterr().err
