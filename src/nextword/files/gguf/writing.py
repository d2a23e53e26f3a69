"""Bundle -> a GGUF file, written tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.errors import ConfigError
from nextword.files.atomic import replace_file
from nextword.files.bundle import Bundle, check_vocabulary
from nextword.files.gguf.architecture import architecture_of, config_metadata, name_pairs
from nextword.files.gguf.metadata import SAMPLING
from nextword.files.gguf.rope import FACTORS, llama3_factors
from nextword.files.gguf.vocabulary import tokenizer_metadata
from nextword.files.quantization import BLOCKS, is_finite, quantize
from nextword.files.tensors import ELEMENT_NAMES, check_tensors, count_bytes

if TYPE_CHECKING:
    from gguf import GGUFWriter

DTYPES = {"f32": "F32", "f16": "F16", "q8_0": "Q8_0"}
_FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7}  # llama.cpp's numbers for "mostly this"


def write_gguf(path: Path, bundle: Bundle, dtype: str) -> None:
    """Writes a GGUF file beside `path` and puts it in place when it is whole.

    Args:
        path: The file.
        bundle: The model; its config must be one of llama.cpp's architectures.
        dtype: `f32`, `f16` or `q8_0`. Norms, biases and learned positions stay f32; where rows do not divide into
            Q8_0's blocks of 32, f16 stands in.

    Raises:
        ConfigError: llama.cpp cannot express the model (names the field), half precision cannot hold a weight, or
            `dtype` is unknown.
        ModelFileError: The file cannot be written, or the bundle's parts do not fit.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}, GGUF files are written as {', '.join(DTYPES)}")
    config = bundle.config
    check_vocabulary(path, bundle.tokenizer, config)
    values = _metadata(path, bundle, DTYPES[dtype])
    check_tensors(str(path), bundle.tensors, config.parameter_shapes())
    plan = _plan(config, DTYPES[dtype])
    import gguf

    with replace_file(path) as fresh:
        writer = gguf.GGUFWriter(fresh, values.pop("general.architecture"))
        try:
            for key, value in values.items():
                _add(writer, key, value)
            for name, shape, kind in plan:
                size, element = count_bytes(kind, shape), gguf.GGMLQuantizationType[kind]
                writer.add_tensor_info(name, shape, np.dtype(np.float32), size, element)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for (name, _, kind), tensor in zip(plan, _tensors(bundle), strict=True):
                writer.write_tensor_data(_stored(name, tensor, kind))
        finally:
            writer.close()


def _metadata(path: Path, bundle: Bundle, kind: str) -> dict[str, Any]:
    values = config_metadata(bundle.config) | tokenizer_metadata(bundle.tokenizer, bundle.config.vocab_size)
    name = bundle.provenance.get("name")
    values |= {
        "general.type": "model",
        "general.name": name if isinstance(name, str) and name else path.stem,
        "general.file_type": _FILE_TYPES[kind],
        "general.quantization_version": 2,
    }
    recommended = {SAMPLING[name]: value for name, value in bundle.generation.items() if name in SAMPLING}
    for key, value in recommended.items():
        values[f"general.sampling.{key}"] = int(value) if key == "top_k" else float(value)
    if bundle.chat_template:
        values["tokenizer.chat_template"] = bundle.chat_template
    return values


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, _fraction(key, value))
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _fraction(key: str, value: float) -> float:
    with np.errstate(all="ignore"):
        stored = float(np.float32(value))
    if not math.isfinite(stored) or (stored == 0) != (value == 0):
        raise ConfigError(f"{key} is {value}, which GGUF's 32-bit fractions cannot hold")
    return stored


def _plan(config: GPTConfig, kind: str) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and element type of every tensor, in the order in which `_tensors` makes them."""
    shapes: dict[str, tuple[int, ...]] = {FACTORS: (config.head_dim // 2,)} if _is_llama3(config) else {}
    ours = config.parameter_shapes()
    for name, theirs in name_pairs(config):
        rows, *rest = ours[name]
        shapes[theirs] = (shapes[theirs][0] + rows if theirs in shapes else rows, *rest)
    return [(name, shape, _kind_of(name, shape, kind)) for name, shape in shapes.items()]


def _kind_of(name: str, shape: tuple[int, ...], kind: str) -> str:
    if len(shape) == 1 or name == "position_embd.weight":
        return "F32"
    return "F16" if kind in BLOCKS and shape[-1] % BLOCKS[kind].elements else kind


def _tensors(bundle: Bundle) -> Iterator[NDArray[np.float32]]:
    """The values of every tensor, one after the other."""
    config = bundle.config
    interleaved = architecture_of(config).interleaved
    if _is_llama3(config):
        yield llama3_factors(config.head_dim, config.rope_theta, config.rope_scaling or {}).astype(np.float32)
    ours: dict[str, list[str]] = {}
    for name, theirs in name_pairs(config):
        ours.setdefault(theirs, []).append(name)
    for names in ours.values():
        parts = [bundle.tensors[name].values() for name in names]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if interleaved and names[0].rpartition(".")[0].endswith(("attn.q_proj", "attn.k_proj")):
            values = _permute_rope(values, config.head_dim)
        yield values


def _permute_rope(values: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Rows of each head in the order in which channels 2c and 2c + 1 rotate together."""
    halves = values.reshape(-1, 2, head_dim // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _stored(name: str, values: NDArray[np.float32], kind: str) -> NDArray[Any]:
    if kind == "F32":
        return values
    with np.errstate(over="ignore"):  # what is too large is found below
        stored = values.astype(np.float16) if kind == "F16" else quantize(kind, values)
    fits = bool(np.isfinite(stored).all()) if kind == "F16" else is_finite(kind, values.shape, stored.data)
    if not fits:
        raise ConfigError(
            f"tensor {name} holds values too large for {ELEMENT_NAMES.get(kind, kind.lower())}",
            hint='write precision="float32"',
        )
    return stored


def _is_llama3(config: GPTConfig) -> bool:
    return (config.rope_scaling or {}).get("rope_type") == "llama3"
