"""Raw tensors: names, element types, shapes and bytes as a file holds them, without NumPy or torch types.

NumPy has no bfloat16 and no quantised blocks, so the bytes travel as they lie, and `values()` makes floats of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.engine import is_built
from nextword.engine.weights import FORMATS
from nextword.errors import ModelFileError
from nextword.files.quantization import BLOCKS, dequantize, is_finite

# Element types: bytes each, and the NumPy type that holds the bits (bfloat16 travels as its 16 bits).
STORAGE: dict[str, np.dtype[np.generic]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}

ELEMENT_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What Python calls them."""


def count_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor; rows of a quantised one are whole numbers of blocks."""
    elements, size = (1, STORAGE[dtype].itemsize) if dtype in STORAGE else (BLOCKS[dtype].elements, BLOCKS[dtype].size)
    return math.prod(shape) // elements * size


@dataclass(frozen=True)
class RawTensor:
    """One tensor as a file holds it: little-endian, row-major."""

    name: str
    dtype: str
    """safetensors' name of the element type (F32, BF16, ...), or ggml's of a quantised one (Q8_0, Q4_K, ...)."""
    shape: tuple[int, ...]
    data: memoryview

    def bits(self) -> NDArray[np.generic]:
        """The elements as an array of their storage type (bfloat16 as unsigned 16-bit numbers)."""
        return np.frombuffer(self.data, dtype=STORAGE[self.dtype]).reshape(self.shape)

    @property
    def is_quantized(self) -> bool:
        """Whether the bytes are blocks: they have no `bits()`, only `values()`."""
        return self.dtype in BLOCKS

    def values(self) -> NDArray[np.float32]:
        """The elements as float32."""
        if self.is_quantized:
            return dequantize(self.dtype, self.shape, self.data)
        if self.dtype == "BF16":
            return (self.bits().astype(np.uint32) << 16).view(np.float32)
        return self.bits().astype(np.float32)

    def rows(self, rows: Sequence[int]) -> RawTensor:
        """Some rows of a matrix, in this order."""
        size = len(self.data) // self.shape[0]
        data = b"".join(self.data[row * size : (row + 1) * size] for row in rows)
        return RawTensor(self.name, self.dtype, (len(rows), *self.shape[1:]), memoryview(data))

    def astype(self, dtype: str) -> RawTensor:
        """The same values, rounded to another element type (F64, F32, F16 or BF16); itself if it has it.

        Raises:
            ModelFileError: A value is too large for half precision.
        """
        if self.dtype == dtype:
            return self
        values = self.bits() if self.dtype == "F64" else self.values()
        if dtype == "BF16":  # the upper half of a float32, rounded to the nearest, ties to even
            bits = values.astype(np.float32).view(np.uint32)
            return RawTensor.from_bits(self.name, dtype, ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16))
        with np.errstate(over="ignore"):
            rounded = values.astype(STORAGE[dtype])
        if not np.isfinite(rounded).all():
            raise ModelFileError(
                f"tensor {self.name} has values too large for {ELEMENT_NAMES[dtype]}", hint="choose bfloat16 or float32"
            )
        return RawTensor.from_bits(self.name, dtype, rounded)

    @classmethod
    def from_bits(cls, name: str, dtype: str, bits: NDArray[np.generic]) -> RawTensor:
        """A tensor from an array of storage type; the array is made row-major."""
        contiguous = np.ascontiguousarray(bits)
        return cls(name, dtype, bits.shape, contiguous.reshape(-1).view(np.uint8).data)


class DequantizedTensors(Mapping[str, RawTensor]):
    """The same weights without blocks, which are unpacked to float32, exactly, whenever they are asked for.

    Args:
        tensors: The weights.
        keep: Kinds of blocks that stay.
    """

    def __init__(self, tensors: Mapping[str, RawTensor], keep: Collection[str] = ()) -> None:
        self._tensors, self._keep = tensors, keep

    def __getitem__(self, name: str) -> RawTensor:
        tensor = self._tensors[name]
        return tensor.astype("F32") if tensor.is_quantized and tensor.dtype not in self._keep else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def check_tensors(source: str, tensors: Mapping[str, RawTensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Every weight of the config is there, nothing else is, shapes fit, no value is NaN or infinite.

    Raises:
        ModelFileError: Names the tensor, what was expected and what was found.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise ModelFileError(f"{source}: tensor {name} of shape {shape} is missing")
        if tensors[name].shape != shape:
            raise ModelFileError(f"{source}: tensor {name} should have shape {shape}, found {tensors[name].shape}")
    if extra := sorted(set(tensors) - set(shapes)):
        raise ModelFileError(f"{source}: tensor {extra[0]!r} is not part of this architecture")
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise ModelFileError(f"{source}: tensor {name} holds NaN or infinite values")


def _is_finite(tensor: RawTensor) -> bool:
    if is_built() and tensor.dtype in FORMATS:
        from nextword.engine.scan import is_finite as is_finite_natively  # many times as fast

        return is_finite_natively(tensor.dtype, np.frombuffer(tensor.data, np.uint8))
    if tensor.is_quantized:
        return is_finite(tensor.dtype, tensor.shape, tensor.data)
    with np.errstate(all="ignore"):  # what a sum of infinite values warns of is what is asked here
        return math.isfinite(float(np.sum(tensor.values(), dtype=np.float64)))
