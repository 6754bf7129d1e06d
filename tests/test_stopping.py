"""Runs end early in good order: durations, deadlines, SIGTERM."""

import os
import signal
import time

import pytest

from lmk.util.errors import LmkError, StoppedEarly
from lmk.util.stopping import Stop, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("11h30m", 41_400), ("45m", 2_700), ("90s", 90), ("1d12h", 129_600), ("0.5h", 1_800), (" 2H ", 7_200)],
)
def test_a_duration_is_numbers_with_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "11", "30m11h", "h", "0s", "-1h", "1h1h", "nine hours"])
def test_what_is_no_duration_is_one_line(text):
    with pytest.raises(LmkError, match="write it as 11h30m"):
        parse_duration(text)


def test_a_stop_without_a_time_never_asks():
    stop = Stop()
    stop.check()
    assert not stop.asked


def test_the_end_of_the_time_ends_what_runs_with_exit_code_75():
    begun = time.monotonic()
    said = pytest.raises(StoppedEarly, match=r"its time of 1s is over.*run the same command to go on")
    with said as stopped, Stop(1).listening():
        time.sleep(20)
    assert time.monotonic() - begun < 10
    assert stopped.value.exit_code == 75


def test_sigterm_ends_what_runs_but_waits_where_that_is_deferred():
    stop, seen = Stop(), []
    with stop.listening():
        with stop.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            seen.append(stop.asked)
        with pytest.raises(StoppedEarly, match="SIGTERM asked for it"):
            stop.check()
        with pytest.raises(StoppedEarly, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
    assert seen == [True]


def test_signals_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with Stop(60).listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
