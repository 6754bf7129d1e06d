"""Workers end with what started them: nothing runs on after a kill, and Ctrl-C leaves no thread to abort in."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lmk.util.workers import in_order, in_threads, while_parent_lives

POOL = """
import os, sys, time
from joblib import Parallel, delayed
from lmk.util.workers import while_parent_lives
with Parallel(n_jobs=2) as pool:
    print(*set(pool(delayed(while_parent_lives)(os.getpid(), os.getpid) for _ in range(8))), flush=True)
    time.sleep(100)
"""
FEATURES = """
import sys, time
import numpy as np
from pathlib import Path
from lmk.local.features import extract
from lmk.local.rootsift import RootSift
from lmk.util.store import ArrayStore
rng = np.random.default_rng(0)
def read(name):
    print(name, flush=True)
    return rng.integers(0, 255, (600, 800, 3), np.uint8)
try:
    extract(read, [str(n) for n in range(600)], ArrayStore(Path(sys.argv[1]), "s", {}), RootSift(), jobs=3)
except KeyboardInterrupt:
    sys.exit(130)
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_processes_end_within_seconds_of_a_parent_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers and all(map(alive, workers))
        parent.kill()
    deadline = time.monotonic() + 15
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(alive, workers))


@pytest.mark.parametrize("after", [1, 40])
def test_ctrl_c_in_local_features_ends_with_130(tmp_path, after):
    words = [sys.executable, "-c", FEATURES, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


def test_by_an_error_what_has_begun_is_finished_and_the_rest_is_not_begun():
    begun, ended = [], []
    before = threading.active_count()  # other tests of this process may have left threads

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("one")
        time.sleep(0.1)
        ended.append(number)
        return number

    with pytest.raises(ValueError, match="one"), in_threads(2) as run:
        run(work, range(100))
    assert len(begun) < 20
    assert set(begun) - {1} == set(ended)
    assert threading.active_count() <= before
    with in_threads(3) as run:
        assert run(lambda value: value * 2, range(50)) == list(range(0, 100, 2))


def test_the_process_itself_is_not_watched():
    before = threading.active_count()
    assert while_parent_lives(os.getpid(), max, 1, 2) == 2
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 3])
def test_results_keep_their_order_and_no_more_items_than_threads_are_taken_ahead(threads):
    taken = []

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    for done, result in enumerate(in_order(lambda number: number**2, items(), threads)):
        assert result == done**2
        assert len(taken) <= done + threads
    assert taken == list(range(10))
    assert list(in_order(abs, [], threads)) == []


def test_an_error_comes_in_the_turn_of_its_item():
    results = in_order(lambda number: 1 / number, [2, 1, 0, 4], 2)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
