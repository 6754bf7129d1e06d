"""--quiet and --verbose: where they may stand, and what they let through to stderr."""

import subprocess
import sys
from pathlib import Path

import pytest

from lmk.cli.main import in_front
from tests.reported import make_run


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("loud")).root


def lmk(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lmk.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_loudness_goes_before_the_command_but_stays_behind_two_dashes():
    assert in_front(["report", "RUN", "-q", "--", "-v"]) == ["-q", "report", "RUN", "--", "-v"]
    assert in_front(["--version"]) == ["--version"]


def test_a_quiet_command_leaves_stdout_alone_and_says_nothing_else(workspace):
    loud, quiet = (lmk("report", "--workspace", workspace, *words) for words in ((), ("--quiet",)))
    assert loud.returncode == quiet.returncode == 0
    assert loud.stdout == quiet.stdout
    assert "open it in any browser" in loud.stderr
    assert quiet.stderr == ""


def test_a_quiet_command_still_tells_its_error(workspace):
    result = lmk("-q", "report", "crops-00000000001", "--workspace", workspace)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "Did you mean 'crops-000000000001'?" in result.stderr
    assert result.stderr.count("\n") == 1
