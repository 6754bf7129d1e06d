"""What a person sees while a command works: nested bars on a terminal, plain lines in a log."""

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress

from lmk.cli import console
from lmk.cli.console import Clock, Rate, progress, speed
from lmk.cli.output import filled


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=written, force_terminal=True, width=100, highlight=False))
    return written


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by what a test adds."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def shown(written: io.StringIO) -> str:
    """What was written last, without colours."""
    console._shown[0].refresh()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue()).split("\r")[-1]


def test_a_stage_within_a_stage_has_its_bar_below(terminal):
    with progress("All stages", 3, "stages") as outer:
        outer(1)
        with progress("fold 1", 10, "steps") as inner:
            inner(4)
            lines = shown(terminal).splitlines()
            assert [line.split("  ")[0].split(" ━")[0].strip() for line in lines[-2:]] == ["All stages", "fold 1"]
            assert "1/3" in lines[-2] and "4/10" in lines[-1] and "steps/s" in lines[-1]
        assert "fold 1" not in shown(terminal).splitlines()[-1]
        with pytest.raises(KeyError), progress("fold 2", 10, "steps"):
            raise KeyError
        assert len(console._shown[0].tasks) == 1
    assert not console._shown


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(clock, capsys):
    with progress("Photos", 100, "photos") as advance:
        clock[0] += 5
        advance(10)
        clock[0] += 15
        advance(30)
        clock[0] += 20
        advance(60)
    assert capsys.readouterr().err.splitlines() == [
        "Photos: 40 of 100 photos, 2.0 photos/s",
        "Photos: 100 photos in 40 s",
    ]


def test_what_is_done_at_once_is_not_told(clock, capsys):
    with progress("Photos", 2, "photos") as advance:
        clock[0] += 1
        advance(2)
    assert capsys.readouterr().err == ""


def test_a_quiet_command_shows_no_progress(monkeypatch, terminal):
    console.stderr.quiet = True
    with progress("Photos", 2, "photos") as advance:
        advance(1)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("done", "seconds", "told"),
    [(0, 3, "0.0 photos/s"), (79, 10, "7.9 photos/s"), (12_000, 2, "6,000.0 photos/s"), (2, 60, "30 s each")],
)
def test_what_takes_long_is_told_by_the_seconds_of_each(done, seconds, told):
    assert speed(done, seconds, "photos") == told


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_prose_is_filled_between_words_on_a_terminal_and_one_line_elsewhere(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    prose = "ok    weights  one two three /a/very/long/path/of/a/file.h5"
    assert filled(prose, io.StringIO(), "      ") == prose
    lines = filled(prose, Terminal(), "      ").splitlines()
    assert lines == ["ok    weights  one", "      two three", "      /a/very/long/path/of/a/file.h5"]


def test_no_number_of_a_result_is_broken_at_the_edge_of_a_terminal(monkeypatch):
    from lmk.cli.submit import tell

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    scores = {"public": 0.426, "private": 0.5297, "left_today": None}
    tell({"ref": "40000001", "competition": "rendered-landmarks", "status": "complete", **scores})
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 2 and all(len(line) <= 80 for line in lines)
    assert lines[1].endswith("0.52970")


def test_lmk_alone_prints_its_help_and_where_to_begin(capsys, monkeypatch):
    from lmk.cli.main import main

    monkeypatch.setattr("sys.argv", ["lmk"])
    with pytest.raises(SystemExit) as left:
        main()
    shown = capsys.readouterr().out
    assert left.value.code == 2 and "make-submission" in shown and shown.endswith("A first run: lmk demo\n")


def test_what_is_counted_without_a_unit_has_neither_rate_nor_time_left(terminal, clock, capsys):
    with progress("All steps", 4, "") as advance:
        clock[0] += 20
        advance(3)
        assert re.search(r"3/4 +\d:\d\d so far", shown(terminal).splitlines()[-1])
    assert speed(3, 20.0, "") == ""


def test_the_rate_of_a_bar_and_the_time_left_are_of_one_pace():
    now = [0.0]
    bars = Progress(get_time=lambda: now[0], auto_refresh=False, console=Console(file=io.StringIO()))
    bars.add_task("fold 1", total=160, unit="steps")
    [task] = bars.tasks
    assert (str(Rate().render(task)), str(Clock().render(task))) == ("", "0:00 so far")
    now[0] = 5.0  # the first step compiles
    bars.advance(task.id, 1)
    assert (str(Rate().render(task)), str(Clock().render(task))) == ("5 s each", "about 13:15 left")
    for _ in range(40):
        now[0] += 0.05
        bars.advance(task.id, 1)
    assert (str(Rate().render(task)), str(Clock().render(task))) == ("20.0 steps/s", "about 0:06 left")
    now[0] += 60.0  # nothing else was done for a minute: the pace since the beginning, 42 in 67 s
    bars.advance(task.id, 1)
    assert (str(Rate().render(task)), str(Clock().render(task))) == ("0.6 steps/s", "about 3:08 left")


def test_a_log_counts_what_has_no_unit(clock, capsys):
    with progress("All steps", 4, "") as advance:
        clock[0] += 20
        advance(3)
        advance(1)
    assert capsys.readouterr().err.splitlines() == ["All steps: 3 of 4, 20 s", "All steps: 4 of 4 in 20 s"]


def test_commands_that_may_follow_are_printed_but_within_a_kernel(monkeypatch, capsys):
    monkeypatch.setattr(console, "stderr", Console(stderr=True))
    console.next_steps("lmk check", "lmk submit RUN")
    assert capsys.readouterr().err == "Next: lmk check\n      lmk submit RUN\n"
    monkeypatch.setenv("LMK_BUNDLE", "0123456789ab")
    console.next_steps("lmk check")
    assert capsys.readouterr().err == ""
