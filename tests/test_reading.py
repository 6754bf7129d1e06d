"""Photos read by threads: in order, ahead of their use, within bounded memory."""

import threading
import time

import numpy as np
import pytest

from lmk.data.reading import batches_ahead
from lmk.util import workers
from lmk.util.workers import MOST_WORKERS, available_cores, default_workers

IDS = np.array([f"{number}" for number in range(23)])


def fill(name: str, out: np.ndarray) -> None:
    time.sleep(0.001 * (int(name) % 3))  # so that photos are not done in order
    out[...] = int(name) + 1


@pytest.mark.parametrize("jobs", [1, 4, None])
def test_batches_come_in_the_order_of_the_ids_and_the_last_one_is_filled_up_with_zeros(jobs):
    batches = list(batches_ahead(fill, IDS, (2, 3), 5, jobs))
    assert [batch.shape for batch in batches] == [(5, 2, 3)] * 5
    np.testing.assert_array_equal(np.concatenate(batches)[:, 0, 0], [*range(1, 24), 0, 0])


def test_no_photos_are_no_batches():
    assert list(batches_ahead(fill, IDS[:0], (1,), 5)) == []


def test_batches_are_made_ahead_of_their_use_but_no_more_than_that():
    seen = []
    batches = batches_ahead(lambda name, out: seen.append(int(name)), IDS, (1,), 4, jobs=2, ahead=1)
    next(batches)
    time.sleep(0.2)
    assert sorted(seen) == list(range(8))  # the one in use and one more
    next(batches)
    time.sleep(0.2)
    assert sorted(seen) == list(range(12))
    batches.close()


def test_several_threads_read_at_once():
    meeting = threading.Barrier(3, timeout=10)
    list(batches_ahead(lambda name, out: meeting.wait(), IDS[:6], (1,), 6, jobs=3))  # each waits for two others


def test_an_error_comes_in_its_turn_and_ends_the_reading():
    seen = []

    def broken(name: str, out: np.ndarray) -> None:
        seen.append(int(name))
        if name == "6":
            raise OSError("photo 6")

    batches = batches_ahead(broken, IDS, (1,), 5, jobs=1, ahead=1)
    next(batches)
    with pytest.raises(OSError, match="photo 6"):
        next(batches)
    assert len(seen) < len(IDS)


def test_of_several_photos_that_fail_the_first_is_told():
    def broken(name: str, out: np.ndarray) -> None:
        time.sleep(0.05 * (name == "1"))  # so that photo 2 fails before it
        if name in ("1", "2", "7"):
            raise OSError(f"photo {name}")

    with pytest.raises(OSError, match="photo 1"):
        list(batches_ahead(broken, IDS, (1,), 5, jobs=3))


def test_the_cores_are_those_that_this_process_may_use():
    assert 1 <= available_cores() <= 4096


def test_nobody_says_how_many_threads_so_there_is_one_a_core_up_to_a_limit(monkeypatch):
    for cores, expected in ((1, 1), (4, 4), (96, MOST_WORKERS)):
        monkeypatch.setattr(workers, "available_cores", lambda cores=cores: cores)
        assert default_workers() == expected
