"""Carrying a model off to other tools: as a Hugging Face directory, or as a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from nextword.errors import ConfigError
from nextword.files.bundle import Bundle, write_bundle
from nextword.files.huggingface.families import misfit
from nextword.files.tensors import RawTensor

Format = Literal["huggingface", "gguf"]

# Element types as torch and as llama.cpp spell them -> what each format's writer takes.
_HUGGINGFACE = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "f32": "F32", "f16": "F16", "bf16": "BF16"}
_GGUF = {"float32": "f32", "float16": "f16", "f32": "f32", "f16": "f16", "q8_0": "q8_0"}


def export_model(bundle: Bundle, path: Path, format: Format, dtype: str | None = None) -> Path:  # noqa: A002
    """Writes a model for other tools; the directory or file that was written.

    Args:
        bundle: The model.
        path: A directory; for `gguf` also a file that ends in .gguf (in a directory it is called model-DTYPE.gguf).
        format: `huggingface` (transformers, vLLM and others) or `gguf` (llama.cpp, Ollama and others).
        dtype: Element type of the matrices: float32, float16, bfloat16 for huggingface (None: as they are, blocks as
            float32); float32, float16, q8_0 for gguf (None: float32).

    Raises:
        ConfigError: The format cannot express the model (names the field) or the dtype.
        ModelFileError: It cannot be written.
    """
    if format not in get_args(Format):
        raise ConfigError(f"format is {format!r}, it must be {' or '.join(get_args(Format))}")
    if format == "gguf":
        from nextword.files.gguf import write_gguf

        kind = _choice(dtype or "float32", _GGUF, "a GGUF file")
        file = path if path.suffix == ".gguf" else path / f"model-{kind}.gguf"
        write_gguf(file, bundle, kind)
        return file
    if (field := misfit(bundle.config)) is not None:
        raise ConfigError(
            f"no architecture of transformers has GPTConfig.{field} = {getattr(bundle.config, field)!r}",
            hint="save it as it is: other programs cannot open it, nextword can",
        )
    write_bundle(path, bundle if dtype is None else replace(bundle, tensors=cast_tensors(bundle.tensors, dtype)))
    return path


def cast_tensors(tensors: Mapping[str, RawTensor], dtype: str) -> dict[str, RawTensor]:
    """Every weight in another element type.

    Raises:
        ConfigError: There is no such dtype.
        ModelFileError: A weight is too large for half precision.
    """
    kind = _choice(dtype, _HUGGINGFACE, "a model directory")
    return {name: tensor.astype(kind) for name, tensor in tensors.items()}


def _choice(dtype: str, kinds: dict[str, str], where: str) -> str:
    if dtype not in kinds:
        raise ConfigError(f"{where} cannot hold {dtype!r}", hint=f"dtypes: {', '.join(kinds)}")
    return kinds[dtype]
