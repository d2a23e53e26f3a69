"""Weights in the element types that a backend computes with, or that someone asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from nextword.files.quantization import BLOCKS, quantize
from nextword.files.tensors import RawTensor
from nextword.settings import Precision

PRECISIONS: dict[Precision, str] = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "q8_0": "Q8_0",
    "q4_1": "Q4_1",
}
"""What weights can be rounded to, and how tensors call it."""
_BLOCK = 32


def cast_matrices(tensors: Mapping[str, RawTensor], precision: Precision) -> dict[str, RawTensor]:
    """Every matrix rounded to an element type; vectors, which take no room, become float32; `auto` changes nothing.

    Matrices whose rows are no whole blocks of 32 stay as they are where blocks are asked for.

    Raises:
        ModelFileError: A weight is too large for float16.
    """
    if precision == "auto":
        return dict(tensors)
    kind = PRECISIONS[precision]
    return {name: _as(tensor, kind if len(tensor.shape) > 1 else "F32") for name, tensor in tensors.items()}


def computable(tensors: Mapping[str, RawTensor], kinds: Collection[str]) -> dict[str, RawTensor]:
    """The same weights where an element type is one of `kinds`; other blocks become Q8_0, other floats float32."""
    return {
        name: tensor if tensor.dtype in kinds else _as(tensor, "Q8_0" if tensor.is_quantized else "F32")
        for name, tensor in tensors.items()
    }


def requantization_note(tensors: Mapping[str, RawTensor], kinds: Collection[str]) -> str:
    """What `computable` does to blocks of other kinds than these, in words; empty if it leaves all as they are."""
    others = sorted({tensor.dtype for tensor in tensors.values() if tensor.is_quantized and tensor.dtype not in kinds})
    return f"blocks of {', '.join(others)} are rounded again, to Q8_0" if others else ""


def _as(tensor: RawTensor, kind: str) -> RawTensor:
    if kind not in BLOCKS or tensor.dtype == kind:
        return tensor.astype(kind)
    if tensor.shape[-1] % _BLOCK:
        return tensor
    blocks = np.ascontiguousarray(quantize(kind, tensor.values()))
    return RawTensor(tensor.name, kind, tensor.shape, blocks.reshape(-1).data)
