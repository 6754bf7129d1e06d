"""The table of commands in the documents is the application's own, and says what holds of every command."""

import sys
from pathlib import Path

import pytest
import typer

from lmk.cli.app import app

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def writer():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        import write_commands

        yield write_commands
    sys.modules.pop("write_commands", None)


@pytest.fixture(scope="module")
def commands(writer) -> dict:
    return dict(writer.commands(typer.main.get_command(app)))


def test_the_page_is_what_the_application_says(writer):
    assert writer.PAGE.read_text(encoding="utf-8") == writer.page(), "run `python docs/write_commands.py`"


def test_every_set_of_names_is_completed(writer, commands):
    closed = {
        "recipe",
        "fusion",
        "local_features",
        "weights",
        "like",
        "delf",
        "competition",
        "against",
        "kernel",
        "run",
    }
    for name, command in commands.items():
        for parameter in command.params:
            if parameter.name in closed and parameter.param_type_name == "option":
                assert writer.is_completed(parameter), f"{name} --{parameter.name}"
            if name.startswith("lmk kernel ") and parameter.name == "name":
                assert writer.is_completed(parameter), name


def test_every_option_says_what_it_is_and_one_thing_has_one_spelling(commands):
    for name, command in commands.items():
        for parameter in command.params:
            assert parameter.help, f"{name}: {parameter.name}"
            if "--out" in getattr(parameter, "opts", ()):
                assert "-o" in parameter.opts, name


@pytest.mark.parametrize(
    "arguments", [["-h"], ["help"], ["help", "data"], ["help", "data", "new"], ["data", "new", "-h"]]
)
def test_help_is_found_where_it_is_looked_for(arguments, lmk):
    code, out, _ = lmk(*arguments)
    assert code == 0
    assert "Usage:" in out


def test_help_of_what_is_no_command_is_a_usage_error(lmk):
    assert lmk("help", "nonsense")[0] == 2
    code, _, err = lmk("help", "data", "fitch")
    assert code == 2 and "Did you mean 'fetch'?" in " ".join(err.replace("│", "").split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["make-submission", "--fusion", "nonsense"],
        ["make-submission", "-r", "nonsense"],
        ["make-submission", "--like", "nonsense"],
        ["make-submission", "--local-features", "nonsense"],
        ["make-submission", "--stop-after", "soon"],
        ["plan", "--gpu", "nonsense"],
        ["blend", "a.csv", "b.csv", "--rule", "nonsense", "-o", "c.csv"],
        ["submit"],
        ["config", "set", "nonsense", "1"],
        ["check", "here.csv"],
        ["evaluate", "here.csv"],
        ["make-submission", "--metric", "nonsense"],
        ["kernel", "new", "x", "--kind", "nonsense"],
        ["kernel", "new", "x"],
        ["config", "set", "seed", "x"],
        ["predict", "."],
    ],
)
def test_what_an_option_does_not_know_is_a_usage_error(arguments, lmk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").write_text("id,landmarks\n")
    code, _, err = lmk(*arguments)
    assert code == 2, err


def test_an_interruption_says_that_the_same_command_goes_on(lmk, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lmk.util.workspace.Workspace.open", interrupt)
    code, _, err = lmk("runs", "-h")
    assert code == 0
    code, _, err = lmk("check")
    assert code == 130
    assert err.endswith("Interrupted; the same command goes on.\n")
