"""Weights as files have them, read natively: the floats that the reference of ggml makes of them, bit by bit."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from nextword.engine._native import dequantize, is_finite
from nextword.files.quantization import BLOCKS
from tests.files.gguf.test_quantization import random_blocks

QUANTIZED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


@pytest.mark.parametrize("kind", QUANTIZED)
def test_blocks_become_what_gguf_makes_of_them_to_the_bit(kind: str) -> None:
    rows = random_blocks(kind, 5 * 40).reshape(5, -1)
    expected = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[kind])
    found = dequantize(kind, 5, 40 * BLOCKS[kind].elements, rows.reshape(-1))
    assert np.ptp(expected) > 0.5
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_half_precision_is_read_exactly_every_number_of_it() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    found = dequantize("F16", 1, 1 << 16, bits.view(np.uint8))[0]
    np.testing.assert_array_equal(found, bits.view(np.float16).astype(np.float32))
    brain = dequantize("BF16", 1, 1 << 16, bits.view(np.uint8))[0]
    np.testing.assert_array_equal(brain.view(np.uint32), bits.astype(np.uint32) << 16)
    assert is_finite("F16", bits[:0x7C00].view(np.uint8))
    assert not is_finite("F16", bits[:0x7C01].view(np.uint8))
    assert not is_finite("BF16", bits[:0x7F81].view(np.uint8))


def test_rows_that_are_no_whole_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="wrong number of bytes"):
        dequantize("Q4_K", 2, 32, np.zeros(36, np.uint8))
    with pytest.raises(ValueError, match="wrong number of bytes"):
        dequantize("F32", 1, 3, np.zeros(11, np.uint8))
    assert dequantize("F32", 1, 3, np.ones(3, np.float32).view(np.uint8)).tolist() == [[1, 1, 1]]
