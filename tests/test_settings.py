"""`lmk.toml`: where it is found, what it may hold, and what goes before it."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.util.errors import LmkError
from lmk.util.settings import NAME, read_settings, set_value, settings_path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty project folder, without settings from this machine."""
    for name in ("LMK_COMPETITION", "LMK_WORKSPACE", "LMK_WEIGHTS", "LMK_SUBMISSIONS", "LMK_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_nearest_file_above_is_found_within_the_project_and_no_further(folder):
    (folder / "a" / "b").mkdir(parents=True)
    assert settings_path(folder / "a" / "b") is None
    (folder / NAME).write_text('competition = "one"\n')
    assert settings_path(folder / "a" / "b") == folder / NAME
    (folder / "a" / ".git").mkdir()
    assert settings_path(folder / "a" / "b") is None


@pytest.mark.parametrize("text", ["competition = ", "[a\n", "x = 1979-05-27\n", "x = [[1]]\n", "\0"])
def test_a_damaged_file_is_one_clear_line_for_every_command(folder, lmk, text):
    (folder / NAME).write_text(text)
    code, out, err = lmk("recipes")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {folder / NAME}") and err.count("\n") == 1


keys = st.sampled_from(["competition", "weights", "image-size", "jobs"])
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
values = st.one_of(words, st.integers(-(10**9), 10**9), st.booleans(), st.lists(words, min_size=1, max_size=3))


@given(st.lists(st.tuples(keys, st.one_of(st.none(), values)), max_size=8))
def test_settings_written_one_by_one_are_read_back_and_leave_the_rest_alone(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("settings") / NAME
    path.write_text("# a comment\n\n[make-submission]\nfolds = 3  # stays\njobs = 4\n")
    expected = {"make-submission": {"folds": 3, "jobs": 4}}
    for key, value in steps:
        set_value(path, key, value)
        expected.pop(key, None)
        if value is not None:
            expected[key] = value
        assert tomllib.loads(path.read_text()) == expected
    assert "# a comment" in path.read_text() and "folds = 3  # stays" in path.read_text()


def test_a_value_over_several_lines_is_not_edited_but_refused(folder):
    text = 'recipe = [\n  "xception-gem",\n]\n'
    (folder / NAME).write_text(text)
    with pytest.raises(LmkError, match="in an editor"):
        set_value(folder / NAME, "recipe", "vgg16-bottleneck")
    assert (folder / NAME).read_text() == text


def test_config_sets_shows_and_removes(folder, lmk):
    assert lmk("config", "set", "competition", "landmark-recognition-2021")[0] == 0
    assert lmk("config", "set", "jobs", "3")[0] == 0
    assert lmk("config", "get", "competition")[1] == '"landmark-recognition-2021"\n'
    told = json.loads(lmk("config", "list", "--json")[1])
    assert told == {
        "file": str(folder / NAME),
        "settings": {"competition": "landmark-recognition-2021", "jobs": 3},
    }
    assert lmk("config", "unset", "jobs")[0] == 0
    assert read_settings(folder / NAME).values == {"competition": "landmark-recognition-2021"}
    code, _, err = lmk("config", "get", "jobs")
    assert code == 1 and "not set" in err


def test_a_key_that_no_command_has_is_refused_with_the_nearest(folder, lmk):
    code, _, err = lmk("config", "set", "competiton", "x")
    assert code == 2 and "'competition'" in err
    (folder / NAME).write_text("[submit]\nfolds = 3\n")
    code, _, err = lmk("recipes")
    assert code == 1 and "`lmk submit` has no option --folds" in err
    (folder / NAME).write_text("[sumbit]\nwait = true\n")
    code, _, err = lmk("recipes")
    assert code == 1 and "no command `lmk sumbit`" in err and "'submit'" in err


def test_an_option_goes_before_the_environment_before_the_file_before_the_default(folder, lmk, monkeypatch):
    monkeypatch.setattr("lmk.cli.submissions.connect", lambda timeout: pytest.fail("no network"))
    seen = []
    monkeypatch.setattr("lmk.cli.submissions.kaggle_slug", lambda slug: seen.append(slug) or slug)
    lmk("submissions")
    assert seen == []  # the default: all competitions
    (folder / NAME).write_text('competition = "general"\n')
    lmk("submissions")
    (folder / NAME).write_text('competition = "general"\n[submissions]\ncompetition = "own"\n')
    lmk("submissions")
    monkeypatch.setenv("LMK_COMPETITION", "environment")
    lmk("submissions")
    lmk("submissions", "-c", "option")
    assert seen == ["general", "own", "environment", "option"]


def test_paths_start_from_the_folder_of_the_file(folder, lmk, monkeypatch):
    (folder / NAME).write_text('records = "sent"\ncompetition = "general"\n')
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert f"No submission is recorded in {folder / 'sent'}" in lmk("submissions")[2].replace("\n", "")


def test_a_value_that_no_command_takes_is_neither_set_nor_read(folder, lmk):
    code, _, err = lmk("config", "set", "seed", "soon")
    assert code == 2 and "--seed" in err
    assert not (folder / NAME).exists()
    for text in ('seed = "soon"\n', "[make-submission]\nfolds = 1\n"):
        (folder / NAME).write_text(text)
        code, _, err = lmk("runs")
        assert code == 1 and err.startswith(f"error: {folder / NAME}: `{text.split()[-3]} = ")
