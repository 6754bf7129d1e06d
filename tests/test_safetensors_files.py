"""Safetensors files: what is read, and that a damaged file is one line."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.util.errors import LmkError
from lmk.util.safetensors_files import read_safetensors

ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def write(path, header, content=b""):
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(said)) + said + content)
    return path


def test_tensors_come_as_they_were_written(tmp_path):
    values, halves, counts = np.arange(6, dtype="<f4").reshape(2, 3), np.array([0.5, -2], "<f2"), np.array(7, "<i8")
    header = {
        "__metadata__": {"format": "pt"},
        "a": ENTRY,
        "b": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
        "c": {"dtype": "I64", "shape": [], "data_offsets": [28, 36]},
    }
    path = write(tmp_path / "m.safetensors", header, values.tobytes() + halves.tobytes() + counts.tobytes())
    found = read_safetensors(path)
    assert list(found) == ["a", "b", "c"] and len(found) == 3
    for name, expected in (("a", values), ("b", halves), ("c", counts)):
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == expected.dtype


def test_bfloat16_comes_as_float32(tmp_path):
    values = np.array([1.0, -2.5, 3e38], "<f4")  # of which the upper halves are kept
    halves = (values.view("<u4") >> 16).astype("<u2")
    header = {"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    found = read_safetensors(write(tmp_path / "m.safetensors", header, halves.tobytes()))["x"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=2**-7)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"{", "line 1 column 2"),
        ([1], "no table of tensors"),
        ({"x": ENTRY | {"dtype": "F8_E4M3"}}, "of the type 'F8_E4M3', not of F64"),
        ({"x": ENTRY | {"shape": [2, -3]}}, "entry of 'x' is damaged"),
        ({"x": ENTRY | {"shape": [True, 6]}}, "entry of 'x' is damaged"),
        ({"x": ENTRY | {"data_offsets": [0]}}, "entry of 'x' is damaged"),
        ({"x": 3}, "entry of 'x' is damaged"),
        ({"x": ENTRY | {"shape": [2, 4]}}, "'x' is cut off or has another size"),
        ({"x": ENTRY | {"data_offsets": [8, 32]}}, "'x' is cut off or has another size"),
        ({"x": ENTRY | {"shape": [2**62, 2**62], "data_offsets": [0, 2**126]}}, "'x' is cut off"),
    ],
)
def test_a_header_that_is_wrong_is_one_line(header, said, tmp_path):
    path = write(tmp_path / "m.safetensors", header, bytes(24))
    with pytest.raises(LmkError, match=rf"m\.safetensors cannot be read as a safetensors file.*{said}"):
        read_safetensors(path)


def test_a_file_that_is_absent_empty_or_cut_off_is_one_line(tmp_path):
    whole = write(tmp_path / "whole", {"x": ENTRY}, bytes(24)).read_bytes()
    for content in (None, b"", whole[:5], whole[:20], whole[:-1], struct.pack("<Q", 2**63)):
        path = tmp_path / "m.safetensors"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(LmkError, match=r"m\.safetensors cannot be read as a safetensors file"):
            read_safetensors(path)


@given(st.data())
def test_a_spoiled_file_is_read_or_is_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(write(folder / "spoiled.safetensors", {"x": ENTRY}, bytes(24)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "spoiled.safetensors").write_bytes(content)
    try:
        found = read_safetensors(folder / "spoiled.safetensors")
    except LmkError as error:
        assert str(error).isprintable()
        return
    assert all(values.nbytes <= 24 for values in found.values())
