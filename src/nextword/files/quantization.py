"""Quantised tensors: rows of blocks, each some whole numbers and the half-precision scales that make floats of them.

The layouts are ggml's, which GGUF files hold. Blocks travel as they lie; the `gguf` package makes floats of
them, and blocks of floats, but for K-quants: those are made here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.files.k_quants import K_QUANTS, quantize_k


@dataclass(frozen=True)
class Block:
    """How one element type packs a row."""

    elements: int
    """Elements of a block; a row is a whole number of blocks."""
    size: int
    """Bytes of a block."""
    halves: tuple[int, ...] = ()
    """Where in a block its half-precision numbers lie: whatever else it holds is a whole number, and finite.
    Empty: the scales are packed in some other way."""


BLOCKS: dict[str, Block] = {
    "Q4_0": Block(32, 18, (0,)),
    "Q4_1": Block(32, 20, (0, 2)),
    "Q5_0": Block(32, 22, (0,)),
    "Q5_1": Block(32, 24, (0, 2)),
    "Q8_0": Block(32, 34, (0,)),
    "Q2_K": Block(256, 84, (80, 82)),
    "Q3_K": Block(256, 110, (108,)),
    "Q4_K": Block(256, 144, (0, 2)),
    "Q5_K": Block(256, 176, (0, 2)),
    "Q6_K": Block(256, 210, (208,)),
    "IQ1_S": Block(256, 50, (0,)),
    "IQ1_M": Block(256, 56),
    "IQ2_XXS": Block(256, 66, (0,)),
    "IQ2_XS": Block(256, 74, (0,)),
    "IQ2_S": Block(256, 82, (0,)),
    "IQ3_XXS": Block(256, 98, (0,)),
    "IQ3_S": Block(256, 110, (0,)),
    "IQ4_NL": Block(32, 18, (0,)),
    "IQ4_XS": Block(256, 136, (0,)),
    "TQ1_0": Block(256, 54, (52,)),
    "TQ2_0": Block(256, 66, (64,)),
    "MXFP4": Block(32, 17),
    "NVFP4": Block(64, 36),
}


def block_rows(dtype: str, shape: tuple[int, ...], data: memoryview) -> NDArray[np.uint8]:
    """The bytes of the blocks, one row of the array a row of the tensor: rows can be moved without decoding them."""
    block = BLOCKS[dtype]
    return np.frombuffer(data, np.uint8).reshape(*shape[:-1], shape[-1] // block.elements * block.size)


def dequantize(dtype: str, shape: tuple[int, ...], data: memoryview) -> NDArray[np.float32]:
    """The elements as float32."""
    import gguf

    values = gguf.quants.dequantize(block_rows(dtype, shape, data), gguf.GGMLQuantizationType[dtype])
    return np.asarray(values, np.float32).reshape(shape)


def quantize(dtype: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blocks of float32 rows, as `block_rows` gives them; weights too large for half precision make infinite scales."""
    import gguf

    if dtype in K_QUANTS:
        return quantize_k(dtype, values)
    with np.errstate(over="ignore"):
        return np.asarray(gguf.quants.quantize(values, gguf.GGMLQuantizationType[dtype]), np.uint8)


def is_finite(dtype: str, shape: tuple[int, ...], data: memoryview) -> bool:
    """Whether every element is a finite number; looks only at the scales where it can."""
    block = BLOCKS[dtype]
    if not block.halves:
        with np.errstate(all="ignore"):  # what a scale out of range warns of is what is asked here
            return bool(np.isfinite(dequantize(dtype, shape, data)).all())
    blocks = np.frombuffer(data, np.uint8).reshape(-1, block.size)
    return all(bool(np.isfinite(np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2")).all()) for at in block.halves)
