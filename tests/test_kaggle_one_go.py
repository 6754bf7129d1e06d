"""`make-submission --submit`: made and sent by one call; what is in the way is said first, or loses nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import kaggle_server
import pytest
import tiny

pytestmark = pytest.mark.usefixtures("tiny_recipes")

SLUG = "walls"
WORDS = ["make-submission", "-r", "tiny-frozen", "--weights", "none", "--folds", "3", "-c", SLUG, "--submit", "--json"]
WORDS += ["--jobs", "1"]


@pytest.fixture(scope="module")
def competition(tmp_path_factory) -> Path:
    folder = tiny.draw_competition(tmp_path_factory.mktemp("kaggle") / SLUG)
    solution = folder / "solution.csv"  # the board needs scores of the public half, too
    solution.write_text(solution.read_text().replace("Private", "Public", 5))
    return folder


@pytest.fixture(scope="module")
def desk(competition, tmp_path_factory) -> Path:
    """A person's folder, kept from test to test: what one computed, the next reuses."""
    here = tmp_path_factory.mktemp("desk")
    (here / "workspace" / "competitions").mkdir(parents=True)
    (here / "workspace" / "competitions" / SLUG).symlink_to(competition)
    return here


@pytest.fixture
def kaggle(competition, desk, tmp_path, monkeypatch) -> Iterator[kaggle_server.Kaggle]:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("LMK_SUBMISSIONS", str(tmp_path / "submissions"))
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, competition)])
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.mark.parametrize(("fault", "code", "says"), [("rules", 1, "join and accept"), ("", 3, "No Kaggle credentials")])
def test_what_a_person_must_do_first_is_said_before_the_work(kaggle, desk, monkeypatch, lmk, fault, code, says):
    if fault:
        kaggle.fault(fault)
    else:
        monkeypatch.delenv("KAGGLE_API_TOKEN")
    left, out, err = lmk(*WORDS)
    assert (left, out) == (code, "")
    assert says in err
    assert not (desk / "workspace" / "predictions").exists()


def test_it_is_made_sent_once_and_told_in_one_object(kaggle, desk, lmk):
    code, out, err = lmk(*WORDS, "-m", "walls", "--wait")
    assert code == 0, err
    told = json.loads(out)
    assert told["sent"]["status"] == "complete"
    arrived = kaggle.competitions[SLUG].score(Path(told["submission"]))
    assert told["sent"]["public"] == float(arrived["publicScore"])
    code, out, err = lmk(*WORDS, "-m", "walls")
    assert code == 1
    assert "was sent already" in err
    assert "`lmk submit --again` sends it once more" in err
    again = json.loads(out)  # made and told, though not sent
    assert (again["submission"], "sent" in again) == (told["submission"], False)
    assert len(kaggle.competitions[SLUG].submissions) == 1


def test_a_day_without_submissions_left_loses_nothing(kaggle, desk, lmk):
    kaggle.fault("no-slots")
    code, out, err = lmk(*WORDS)
    assert code == 4
    assert "No submission to walls is left today" in err
    assert Path(json.loads(out)["submission"]).is_file()
    assert kaggle.competitions[SLUG].submissions == []


def test_words_of_a_submission_without_submit_are_a_mistake_in_usage(kaggle, lmk):
    words = [word for word in WORDS if word != "--submit"]
    assert lmk(*words, "--wait")[0] == 2
