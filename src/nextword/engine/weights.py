"""Stored tensors -> what the native code reads: matrices as they lie, small vectors as float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nextword.backend_input import StoredTensor
from nextword.config import GPTConfig

FORMATS = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
)
"""Element types that are computed with as they are."""
FLOAT_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What Python calls those that are no blocks."""

Bytes = NDArray[np.uint8]


class DequantizableTensor(StoredTensor, Protocol):
    """A stored tensor that can also be read as numbers."""

    def values(self) -> NDArray[np.float32]: ...  # noqa: D102
    def rows(self, rows: Sequence[int]) -> DequantizableTensor: ...  # noqa: D102


def native_weights(
    config: GPTConfig, tensors: Mapping[str, DequantizableTensor]
) -> tuple[dict[str, tuple[str, Bytes]], dict[str, NDArray[np.float32]]]:
    """Matrices by name (format and bytes, most of them views of the tensors) and vectors by name."""
    matrices, vectors = {}, {}
    for name, shape in config.parameter_shapes().items():
        tensor = tensors[name]
        if len(shape) == 1:
            vectors[name] = np.ascontiguousarray(tensor.values(), np.float32)
        else:
            matrices[name] = _matrix(tensor)
    return matrices, vectors


def _matrix(tensor: DequantizableTensor) -> tuple[str, Bytes]:
    if tensor.dtype in FORMATS:
        return tensor.dtype, np.frombuffer(tensor.data, np.uint8)
    return "F32", tensor.values().reshape(-1).view(np.uint8)
