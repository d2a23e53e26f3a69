"""Blocks become the floats that they stand for: by decoders written here for the simple types, by gguf's for all."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from nextword.files.gguf import read_gguf
from nextword.files.gguf.header import ELEMENT_TYPES
from nextword.files.quantization import BLOCKS, quantize
from nextword.files.tensors import RawTensor, count_bytes
from tests.files.gguf.building import F16, Q8_0, File, Tensor, byte_level_values, llama_tensors, llama_values, refusal

WIDTH = 256  # a whole block of every type
MODEL = File((*llama_values(width=WIDTH), *byte_level_values()), llama_tensors(259, WIDTH))
NUMBERS = {name: number for number, name in ELEMENT_TYPES.items()}


def random_blocks(dtype: str, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blocks of random bytes whose scales are ordinary numbers, [count, size]."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 256, (count, BLOCKS[dtype].size), np.uint8)
    for at in BLOCKS[dtype].halves:
        scales = generator.uniform(-1, 1, count).astype("<f2")
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    if dtype == "IQ1_M":  # the upper four bits of its scale lie in the last byte
        blocks[:, 55] &= 0x3F
    if dtype == "MXFP4":  # an exponent
        blocks[:, 0] = generator.integers(120, 130, count)
    if dtype == "NVFP4":  # four scales of eight bits
        blocks[:, :4] &= 0x3F
    return blocks


def _half(data: bytes) -> float:
    return float(struct.unpack("<e", data)[0])


def _nibbles(data: bytes) -> list[int]:
    """Sixteen low halves, then sixteen high ones."""
    return [byte & 15 for byte in data] + [byte >> 4 for byte in data]


def _fifth_bits(data: bytes) -> list[int]:
    (bits,) = struct.unpack("<I", data)
    return [(bits >> i & 1) << 4 for i in range(32)]


def q4_0(block: bytes) -> list[float]:
    return [_half(block[:2]) * (q - 8) for q in _nibbles(block[2:])]


def q4_1(block: bytes) -> list[float]:
    return [_half(block[:2]) * q + _half(block[2:4]) for q in _nibbles(block[4:])]


def q5_0(block: bytes) -> list[float]:
    quants = zip(_nibbles(block[6:]), _fifth_bits(block[2:6]), strict=True)
    return [_half(block[:2]) * ((low | high) - 16) for low, high in quants]


def q5_1(block: bytes) -> list[float]:
    quants = zip(_nibbles(block[8:]), _fifth_bits(block[4:8]), strict=True)
    return [_half(block[:2]) * (low | high) + _half(block[2:4]) for low, high in quants]


def q8_0(block: bytes) -> list[float]:
    return [_half(block[:2]) * q for q in struct.unpack("<32b", block[2:])]


DECODERS: dict[str, Callable[[bytes], list[float]]] = {
    "Q4_0": q4_0,
    "Q4_1": q4_1,
    "Q5_0": q5_0,
    "Q5_1": q5_1,
    "Q8_0": q8_0,
}


@pytest.mark.parametrize("dtype", DECODERS)
def test_simple_blocks_are_decoded_as_their_definition_says(dtype: str) -> None:
    blocks = random_blocks(dtype, 21)
    found = RawTensor("t", dtype, (3, 7 * 32), blocks.reshape(-1).data).values()
    expected = np.array([DECODERS[dtype](block.tobytes()) for block in blocks]).reshape(3, 7 * 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def _with_query(kind: int, data: bytes) -> bytes:
    return MODEL.but_tensor(Tensor("blk.0.attn_q.weight", (WIDTH, WIDTH), data, kind)).written()


@pytest.mark.parametrize("dtype", BLOCKS)
def test_every_type_is_read_from_a_file(dtype: str, tmp_path: Path) -> None:
    """Queries, so that their rows are moved as blocks: row 2c of a head is ours c, row 2c + 1 ours c + C/2."""
    blocks = random_blocks(dtype, WIDTH * WIDTH // BLOCKS[dtype].elements)
    path = tmp_path / "model.gguf"
    path.write_bytes(_with_query(NUMBERS[dtype], blocks.tobytes()))
    found = read_gguf(path).tensors["blocks.0.attn.q_proj.weight"]
    assert (found.dtype, found.shape) == (dtype, (WIDTH, WIDTH))
    rows = gguf.quants.dequantize(blocks.reshape(WIDTH, -1), gguf.GGMLQuantizationType[dtype])
    order = [head * 128 + 2 * c + half for head in range(2) for half in range(2) for c in range(64)]
    np.testing.assert_array_equal(found.values(), rows[order])
    assert float(np.abs(rows).max()) > 0


@pytest.mark.parametrize("dtype", BLOCKS)
def test_sizes_are_those_of_ggml(dtype: str) -> None:
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[dtype]]
    assert (BLOCKS[dtype].elements, BLOCKS[dtype].size) == (elements, size)
    assert gguf.GGMLQuantizationType[dtype] == NUMBERS[dtype]
    assert count_bytes(dtype, (3, 5, 2 * elements)) == 3 * 5 * 2 * size


def test_all_that_gguf_can_decode_is_read() -> None:
    known = {kind.name for kind in gguf.quants._type_traits}
    assert known <= set(ELEMENT_TYPES.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [dtype for dtype, block in BLOCKS.items() if block.halves])
def test_a_scale_that_is_no_number_is_refused(dtype: str, bad: float, tmp_path: Path) -> None:
    for at in BLOCKS[dtype].halves:
        blocks = random_blocks(dtype, WIDTH * WIDTH // BLOCKS[dtype].elements)
        blocks[-1, at : at + 2] = np.array([bad], "<f2").view(np.uint8)
        error = refusal(tmp_path / "model.gguf", _with_query(NUMBERS[dtype], blocks.tobytes()))
        assert "tensor blocks.0.attn.q_proj.weight holds NaN or infinite values" in error.message


def test_a_scale_spread_over_a_block_is_looked_at(tmp_path: Path) -> None:
    """IQ1_M keeps the bits of its scale in four places."""
    blocks = random_blocks("IQ1_M", WIDTH)
    blocks[3, [49, 51, 53, 55]] |= 0xF0
    error = refusal(tmp_path / "model.gguf", _with_query(NUMBERS["IQ1_M"], blocks.tobytes()))
    assert "holds NaN or infinite values" in error.message


@pytest.mark.parametrize(("kind", "code"), [(0, "<f4"), (F16, "<f2"), (28, "<f8")])
def test_plain_numbers_are_looked_at_too(kind: int, code: str, tmp_path: Path) -> None:
    values = np.zeros((WIDTH, WIDTH), code)
    values[-1, -1] = np.nan
    error = refusal(tmp_path / "model.gguf", _with_query(kind, values.tobytes()))
    assert "holds NaN or infinite values" in error.message


def test_bfloat16_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype("<f4")
    path = tmp_path / "model.gguf"
    path.write_bytes(_with_query(30, (values.view("<u4") >> 16).astype("<u2").tobytes()))
    found = read_gguf(path).tensors["blocks.0.attn.q_proj.weight"]
    rows = (values.view("<u4") >> 16 << 16).view("<f4")
    assert found.dtype == "BF16"
    np.testing.assert_array_equal(found.values()[1], rows[2])


def test_quantising_loses_at_most_half_a_step() -> None:
    values = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    stored = quantize("Q8_0", values)
    found = RawTensor("t", "Q8_0", (4, 64), stored.reshape(-1).data).values()
    steps = np.abs(values.reshape(4, 2, 32)).max(axis=2, keepdims=True) / 127
    assert (np.abs((found - values).reshape(4, 2, 32)) <= 0.5 * steps + np.abs(values).max() * 2**-11).all()
    assert NUMBERS["Q8_0"] == Q8_0
