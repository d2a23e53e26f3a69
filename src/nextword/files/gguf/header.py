"""The header of a GGUF file: metadata, and where each tensor lies.

Layout (little-endian): magic, version, number of tensors, number of values; the values (key, type, value); the tensors
(name, extents, element type, offset); padding to the alignment; the data, each tensor padded to the alignment.

Nothing that the file says of itself is believed before it is compared with the bytes that are there: time and memory
are bounded by the size of the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ModelFileError
from nextword.files.quantization import BLOCKS
from nextword.files.tensors import count_bytes
from nextword.text_file import FETCH_AGAIN

Value = bool | int | float | str | list[str] | NDArray[np.generic]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
MAX_DIMS = 4

# ggml's numbers of the element types.
_PLAIN = {0: "F32", 1: "F16", 28: "F64", 30: "BF16"}
_LEGACY = {2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0"}
_K = {10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K"}
_IQ = {16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS"}
_RARE = {29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4"}
ELEMENT_TYPES = {**_PLAIN, **_LEGACY, **_K, **_IQ, **_RARE}
# Others that ggml knows: named in the refusal.
_OTHER_TYPES = {9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 41: "Q1_0"}

_CODES = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
_NUMBERS: dict[int, np.dtype[Any]] = {kind: np.dtype(code) for kind, code in _CODES.items()}
_STRING, _ARRAY, _UINT32 = 8, 9, 4
_MIN_VALUE_BYTES = 8 + 1 + 4 + 1  # key size, key, type, value
_MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # name size, name, number of dimensions, one of them, type, offset


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies, and of what kind it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Row-major: the reverse of GGUF's order."""
    start: int
    """First byte, counted from the start of the file."""
    nbytes: int


@dataclass(frozen=True)
class Header:
    """What stands before the data."""

    values: Mapping[str, Value]
    tensors: Mapping[str, TensorInfo]


def read_header(source: str, data: memoryview) -> Header:
    """The header of a whole file.

    Args:
        source: What errors call the file.
        data: Every byte of it.

    Raises:
        ModelFileError: Damaged, hostile or unsupported; names the field, what was expected and what was found.
    """
    cursor = _Cursor(source, data)
    if (magic := bytes(data[:4])) != MAGIC:
        raise cursor.error(f"is no GGUF file: it should begin with {MAGIC!r}, found {magic!r}", FETCH_AGAIN)
    cursor.at = 4
    _check_version(cursor)
    num_tensors = cursor.count("number of tensors", _MIN_TENSOR_BYTES)
    num_values = cursor.count("number of metadata values", _MIN_VALUE_BYTES)
    values, alignment = _read_values(cursor, num_values)
    return Header(values, _read_tensors(cursor, num_tensors, alignment))


def _check_version(cursor: _Cursor) -> None:
    version = cursor.unpack("<I", "version")
    if version in VERSIONS:
        return
    if version and version & 0xFFFF == 0:
        raise cursor.error("is big-endian", hint="take the little-endian file of the same model")
    hint = "convert the model again with a newer llama.cpp" if version < VERSIONS[0] else "a newer nextword may read it"
    raise cursor.error(f"version should be 2 or 3, found {version}", hint=hint)


def _read_values(cursor: _Cursor, count: int) -> tuple[dict[str, Value], int]:
    values: dict[str, Value] = {}
    alignment = ALIGNMENT
    for i in range(count):
        key = cursor.string(f"key {i + 1}")
        if not key:
            raise cursor.error(f"key {i + 1} is empty")
        if key in values:
            raise cursor.error(f"the key {quoted(key)} is there twice")
        kind = cursor.unpack("<I", f"type of {quoted(key)}")
        values[key] = _read_value(cursor, key, kind)
        if key == "general.alignment":
            alignment = _checked_alignment(cursor, kind, values[key])
    return values, alignment


def _checked_alignment(cursor: _Cursor, kind: int, value: Value) -> int:
    if kind != _UINT32 or not isinstance(value, int):
        raise cursor.error(f"general.alignment should be a 32-bit number (type {_UINT32}), found type {kind}")
    if value < 1 or value & (value - 1):
        raise cursor.error(f"general.alignment should be a power of two, found {value}")
    return value


def _read_value(cursor: _Cursor, key: str, kind: int) -> Value:
    if kind == _STRING:
        return cursor.string(quoted(key))
    if kind == _ARRAY:
        return _read_array(cursor, key)
    if kind not in _NUMBERS:
        raise cursor.error(f"{quoted(key)} has the value type {kind}, known are 0 to 12")
    [number] = cursor.numbers(quoted(key), kind, 1)
    if kind == 7:
        return bool(number)
    # A 32-bit fraction stands for the shortest decimal that rounds to it: 1e-05, not 9.999999747378752e-06.
    return float(str(number)) if kind == 6 else number.item()


def _read_array(cursor: _Cursor, key: str) -> Value:
    kind = cursor.unpack("<I", f"element type of {quoted(key)}")
    if kind == _ARRAY:
        raise cursor.error(f"{quoted(key)} is an array of arrays, which is not supported")
    if kind == _STRING:
        return cursor.strings(quoted(key), cursor.count(f"length of {quoted(key)}", 8))
    if kind not in _NUMBERS:
        raise cursor.error(f"{quoted(key)} has the element type {kind}, known are 0 to 12")
    return cursor.numbers(quoted(key), kind, cursor.count(f"length of {quoted(key)}", _NUMBERS[kind].itemsize))


def _read_tensors(cursor: _Cursor, count: int, alignment: int) -> dict[str, TensorInfo]:
    found: dict[str, tuple[str, tuple[int, ...], int]] = {}
    offset = 0
    for i in range(count):
        name = cursor.string(f"name of tensor {i + 1}")
        if name in found:
            raise cursor.error(f"the tensor {quoted(name)} is there twice")
        num_dimensions = cursor.unpack("<I", f"number of dimensions of {quoted(name)}")
        if not 1 <= num_dimensions <= MAX_DIMS:
            raise cursor.error(f"tensor {quoted(name)} should have 1 to {MAX_DIMS} dimensions, found {num_dimensions}")
        extents = [cursor.unpack("<q", f"shape of {quoted(name)}") for _ in range(num_dimensions)]
        shape = tuple(reversed(extents))
        dtype = _checked_dtype(cursor, name, shape)
        if (stated := cursor.unpack("<Q", f"offset of {quoted(name)}")) != offset:
            raise cursor.error(f"tensor {quoted(name)} should lie at offset {offset}, found {stated}")
        found[name] = (dtype, shape, offset)
        offset += _padded(count_bytes(dtype, shape), alignment)
    start = _padded(cursor.at, alignment)
    tensors = {
        name: TensorInfo(name, dtype, shape, start + offset, count_bytes(dtype, shape))
        for name, (dtype, shape, offset) in found.items()
    }
    for info in tensors.values():
        if info.start + info.nbytes > len(cursor.data):
            raise cursor.error(
                f"tensor {quoted(info.name)} should end at byte {info.start + info.nbytes}, the file ends at "
                f"{len(cursor.data)}",
                hint=FETCH_AGAIN,
            )
    return tensors


def _checked_dtype(cursor: _Cursor, name: str, shape: tuple[int, ...]) -> str:
    kind = cursor.unpack("<I", f"element type of {quoted(name)}")
    if min(shape) < 1 or math.prod(shape) >= 1 << 63:
        raise cursor.error(f"tensor {quoted(name)} has the impossible shape {shape}")
    if kind not in ELEMENT_TYPES:
        raise cursor.error(
            f"tensor {quoted(name)} has the element type {_OTHER_TYPES.get(kind, kind)}, which is not supported",
            hint=f"supported: {', '.join(ELEMENT_TYPES.values())}",
        )
    dtype = ELEMENT_TYPES[kind]
    if dtype in BLOCKS and shape[-1] % BLOCKS[dtype].elements:
        raise cursor.error(
            f"tensor {quoted(name)} should have rows of whole {dtype} blocks of {BLOCKS[dtype].elements}, found "
            f"{shape[-1]}"
        )
    return dtype


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def quoted(name: str) -> str:
    """A name from the file as errors show it: on one line, and not longer than that."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


class _Cursor:
    """A place in the file, and reading from it without running over the end."""

    def __init__(self, source: str, data: memoryview) -> None:
        self.source = source
        self.data = data
        self.at = 0

    def error(self, message: str, hint: str = "") -> ModelFileError:
        glue = " " if message.startswith("is ") else ": "
        return ModelFileError(f"{self.source}{glue}{message}", hint=hint)

    def take(self, size: int, what: str) -> memoryview:
        left = len(self.data) - self.at
        if size > left:
            raise self.error(f"{what} needs {size} bytes at byte {self.at}, the file has {left} more", FETCH_AGAIN)
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, layout: str, what: str) -> int:
        [number] = struct.unpack(layout, self.take(struct.calcsize(layout), what))
        return int(number)

    def count(self, what: str, smallest: int) -> int:
        """A number of things of at least `smallest` bytes each, which must all be there."""
        count = self.unpack("<q", what)
        left = len(self.data) - self.at
        if not 0 <= count <= left // smallest:
            raise self.error(
                f"the {what} should be 0 to {left // smallest} in what is left of the file, found {count}", FETCH_AGAIN
            )
        return count

    def string(self, what: str) -> str:
        size = self.unpack("<q", f"size of {what}")
        if size < 0:
            raise self.error(f"the size of {what} is {size}")
        try:
            return str(self.take(size, what), "utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"{what} should be UTF-8, found a wrong byte at {error.start}") from None

    def strings(self, what: str, count: int) -> list[str]:
        """As `string`, for the hundreds of thousands of a vocabulary."""
        data, at, end = self.data, self.at, len(self.data)
        size_at = struct.Struct("<q").unpack_from
        found = []
        try:
            for _ in range(count):
                [size] = size_at(data, at)
                if not 0 <= size <= end - at - 8:
                    raise ValueError
                found.append(str(data[at + 8 : at + 8 + size], "utf-8"))
                at += 8 + size
        except (struct.error, ValueError):
            self.at = at
            self.string(what)  # says what is wrong there
        self.at = at
        return found

    def numbers(self, what: str, kind: int, count: int) -> NDArray[Any]:
        layout = _NUMBERS[kind]
        data = self.take(count * layout.itemsize, what)
        if kind == 7 and max(data, default=0) > 1:
            raise self.error(f"{what} should be true or false (1 or 0), found {max(data)}")
        return np.frombuffer(data, layout)
