"""Bundle -> a GGUF file, written tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

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
from nextword.files.precision import LLAMA_CPP_WORDS, mixed_types, round_tensor
from nextword.files.quantization import block_rows
from nextword.files.tensors import RawTensor, check_tensors, count_bytes
from nextword.settings import Precision

if TYPE_CHECKING:
    from gguf import GGUFWriter

FILE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q8_0": 7,
    "q5_0": 8,
    "q5_1": 9,
    "q4_k_m": 15,
    "q5_k_m": 17,
    "q6_k": 18,
    "bf16": 32,
}
"""llama.cpp's words for what a file mostly holds, and its numbers."""
_FLOATS = {word: precision for precision, word in LLAMA_CPP_WORDS.items()}


def write_gguf(path: Path, bundle: Bundle, dtype: str, watch: Callable[[str], None] = lambda _: None) -> None:
    """Writes a GGUF file beside `path` and puts it in place when it is whole.

    Args:
        path: The file.
        bundle: The model; its config must be one of llama.cpp's architectures.
        dtype: One of `FILE_TYPES`. Which weights get another element type than most: `mixed_types`.
        watch: Is told what is being written.

    Raises:
        ConfigError: llama.cpp cannot express the model (names the field), or `dtype` is unknown.
        ModelFileError: The file cannot be written, the bundle's parts do not fit, or half precision cannot hold a
            weight.
    """
    if dtype not in FILE_TYPES:
        raise ConfigError(f"dtype is {dtype!r}, GGUF files are written as {', '.join(FILE_TYPES)}")
    config = bundle.config
    check_vocabulary(path, bundle.tokenizer, config)
    values = _metadata(path, bundle, FILE_TYPES[dtype])
    check_tensors(str(path), bundle.tensors, config.parameter_shapes())
    plan = _plan(config, cast(Precision, _FLOATS.get(dtype, dtype)))
    import gguf

    with replace_file(path) as fresh:
        writer = gguf.GGUFWriter(fresh, values.pop("general.architecture"))
        try:
            for key, value in values.items():
                _add(writer, key, value)
            for name, item in plan.items():
                size, element = count_bytes(item.kind, item.shape), gguf.GGMLQuantizationType[item.kind]
                writer.add_tensor_info(name, item.shape, np.dtype(np.float32), size, element)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for number, item in enumerate(plan.values(), 1):
                watch(f"writing tensor {number} of {len(plan)}")
                writer.write_tensor_data(_stored(item, bundle))
        finally:
            writer.close()


def _metadata(path: Path, bundle: Bundle, file_type: int) -> dict[str, Any]:
    values = config_metadata(bundle.config) | tokenizer_metadata(bundle.tokenizer, bundle.config.vocab_size)
    name = bundle.provenance.get("name")
    values |= {
        "general.type": "model",
        "general.name": name if isinstance(name, str) and name else path.stem,
        "general.file_type": file_type,
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


@dataclass
class _Item:
    """A tensor of the file: of one of our weights, or of several whose rows follow one another; factors have none."""

    shape: tuple[int, ...]
    kind: str
    names: list[str] = field(default_factory=list)


def _plan(config: GPTConfig, precision: Precision) -> dict[str, _Item]:
    """Every tensor, by its name in the file, in the order in which they are written."""
    plan = {FACTORS: _Item((config.head_dim // 2,), "F32")} if _is_llama3(config) else {}
    ours = config.parameter_shapes()
    kinds = mixed_types(ours, precision)
    for name, theirs in name_pairs(config):
        rows, *rest = ours[name]
        item = plan.setdefault(theirs, _Item((0, *rest), kinds[name]))
        item.shape = (item.shape[0] + rows, *rest)
        item.names.append(name)
    return plan


def _stored(item: _Item, bundle: Bundle) -> NDArray[np.generic]:
    """The rows of a tensor, as floats or as the bytes of their blocks; what has the kind already is not rounded."""
    config = bundle.config
    if not item.names:
        return llama3_factors(config.head_dim, config.rope_theta, config.rope_scaling or {}).astype(np.float32)
    parts = [_rows(round_tensor(bundle.tensors[name], item.kind)) for name in item.names]
    rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if architecture_of(config).interleaved and item.names[0].rpartition(".")[0].endswith(
        ("attn.q_proj", "attn.k_proj")
    ):
        rows = _permute_rope(rows, config.head_dim)
    return rows


def _rows(tensor: RawTensor) -> NDArray[np.generic]:
    return block_rows(tensor.dtype, tensor.shape, tensor.data) if tensor.is_quantized else tensor.bits()


def _permute_rope(values: NDArray[np.generic], head_dim: int) -> NDArray[np.generic]:
    """Rows of each head in the order in which channels 2c and 2c + 1 rotate together."""
    halves = values.reshape(-1, 2, head_dim // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _is_llama3(config: GPTConfig) -> bool:
    return (config.rope_scaling or {}).get("rope_type") == "llama3"
