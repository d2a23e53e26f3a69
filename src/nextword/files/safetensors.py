"""safetensors files <-> raw tensors: names, element types, shapes and bytes, without NumPy or torch types.

The `safetensors` library validates the header (sizes, offsets, overlaps, holes). Its NumPy reader knows no bfloat16,
so the bytes are taken as they lie.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray

from nextword.errors import ModelFileError

# Element types: bytes each, and the NumPy type that holds the bits (bfloat16 travels as its 16 bits).
STORAGE: dict[str, np.dtype[np.generic]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


@dataclass(frozen=True)
class RawTensor:
    """One tensor as a file holds it: little-endian, row-major."""

    name: str
    dtype: str
    """safetensors' name of the element type: F32, BF16, ..."""
    shape: tuple[int, ...]
    data: memoryview

    def bits(self) -> NDArray[np.generic]:
        """The elements as an array of their storage type (bfloat16 as unsigned 16-bit numbers)."""
        return np.frombuffer(self.data, dtype=STORAGE[self.dtype]).reshape(self.shape)

    def values(self) -> NDArray[np.float32]:
        """The elements as float32."""
        if self.dtype == "BF16":
            return (self.bits().astype(np.uint32) << 16).view(np.float32)
        return self.bits().astype(np.float32)

    @classmethod
    def from_bits(cls, name: str, dtype: str, bits: NDArray[np.generic]) -> RawTensor:
        """A tensor from an array of storage type; the array is made row-major."""
        contiguous = np.ascontiguousarray(bits)
        return cls(name, dtype, bits.shape, contiguous.reshape(-1).view(np.uint8).data)


def read_safetensors(path: Path) -> dict[str, RawTensor]:
    """Every tensor of a file.

    Raises:
        ModelFileError: The file is missing, truncated, or not safetensors; or holds an unsupported element type.
    """
    try:
        data = path.read_bytes()
        found = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None
    except (safetensors.SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged or no safetensors file: {error}") from None
    tensors = {}
    for name, entry in sorted(found, key=lambda item: item[0]):  # the library's order is random
        if entry["dtype"] not in STORAGE:
            raise ModelFileError(
                f"{path}: tensor {name!r} has element type {entry['dtype']}", hint=f"supported: {', '.join(STORAGE)}"
            )
        tensors[name] = RawTensor(name, entry["dtype"], tuple(entry["shape"]), memoryview(entry["data"]))
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, RawTensor], metadata: Mapping[str, str]) -> None:
    """Writes a file; the caller syncs and renames it.

    Raises:
        ModelFileError: It cannot be written; the disk is full.
    """
    # The library reads the bytes through their address; `buffers` keeps them alive until it is done.
    buffers = {name: np.frombuffer(tensor.data, np.uint8) for name, tensor in tensors.items()}
    entries = {
        name: safetensors.TensorSpec(
            dtype=_LIBRARY_DTYPES[tensor.dtype],
            shape=list(tensor.shape),
            data_ptr=buffers[name].ctypes.data,
            data_len=buffers[name].nbytes,
        )
        for name, tensor in tensors.items()
    }
    try:
        safetensors.serialize_file(entries, str(path), metadata=dict(metadata))
    except safetensors.SafetensorError as error:
        raise ModelFileError(f"cannot write {path}: {error}") from None


_LIBRARY_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


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
        with np.errstate(all="ignore"):  # what a sum of infinite values warns of is what is asked here
            total = float(np.sum(tensor.values(), dtype=np.float64))
        if not math.isfinite(total):
            raise ModelFileError(f"{source}: tensor {name} holds NaN or infinite values")


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file.

    Raises:
        ModelFileError: The file is missing, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} should hold a JSON object, found {type(value).__name__}")
    return value
