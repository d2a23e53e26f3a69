"""safetensors files: damaged and hostile ones are refused in one line, whole ones come back bit for bit."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.errors import ModelFileError
from nextword.files import RawTensor, write_bundle
from nextword.files.safetensors import read_safetensors, write_safetensors
from nextword.files.tensors import check_tensors
from tests.files.making import minimal_bundle, open_safetensors, put_safetensors, refusal


def _entry(start: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1] if shape is None else shape, "data_offsets": [start, end]}


def _refused(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_safetensors(path)
    message = caught.value.message
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


# -- whole files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_every_element_type_comes_back_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    size = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}[dtype]
    data = bytes(range(256))[: 24 * size] or b""
    written = {
        "matrix": RawTensor("matrix", dtype, (4, 6), memoryview(data)),
        "scalar": RawTensor("scalar", dtype, (), memoryview(data[:size])),
        "nothing": RawTensor("nothing", dtype, (0, 5), memoryview(b"")),
        "한글": RawTensor("한글", dtype, (2,), memoryview(data[: 2 * size])),
    }
    write_safetensors(tmp_path / "x.safetensors", written, {"format": "pt"})
    found = read_safetensors(tmp_path / "x.safetensors")
    assert found.keys() == written.keys()
    for name, tensor in written.items():
        assert (found[name].name, found[name].dtype, found[name].shape) == (name, dtype, tensor.shape)
        assert bytes(found[name].data) == bytes(tensor.data)


def test_the_library_reads_what_is_written_here(tmp_path: Path) -> None:
    bits = np.arange(12, dtype="<f4").reshape(3, 4)
    tensors = {"a": RawTensor.from_bits("a", "F32", bits), "t": RawTensor.from_bits("t", "F32", bits.T)}
    write_safetensors(tmp_path / "x.safetensors", tensors, {})
    theirs = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert np.array_equal(theirs["a"], bits)
    assert np.array_equal(theirs["t"], bits.T)


def test_what_the_library_writes_is_read_here(tmp_path: Path) -> None:
    bits = np.linspace(-1, 1, 12, dtype=np.float16).reshape(3, 4)
    safetensors.numpy.save_file({"a": bits}, tmp_path / "x.safetensors")
    assert np.array_equal(read_safetensors(tmp_path / "x.safetensors")["a"].bits(), bits)


@given(number=st.floats(width=32, allow_nan=False))
@settings(deadline=None, max_examples=100)
def test_bfloat16_is_the_upper_half_of_float32(number: float) -> None:
    upper = np.float32(number).view(np.uint32) >> 16
    tensor = RawTensor.from_bits("x", "BF16", np.array([upper], "<u2"))
    assert tensor.values()[0].view(np.uint32) == upper << 16


# -- damaged files -------------------------------------------------------------------------------------------------

DAMAGED: dict[str, tuple[dict[str, Any] | bytes, bytes]] = {
    "an empty header": (b"", b""),
    "a header that is not UTF-8": (b'{"\xff\xfe": 1}', b""),
    "a header that is no JSON": (b"{nope}", b""),
    "a header that is a list": (b"[]", b""),
    "a header that is a number": (b"7", b""),
    "a header nested too deep": (b'{"a":' + b"[" * 100_000, b""),
    "metadata that is no object": ({"__metadata__": 5, "a": _entry(0, 4)}, bytes(4)),
    "metadata that is no text": ({"__metadata__": {"a": 5}, "a": _entry(0, 4)}, bytes(4)),
    "an entry that is no object": ({"a": 5}, b""),
    "an entry without offsets": ({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "three offsets": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}}, bytes(4)),
    "tensors that overlap": ({"a": _entry(0, 4), "b": _entry(2, 6)}, bytes(6)),
    "two tensors in one place": ({"a": _entry(0, 4), "b": _entry(0, 4)}, bytes(4)),
    "a hole between tensors": ({"a": _entry(0, 4), "b": _entry(8, 12)}, bytes(12)),
    "a hole at the start": ({"a": _entry(4, 8)}, bytes(8)),
    "bytes behind the last tensor": ({"a": _entry(0, 4)}, bytes(5)),
    "data that ends too early": ({"a": _entry(0, 4)}, bytes(3)),
    "offsets past the end": ({"a": _entry(0, 4_000_000, [1_000_000])}, bytes(4)),
    "offsets turned round": ({"a": _entry(4, 0)}, bytes(4)),
    "negative offsets": ({"a": _entry(-4, 0)}, bytes(4)),
    "offsets beyond 64 bits": ({"a": _entry(0, 2**65)}, bytes(4)),
    "more bytes than the shape asks": ({"a": _entry(0, 8)}, bytes(8)),
    "fewer bytes than the shape asks": ({"a": _entry(0, 4, [2])}, bytes(4)),
    "bytes for another element type": ({"a": _entry(0, 4, [1], "F16")}, bytes(4)),
    "a negative shape": ({"a": _entry(0, 4, [-1])}, bytes(4)),
    "a shape that overflows": ({"a": _entry(0, 4, [2**63, 4])}, bytes(4)),
    "a shape that overflows to nothing": ({"a": _entry(0, 0, [2**32, 2**32])}, b""),
    "a shape of text": ({"a": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}}, bytes(4)),
    "an element type that nobody knows": ({"a": _entry(0, 4, [1], "F33")}, bytes(4)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    put_safetensors(tmp_path / "x.safetensors", *DAMAGED[name])
    assert "is damaged or no safetensors file" in _refused(tmp_path / "x.safetensors")


@pytest.mark.parametrize("size", [0, 1, 3, 100_000_001, 2**40, 2**63, 2**64 - 1])
def test_a_header_size_that_lies_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", size) + b'{"a":{}}')
    assert "damaged" in _refused(tmp_path / "x.safetensors")


@pytest.mark.parametrize("content", [b"", b"1234567", b"PK\x03\x04" * 10, b"GGUF" + bytes(60), b"\x80\x02}q\x00." * 9])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert "damaged" in _refused(tmp_path / "x.safetensors")


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    assert "No such file" in _refused(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").mkdir()
    assert "cannot be read" in _refused(tmp_path / "y.safetensors")


@pytest.mark.parametrize("dtype", ["I64", "I32", "U8", "BOOL", "F8_E4M3"])
def test_an_unsupported_element_type_is_named_with_its_tensor(tmp_path: Path, dtype: str) -> None:
    size = {"I64": 8, "I32": 4}.get(dtype, 1)
    put_safetensors(tmp_path / "x.safetensors", {"my.tensor": _entry(0, size, [1], dtype)}, bytes(size))
    assert f"tensor 'my.tensor' has element type {dtype}" in _refused(tmp_path / "x.safetensors")


def test_a_tensors_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    put_safetensors(tmp_path / "x.safetensors", {"a\n\x1b[31mred": _entry(0, 8, [1], "I64")}, bytes(8))
    assert r"'a\n\x1b[31mred'" in _refused(tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match=r"tensor 'a\\nb' is not part"):
        check_tensors("x", {"a\nb": RawTensor("a\nb", "F32", (0,), memoryview(b""))}, {})


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    file = tmp_path / "model/model.safetensors"
    whole = file.read_bytes()
    header, _ = open_safetensors(file)
    (start,) = struct.unpack("<Q", whole[:8])
    ends = {8 + start + end for e in header.values() if "data_offsets" in e for end in e["data_offsets"]}
    sizes = {0, 1, 7, 8, 9, 8 + start // 2, 7 + start, 8 + start, 9 + start, len(whole) - 1, *(end - 1 for end in ends)}
    for size in sorted(sizes | ends - {len(whole)}):
        file.write_bytes(whole[:size])
        assert "model.safetensors is damaged" in refusal(tmp_path / "model")
    file.write_bytes(whole + b"\x00")
    assert "model.safetensors is damaged" in refusal(tmp_path / "model")


def test_the_header_of_a_bundle_can_be_read_by_anyone(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", minimal_bundle())
    header, data = open_safetensors(tmp_path / "model/model.safetensors")
    assert header["__metadata__"] == {"format": "pt"}
    assert header["model.norm.weight"]["shape"] == [8]
    assert max(e["data_offsets"][1] for k, e in header.items() if k != "__metadata__") == len(data)
    assert json.dumps(header)


# -- writing -------------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot write .*nowhere/x\.safetensors"):
        write_safetensors(tmp_path / "nowhere/x.safetensors", {}, {})
