"""The store holds whole shards, resumes, and mends what was damaged."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lmk.util.store
from lmk.util.errors import LmkError
from lmk.util.store import ArrayStore, DamagedShard


def squares(ids):
    return {"square": np.array([[int(name) ** 2] for name in ids]), "name": np.asarray(ids)}


def names(count):
    return np.array([str(number) for number in range(count)])


def test_what_was_collected_comes_back_in_the_order_asked(tmp_path):
    store = ArrayStore(tmp_path, "squares", {"power": 2})
    store.collect(names(10), squares, shard_size=4)
    assert store.load(np.array(["7", "2", "7"]))["square"].ravel().tolist() == [49, 4, 49]
    assert len(list(store.folder.glob("*.npz"))) == 3


def test_only_what_is_missing_is_computed(tmp_path):
    store = ArrayStore(tmp_path, "squares", {"power": 2})
    store.collect(names(4), squares, shard_size=4)
    asked = []

    def compute(ids):
        asked.extend(ids)
        return squares(ids)

    store.collect(names(6), compute, shard_size=4)
    assert asked == ["4", "5"]


def test_another_key_is_another_folder(tmp_path):
    first, second = (ArrayStore(tmp_path, "squares", {"power": power}) for power in (2, 3))
    first.append(names(2), squares(names(2)))
    assert second.missing(names(2)).tolist() == ["0", "1"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", "flip"])
def test_a_damaged_shard_is_named_removed_and_computed_anew(tmp_path, damage, caplog):
    store = ArrayStore(tmp_path, "squares", {"power": 2})
    expected = store.collect(names(10), squares, shard_size=5)
    shard = store.folder / "000001.npz"
    data = bytearray(shard.read_bytes())
    if damage == "flip":
        data[data.index(bytes(np.int64(49).tobytes()))] ^= 1
        shard.write_bytes(data)
    else:
        shard.write_bytes(damage(bytes(data)))
    with pytest.raises(DamagedShard, match=r"000001\.npz"):
        store.load(names(10))
    np.testing.assert_array_equal(store.collect(names(10), squares, shard_size=5)["square"], expected["square"])


def test_a_draft_of_a_killed_process_is_removed_and_a_living_one_stays(tmp_path):
    store = ArrayStore(tmp_path, "squares", {"power": 2})
    store.folder.mkdir()  # which the first shard makes
    dead = store.folder / ".4194305.tmp.000000.npz"  # above Linux's largest process number
    alive = store.folder / ".1.tmp.000000.npz"
    for draft in (dead, alive):
        draft.write_bytes(b"half")
    assert ArrayStore(tmp_path, "squares", {"power": 2}).ids().size == 0
    assert not dead.exists()
    assert alive.exists()


def test_arrays_of_another_length_than_the_ids_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 rows"):
        ArrayStore(tmp_path, "squares", {}).append(names(2), {"square": np.zeros(3)})


def test_loading_an_id_that_is_not_stored_says_which(tmp_path):
    with pytest.raises(KeyError, match="'3'"):
        ArrayStore(tmp_path, "squares", {}).load(np.array(["3"]))


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_a_good_shard_stays_when_the_machine_fails(tmp_path, monkeypatch, error):
    store = ArrayStore(tmp_path, "s", {})
    store.append(np.array(["a"]), {"x": np.zeros(1)})

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(np, "load", fail)
        with pytest.raises(type(error)):
            store.ids()
    assert store.ids().tolist() == ["a"]


def test_a_shard_that_claims_more_than_it_holds_is_damaged(tmp_path):
    store = ArrayStore(tmp_path, "s", {})
    store.append(np.array(["a"]), {"x": np.zeros(1)})
    shard = store.folder / "000000.npz"
    shard.write_bytes(
        shard.read_bytes().replace(b"'shape': (1,), }            ", b"'shape': (999999999999999,), }"[:28])
    )
    with pytest.raises(DamagedShard):
        store.load(np.array(["a"]))
    assert not shard.exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {"ids": np.array("a"), "x": np.zeros(1)},
        {"ids": np.array([1]), "x": np.zeros(1)},
        {"ids": np.array(["a"]), "x": np.zeros(2)},
        {"ids": np.array(["a"]), "x": np.array(1.0)},
        {"ids": np.array(["a"]), "x": np.array([np.nan])},
        {"ids": np.array(["a"]), "x": np.array([np.inf], np.float16)},
        {"x": np.zeros(1)},
    ],
)
def test_a_shard_with_right_checksums_but_other_arrays_is_damaged(tmp_path, arrays):
    store = ArrayStore(tmp_path, "s", {})
    store.append(np.array(["a"]), {"x": np.zeros(1)})
    np.savez(store.folder / "000000.npz", **arrays)
    with pytest.raises(LmkError, match=r"000000\.npz was damaged"):
        store.load(np.array(["a"]))
    assert not (store.folder / "000000.npz").exists()


def test_numbers_that_are_not_finite_are_not_stored(tmp_path):
    store = ArrayStore(tmp_path, "features", {})
    with pytest.raises(LmkError, match="features: 'x' as computed holds numbers that are not finite"):
        store.collect(np.array(["a"]), lambda ids: {"x": np.full(len(ids), np.nan)}, 1)
    assert not store.ids().size
    store.append(np.array(["a"]), {"scores": np.array([[0.5, -np.inf]])})  # one candidate of two
    assert np.isneginf(store.load(np.array(["a"]))["scores"][0, 1])


def test_a_large_array_lies_in_a_file_that_goes_with_it(tmp_path, monkeypatch):
    store = ArrayStore(tmp_path, "squares", {})
    expected = store.collect(names(10), squares, shard_size=3)
    monkeypatch.setattr(lmk.util.store, "IN_MEMORY", 8)
    asked = np.array(["7", "2", "7", "9", "0"])
    mapped = store.load(asked)
    assert isinstance(mapped["square"], np.memmap)
    np.testing.assert_array_equal(mapped["square"], expected["square"][asked.astype(int)])
    assert mapped["name"].tolist() == asked.tolist()
    part = mapped["square"][1:3]
    assert len(list(store.folder.glob("*.rows"))) == len(list(store.folder.glob(".*.rows"))) == 2
    del mapped
    assert part.ravel().tolist() == [4, 49]  # what is left of it keeps it
    del part
    assert not list(store.folder.glob(".*.rows"))


def test_the_file_of_a_large_array_of_a_killed_process_is_removed(tmp_path, monkeypatch):
    store = ArrayStore(tmp_path, "squares", {})
    store.folder.mkdir()
    left = store.folder / ".4194305.tmp.0.rows"
    left.write_bytes(b"half")
    ArrayStore(tmp_path, "squares", {})
    assert not left.exists()
    left.write_bytes(b"half")
    monkeypatch.setattr(lmk.util.store, "IN_MEMORY", 8)
    room = lmk.util.store.make_room((10, 2), np.float32, store.folder)
    assert len(list(store.folder.glob(".*.rows"))) == 1
    assert room.shape == (10, 2)
    assert not left.exists()


def test_a_full_disk_is_told_and_no_file_of_a_large_array_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(lmk.util.store, "IN_MEMORY", 8)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        lmk.util.store.make_room((10, 2), np.float32, tmp_path)
    assert not list(tmp_path.iterdir())


def test_texts_of_other_lengths_and_ids_asked_twice_come_back_whole(tmp_path):
    store = ArrayStore(tmp_path, "words", {})
    for ids in (["a"], ["bb", "ccc"]):
        store.append(np.array(ids), {"word": np.array([name * 3 for name in ids])})
    assert store.load(np.array(["ccc", "a", "ccc"]))["word"].tolist() == ["ccc" * 3, "aaa", "ccc" * 3]


def test_shards_that_do_not_fit_together_are_refused(tmp_path):
    for place, other in enumerate(({"x": np.zeros((1, 2))}, {"y": np.zeros((1, 3))})):
        store = ArrayStore(tmp_path, f"s{place}", {})
        store.append(np.array(["a"]), {"x": np.zeros((1, 3))})
        store.append(np.array(["b"]), other)
        with pytest.raises(LmkError, match="than the shards before it"):
            store.load(np.array(["a", "b"]))


def test_no_ids_give_no_arrays_from_an_empty_store_and_from_another(tmp_path):
    store = ArrayStore(tmp_path, "squares", {})
    assert store.load(names(0)) == {}
    store.append(names(2), squares(names(2)))
    assert store.load(names(0)) == {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> ArrayStore:
    store = ArrayStore(tmp_path_factory.mktemp("flips"), "s", {})
    store.append(np.array(["a", "b", "c"]), {"values": np.arange(12, dtype=np.float16).reshape(3, 4)})
    return store


@settings(max_examples=60, deadline=None)
@example(place=442, bit=4)  # it hid an array
@given(place=st.integers(0, 540), bit=st.integers(0, 7))
def test_a_shard_with_any_flipped_bit_holds_the_same_or_goes(whole, place, bit):
    shard, ids = whole.folder / "000000.npz", np.array(["a", "b", "c"])
    data = shard.read_bytes()
    flipped = bytearray(data)
    flipped[place % len(data)] ^= 1 << bit
    shard.write_bytes(flipped)
    try:
        found = whole.load(ids)
    except DamagedShard:
        assert not shard.exists()
    else:
        assert found.keys() == {"values"}
        np.testing.assert_array_equal(found["values"], np.arange(12).reshape(3, 4))
    finally:
        shard.write_bytes(data)


def test_a_stream_may_be_ahead_and_each_of_its_shards_is_stored_as_it_comes(tmp_path):
    store = ArrayStore(tmp_path, "squares", {"power": 2})

    def compute(shards):
        assert [len(shard) for shard in shards] == [4, 4, 2]
        yield from map(squares, shards[:2])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.collect_stream(names(10), compute, shard_size=4)
    assert store.missing(names(10)).tolist() == ["8", "9"]
    found = store.collect_stream(names(10), lambda shards: iter([squares(shards[0])]), shard_size=4)
    assert found["square"].ravel().tolist() == [number**2 for number in range(10)]
