"""Malformed headers: each is refused in one line, before anything is made of what it claims."""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextword.files.gguf import read_gguf
from nextword.files.gguf.header import read_header
from tests.files.gguf.building import (
    ARRAY,
    BOOL,
    F32,
    FLOAT32,
    INT32,
    LLAMA,
    Q8_0,
    STRING,
    UINT8,
    UINT64,
    Case,
    File,
    Tensor,
    Value,
    f32,
    flag,
    refusal,
    string,
    tensor,
    text,
    texts,
    u32,
)

KEY = string("a.key")
FULL = LLAMA.written()
NORM = tensor("output_norm.weight", (8,))


def _value(kind: int, payload: bytes) -> bytes:
    """The minimal model with one more value, of any bytes."""
    return LLAMA.but(Value("a.key", kind, payload)).written()


def _tensor(changed: Tensor) -> bytes:
    return LLAMA.but_tensor(changed).written()


def _dims(*dims: int, kind: int = F32) -> bytes:
    return _tensor(replace(NORM, dims=dims, kind=kind))


def _head(after_counts: bytes, num_tensors: int = 0, num_values: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<Iqq", 3, num_tensors, num_values) + after_counts + bytes(64)


CASES = {
    "an empty file": Case(b"", "it is empty"),
    "a wrong magic": Case(replace(LLAMA, magic=b"GGML").written(), "should begin with b'GGUF', found b'GGML'"),
    "only the magic": Case(b"GGUF", "version needs 4 bytes at byte 4, the file has 0 more"),
    "version 0": Case(replace(LLAMA, version=0).written(), "version should be 2 or 3, found 0"),
    "version 1": Case(
        replace(LLAMA, version=1).written(),
        "version should be 2 or 3, found 1",
        "convert the model again with a newer llama.cpp",
    ),
    "a future version": Case(
        replace(LLAMA, version=4).written(), "version should be 2 or 3, found 4", "a newer nextword may read it"
    ),
    "big-endian": Case(replace(LLAMA, version=3 << 24).written(), "is big-endian", "take the little-endian file"),
    "-1 tensors": Case(replace(LLAMA, num_tensors=-1).written(), "number of tensors should be 0 to"),
    "2**62 tensors": Case(replace(LLAMA, num_tensors=1 << 62).written(), f"found {1 << 62}"),
    "-1 values": Case(replace(LLAMA, num_values=-1).written(), "number of metadata values should be 0 to"),
    "2**40 values": Case(replace(LLAMA, num_values=1 << 40).written(), f"found {1 << 40}"),
    "one value too many": Case(replace(LLAMA, num_values=len(LLAMA.values) + 1).written(), "name of tensor 1 needs"),
    "a key of size -1": Case(_head(struct.pack("<q", -1), num_values=1), "the size of key 1 is -1"),
    "a key longer than the file": Case(_head(struct.pack("<q", 1 << 50), num_values=1), f"key 1 needs {1 << 50} bytes"),
    "an empty key": Case(LLAMA.but(text("", "x")).written(), f"key {len(LLAMA.values) + 1} is empty"),
    "a key that is not UTF-8": Case(
        LLAMA.but(Value(b"\xff\xfe", UINT8, b"\0")).written(), "should be UTF-8, found a wrong byte at 0"
    ),
    "a string that is not UTF-8": Case(LLAMA.but(text("a.key", b"ab\xff")).written(), "'a.key' should be UTF-8"),
    "a key that is there twice": Case(
        replace(LLAMA, values=(*LLAMA.values, LLAMA.values[0])).written(),
        "the key 'general.architecture' is there twice",
    ),
    "value type 13": Case(_value(13, b"\0"), "'a.key' has the value type 13, known are 0 to 12"),
    "a bool of 7": Case(_value(BOOL, b"\7"), "'a.key' should be true or false (1 or 0), found 7"),
    "an array of unknown type": Case(_value(ARRAY, struct.pack("<Iq", 99, 0)), "has the element type 99"),
    "an array of arrays": Case(_value(ARRAY, struct.pack("<Iq", ARRAY, 1)), "'a.key' is an array of arrays"),
    "an array of -1": Case(_value(ARRAY, struct.pack("<Iq", INT32, -1)), "length of 'a.key' should be 0 to"),
    "an array longer than the file": Case(_value(ARRAY, struct.pack("<Iq", FLOAT32, 1 << 40)), f"found {1 << 40}"),
    "strings longer than the file": Case(_value(ARRAY, struct.pack("<Iq", STRING, 1 << 61)), f"found {1 << 61}"),
    "alignment 13": Case(LLAMA.but(u32("general.alignment", 13)).written(), "should be a power of two, found 13"),
    "alignment 0": Case(LLAMA.but(u32("general.alignment", 0)).written(), "should be a power of two, found 0"),
    "an alignment of another type": Case(
        LLAMA.but(Value("general.alignment", UINT64, struct.pack("<Q", 32))).written(),
        "general.alignment should be a 32-bit number (type 4), found type 10",
    ),
    "an alignment that is a text": Case(LLAMA.but(text("general.alignment", "32")).written(), "found type 8"),
    "an alignment beyond the file": Case(
        replace(LLAMA.but(u32("general.alignment", 1 << 31)), alignment=32).written(), "should lie at offset"
    ),
    "a tensor that is there twice": Case(
        replace(LLAMA, tensors=(*LLAMA.tensors, NORM)).written(), "the tensor 'output_norm.weight' is there twice"
    ),
    "no dimensions": Case(_dims(), "should have 1 to 4 dimensions, found 0"),
    "five dimensions": Case(_dims(8, 1, 1, 1, 1), "should have 1 to 4 dimensions, found 5"),
    "a million dimensions": Case(_dims(*[1] * 1_000_000), "should have 1 to 4 dimensions, found 1000000"),
    "an extent of zero": Case(_dims(0), "has the impossible shape (0,)"),
    "an extent of -1": Case(_dims(8, -1), "has the impossible shape (-1, 8)"),
    "a shape that overflows": Case(_dims(1 << 32, 1 << 32), "has the impossible shape"),
    "a size that overflows": Case(_dims(1 << 62), "should end at byte"),
    "an unknown element type": Case(_dims(8, kind=77), "has the element type 77, which is not supported", "Q4_K"),
    "a known element type that is no weight": Case(_dims(8, kind=26), "has the element type I32"),
    "a removed element type": Case(_dims(32, kind=4), "has the element type 4"),
    "rows that are no whole blocks": Case(_dims(8, kind=Q8_0), "should have rows of whole Q8_0 blocks of 32, found 8"),
    "an offset with a hole before it": Case(_tensor(replace(NORM, offset=1 << 20)), "should lie at offset"),
    "an offset that overlaps": Case(_tensor(replace(NORM, offset=0)), "'output_norm.weight' should lie at offset"),
    "an offset that is not aligned": Case(_tensor(replace(NORM, offset=8)), "found 8"),
    "an offset past the end": Case(_tensor(replace(NORM, offset=1 << 60)), f"found {1 << 60}"),
    "a tensor that ends past the end": Case(
        _dims(8, 1 << 20), "should end at byte", "the download is probably not complete"
    ),
    "data cut off": Case(FULL[:-1], "'output_norm.weight' should end at byte"),
    "a header cut off": Case(FULL[:3000], "needs"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    error = refusal(tmp_path / "model.gguf", case.content)
    assert case.says in error.message
    assert case.hint in error.hint


@pytest.mark.parametrize("name", CASES)
def test_refusing_it_takes_little_memory(name: str, tmp_path: Path) -> None:
    content = CASES[name].content
    refusal(tmp_path / "model.gguf", content[:100])  # imports what refusing needs
    tracemalloc.start()
    refusal(tmp_path / "model.gguf", content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300_000


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    """Of the header each byte, of the data some."""
    last = 8 * 4  # the last tensor ends with the file
    cuts = [*range(0, 2000, 7), *range(2000, len(FULL) - last, 611), *range(len(FULL) - last, len(FULL))]
    for cut in cuts:
        refusal(tmp_path / "model.gguf", FULL[:cut])


def test_the_unchanged_file_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(FULL)
    assert read_gguf(path).config.vocab_size == 259


@pytest.mark.parametrize("alignment", [8, 32, 64, 4096])
def test_other_alignments_are_read(alignment: int, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(replace(LLAMA.but(u32("general.alignment", alignment)), alignment=alignment).written())
    values = read_gguf(path).tensors["ln_final.weight"].values()
    assert values.tobytes() == LLAMA.tensors[-1].data


def test_version_2_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(replace(LLAMA, version=2).written())
    assert read_gguf(path).config.num_layers == 1


def test_every_kind_of_value_is_read() -> None:
    numbers = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
    values = [Value(f"k{kind}", kind, struct.pack(f"<{code}", 7)) for kind, code in numbers.items()]
    values += [f32("third", 1e-5), Value("double", 12, struct.pack("<d", 0.1)), flag("yes", True), text("t", "글 🙂")]
    values += [texts("list", ["a", "", "한국"]), Value("ints", ARRAY, struct.pack("<Iq3h", 3, 3, -1, 2, 3))]
    found = read_header("file", memoryview(File(tuple(values)).written())).values
    assert {found[f"k{kind}"] for kind in numbers} == {7}
    assert found["third"] == 1e-5  # not 9.999999747378752e-06
    assert (found["double"], found["yes"], found["t"]) == (0.1, True, "글 🙂")
    assert found["list"] == ["a", "", "한국"]
    assert isinstance(found["ints"], np.ndarray)
    assert found["ints"].tolist() == [-1, 2, 3]


def test_nothing_of_the_data_is_copied(tmp_path: Path) -> None:
    """The tensors are views of the mapped file: 64 MB of them cost no memory to speak of."""
    large = tensor("token_embd.weight", (259, 8))
    path = tmp_path / "model.gguf"
    rows = 1 << 20
    path.write_bytes(LLAMA.but_tensor(replace(large, dims=(8, rows), data=bytes(rows * 32))).written())
    header = read_header(str(path), memoryview(np.memmap(path, np.uint8, "r")))
    assert header.tensors["token_embd.weight"].nbytes == rows * 32
    tracemalloc.start()
    bundle = read_gguf(path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bundle.tensors["token_embedding.weight"].data.nbytes == rows * 32
    assert kept < 4_000_000
