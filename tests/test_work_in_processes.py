"""Processes compute items in groups, and go on while a group's results are kept."""

import time

import pytest

from lmk.util.processes import in_processes


def doubled(number, note=None):
    if note is not None:
        (note / str(number)).touch()
    return 2 * number


@pytest.mark.parametrize("groups", [[], [[]], [[1, 2, 3], [], [4], [5, 6]]])
def test_each_group_has_the_results_of_its_items_in_order(groups):
    with in_processes(2) as processes:
        found = [list(group) for group in processes.map(doubled, lambda number: (number,), groups)]
    assert found == [[2 * number for number in group] for group in groups]


def test_processes_go_on_with_the_next_group_while_the_caller_has_not_asked_for_it(tmp_path):
    with in_processes(2) as processes:
        groups = processes.map(doubled, lambda number: (number, tmp_path), [[1], [2]])
        assert list(next(groups)) == [2]
        until = time.monotonic() + 60
        while not (tmp_path / "2").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / "2").exists()
        assert [list(group) for group in groups] == [[4]]
