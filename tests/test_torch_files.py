"""Files of PyTorch, written here opcode by opcode: what is read, and that nothing in them is run."""

import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.util.errors import LmkError
from lmk.util.torch_files import LEGACY_MAGIC, LEGACY_PROTOCOL, read_torch

WEIGHT = np.arange(6, dtype="<f4").reshape(2, 3)
STEPS = np.array([7, 8], dtype="<i8")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def storage(kind: str, key: str, count: int, legacy: bool = False) -> bytes:
    view = b"N" if legacy else b""
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + number(count) + view + b"tQ"


def tensor(stored: bytes, shape, strides, offset: int = 0) -> bytes:
    hooks = name("collections", "OrderedDict") + b")R"
    arguments = stored + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + hooks
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def ordered(items: dict[str, bytes]) -> bytes:
    body = b"".join(text(key) + value for key, value in items.items())
    return name("collections", "OrderedDict") + b")Rq\x00(" + body + b"u"


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def two_tensors(legacy: bool = False) -> bytes:
    """A weight, its transpose in an inner dictionary, and an integer buffer; attributes of the dictionary follow."""
    weight = storage("FloatStorage", "0", 6, legacy)
    inner = b"}(" + text("turned") + tensor(weight, (3, 2), (1, 3)) + text("epoch") + number(3) + b"u"
    items = {
        "weight": tensor(weight, (2, 3), (3, 1)),
        "inner": inner,
        "steps": tensor(storage("LongStorage", "1", 2, legacy), (2,), (1,)),
    }
    return program(ordered(items) + b"}" + text("_metadata") + b"Nsb")


def write_zip(path, pickled: bytes, compression=zipfile.ZIP_STORED, **members: bytes):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("net/data.pkl", pickled)
        archive.writestr("net/byteorder", members.pop("byteorder", b"little"))
        for key, content in members.items():
            archive.writestr(f"net/data/{key.removeprefix('_')}", content)
    return path


def write_legacy(path, pickled: bytes, storages: dict[str, np.ndarray], little: bool = True):
    system = {"protocol_version": LEGACY_PROTOCOL, "little_endian": little, "type_sizes": {"int": 4}}
    heads = [LEGACY_MAGIC, LEGACY_PROTOCOL, system]
    content = b"".join(pickle.dumps(head, protocol=2) for head in heads) + pickled
    content += pickle.dumps(list(storages), protocol=2)
    content += b"".join(struct.pack("<q", values.size) + values.tobytes() for values in storages.values())
    path.write_bytes(content)
    return path


@pytest.fixture(params=["zip", "legacy"])
def written(request, tmp_path):
    if request.param == "zip":
        return write_zip(tmp_path / "net.pt", two_tensors(), _0=WEIGHT.tobytes(), _1=STEPS.tobytes())
    return write_legacy(tmp_path / "net.pth", two_tensors(legacy=True), {"0": WEIGHT, "1": STEPS})


def test_tensors_come_by_name_with_shape_type_and_strides(written):
    found = read_torch(written)
    assert list(found) == ["weight", "inner.turned", "steps"]
    np.testing.assert_array_equal(found["weight"], WEIGHT)
    np.testing.assert_array_equal(found["inner.turned"], WEIGHT.T)
    np.testing.assert_array_equal(found["steps"], STEPS)
    assert found["weight"].dtype == np.float32
    assert all(array.flags.owndata and array.flags.c_contiguous for array in found.values())


def test_half_types_are_read(tmp_path):
    values = np.array([1.5, -2.0, 0.25], np.float32)
    upper = (values.view("<u4") >> 16).astype("<u2").tobytes()
    items = {
        "half": tensor(storage("HalfStorage", "0", 3), (3,), (1,)),
        "brain": tensor(storage("BFloat16Storage", "1", 3), (3,), (1,)),
    }
    path = write_zip(tmp_path / "half.pt", program(ordered(items)), _0=values.astype("<f2").tobytes(), _1=upper)
    found = read_torch(path)
    np.testing.assert_array_equal(found["half"], values)
    np.testing.assert_array_equal(found["brain"], values)
    assert found["brain"].dtype == np.float32


def test_a_file_of_real_weights_is_read(shared):
    found = read_torch(shared / "weights" / "xfeat.pt")
    assert found["block1.0.layer.0.weight"].shape == (4, 1, 3, 3)
    assert len(found) == 122
    # Variances are what a wrong offset or stride would not leave positive.
    assert all((array > 0).all() for name, array in found.items() if name.endswith("running_var"))


CALL = name("os", "system") + text("touch ran").join((b"(", b"tR"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (CALL, "names 'os.system', which is code"),
        (name("torch", "load") + b")R", "names 'torch.load'"),
        (b"\x8c\x02os\x8c\x06system\x93)R", "names 'os.system'"),
        (b"(" + text("touch ran") + b"ios\nsystem\n", "the opcode INST"),
        (name("collections", "OrderedDict") + text("x") + b"\x85R", "in an unknown way"),
        (name("collections", "OrderedDict") + b")\x81", "the opcode NEWOBJ"),
        (text("x") + b"}b", "sets the state"),
        (b"U\x01x", "the opcode SHORT_BINSTRING"),
        (b"h\x07", "damaged"),
        (b"R", "damaged"),
        (b"}(" + text("x") + b"u", "a dictionary"),
        (b"})" + number(1) + b"s", "neither text nor a number"),
        (text("other") + b"Q", "other than a storage"),
        (b"]q\x00(h\x00h\x00e", "too many others"),
    ],
)
def test_a_pickle_that_does_more_than_hold_tensors_is_one_clear_line(tmp_path, body, reason, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_zip(tmp_path / "net.pt", program(body))
    with pytest.raises(LmkError, match=r"net\.pt is not read: ") as raised:
        read_torch(path)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((7,), (1,), 0),
        ((2, 3), (3, 1), 1),
        ((1 << 30, 1 << 30), (0, 0), 0),
        ((2,), (-1,), 1),
        ((2,), (6,), 0),
        ((), (), 7),
    ],
)
def test_a_tensor_larger_than_its_storage_is_refused_before_anything_is_allocated(tmp_path, shape, strides, offset):
    body = ordered({"w": tensor(storage("FloatStorage", "0", 6), shape, strides, offset)})
    path = write_zip(tmp_path / "net.pt", program(body), _0=WEIGHT.tobytes())
    with pytest.raises(LmkError, match=r"beyond its storage|no proper shape|cannot be read"):
        read_torch(path)


@pytest.mark.parametrize("count", [5, 7, 1 << 30])
def test_a_storage_of_another_size_than_said_is_refused(tmp_path, count):
    body = program(ordered({"w": tensor(storage("FloatStorage", "0", count), (2,), (1,))}))
    with pytest.raises(LmkError, match="storage '0'"):
        read_torch(write_zip(tmp_path / "net.pt", body, _0=WEIGHT.tobytes()))
    legacy = program(ordered({"w": tensor(storage("FloatStorage", "0", count, legacy=True), (2,), (1,))}))
    with pytest.raises(LmkError, match="storage '0' is cut off"):
        read_torch(write_legacy(tmp_path / "net.pth", legacy, {"0": WEIGHT}))


def test_a_compressed_member_is_refused_as_it_could_unpack_to_any_size(tmp_path):
    path = write_zip(tmp_path / "net.pt", two_tensors(), zipfile.ZIP_DEFLATED, _0=WEIGHT.tobytes(), _1=STEPS.tobytes())
    with pytest.raises(LmkError, match="is compressed"):
        read_torch(path)


def test_many_views_of_one_storage_are_refused_before_they_are_copied(tmp_path):
    view = tensor(storage("FloatStorage", "0", 6), (6,), (1,))
    path = write_zip(tmp_path / "net.pt", program(b"](" + view + b"q\x05" + b"h\x05" * 4 + b"e"), _0=WEIGHT.tobytes())
    with pytest.raises(LmkError, match="more than 4 times as large"):
        read_torch(path)


def test_big_endian_numbers_are_refused(tmp_path):
    with pytest.raises(LmkError, match="big-endian"):
        read_torch(write_zip(tmp_path / "net.pt", two_tensors(), byteorder=b"big"))
    with pytest.raises(LmkError, match="big-endian"):
        read_torch(write_legacy(tmp_path / "net.pth", two_tensors(legacy=True), {}, little=False))


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04", pickle.dumps({"a": 1})])
def test_a_file_that_is_none_of_pytorch_is_one_clear_line(tmp_path, content):
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(LmkError, match=r"net\.pt"):
        read_torch(tmp_path / "net.pt")
    with pytest.raises(LmkError, match=r"absent\.pt cannot be read"):
        read_torch(tmp_path / "absent.pt")


def test_a_file_without_tensors_is_one_clear_line(tmp_path):
    with pytest.raises(LmkError, match="holds no tensors"):
        read_torch(write_zip(tmp_path / "net.pt", program(b"}" + text("epoch") + number(3) + b"s")))


@given(data=st.data())
def test_a_damaged_file_gives_arrays_or_one_clear_line(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    for path in (
        write_zip(folder / "whole.pt", two_tensors(), _0=WEIGHT.tobytes(), _1=STEPS.tobytes()),
        write_legacy(folder / "whole.pth", two_tensors(legacy=True), {"0": WEIGHT, "1": STEPS}),
    ):
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content)
        try:
            found = read_torch(path)
        except LmkError as error:
            assert "\n" not in str(error)
        else:
            assert sum(array.nbytes for array in found.values()) <= 2 * WEIGHT.nbytes + STEPS.nbytes + 64
