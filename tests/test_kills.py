"""A training that is killed within its epochs ends as one that nobody killed; tests/stress/epochs.py has more kills."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_kills_within_epochs_change_no_byte():
    words = [sys.executable, "-m", "tests.stress.epochs", "--kills", "2", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0, done.stderr[-800:]
    found = json.loads(done.stdout)
    assert found["kills"] == 2 and found["files_that_differ"] == []
