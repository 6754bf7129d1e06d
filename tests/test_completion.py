"""Shell completion, as a shell asks for it."""

import os
import subprocess
import sys

import pytest

from tests.tiny import draw_competition


def lmk(*words: str, folder=None, **variables: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LMK_")} | variables
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'lmk'; from lmk.cli.main import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=60, check=False)


def completed(line: str, folder=None) -> list[str]:
    """What bash is offered for the last word of a line."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_LMK_COMPLETE": "complete_bash"}
    return lmk(folder=folder, **asked).stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell):
    script = lmk(_LMK_COMPLETE=f"source_{shell}")
    assert script.returncode == 0
    assert "_LMK_COMPLETE" in script.stdout and f"complete_{shell}" in script.stdout


def test_commands_and_options_are_completed():
    assert completed("lmk make") == ["make-submission"]
    assert completed("lmk kernel pu") == ["push", "pull"]
    assert completed("lmk fuse --fol") == ["--folds"]


def test_names_of_recipes_and_competitions_are_completed(tmp_path):
    assert completed("lmk train tiny") == ["tinymobilenetv2-gem", "tinymobilenet-gem"]
    assert completed("lmk ensemble -r xc") == ["xception-gem", "xception-published"]
    draw_competition(tmp_path / "lanes")
    assert completed("lmk data status -c l", tmp_path) == [
        "landmark-recognition-challenge",
        "landmark-recognition-2019",
        "landmark-recognition-2020",
        "landmark-recognition-2021",
        "lanes",
    ]


def test_names_of_runs_are_completed_in_the_workspace_that_is_named(tmp_path):
    for name in ("demo-1", "lanes-2"):
        (tmp_path / "place" / "runs" / name).mkdir(parents=True)
        (tmp_path / "place" / "runs" / name / "run.json").write_text("{}")
    assert completed("lmk report --workspace place l", tmp_path) == ["lanes-2"]
    assert completed("lmk report d", tmp_path) == []
