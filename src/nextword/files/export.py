"""Carrying a model off to other tools: as a Hugging Face directory, or as a GGUF file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from nextword.deprecated import warn_deprecated
from nextword.errors import ConfigError
from nextword.files.bundle import Bundle, write_bundle
from nextword.files.huggingface.families import misfit
from nextword.files.precision import LLAMA_CPP_WORDS, PRECISIONS
from nextword.files.quantization import BLOCKS
from nextword.files.tensors import RawTensor
from nextword.settings import OLD_PRECISIONS, Precision

Format = Literal["huggingface", "gguf"]

# Precisions -> what each format's writer takes.
_HUGGINGFACE = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_GGUF = {"auto": "f32", **LLAMA_CPP_WORDS} | {
    precision: precision for precision, kind in PRECISIONS.items() if kind in BLOCKS
}


def export_model(
    bundle: Bundle,
    path: Path,
    format: Format,  # noqa: A002
    precision: str = "auto",
    watch: Callable[[str], None] = lambda _: None,
) -> Path:
    """Writes a model for other tools; the directory or file that was written.

    Args:
        bundle: The model.
        path: A directory; for `gguf` also a file that ends in .gguf (in a directory it is called model-f32.gguf or the
            like, as llama.cpp calls its element type).
        format: `huggingface` (transformers, vLLM and others) or `gguf` (llama.cpp, Ollama and others).
        precision: Of the matrices: float32, float16, bfloat16 for huggingface (auto: as they are, blocks as float32);
            for gguf any of them (auto: float32).
        watch: Is told what is being written of a GGUF file.

    Raises:
        ConfigError: The format cannot express the model (names the field) or the precision.
        ModelFileError: It cannot be written, or half precision cannot hold a weight.
    """
    if format not in get_args(Format):
        raise ConfigError(f"format is {format!r}, it must be {' or '.join(get_args(Format))}")
    if format == "gguf":
        from nextword.files.gguf import write_gguf

        kind = _element_type(precision, _GGUF, "a GGUF file")
        file = path if path.suffix == ".gguf" else path / f"model-{kind}.gguf"
        write_gguf(file, bundle, kind, watch)
        return file
    if (field := misfit(bundle.config)) is not None:
        raise ConfigError(
            f"no architecture of transformers has GPTConfig.{field} = {getattr(bundle.config, field)!r}",
            hint="save it as it is: other programs cannot open it, nextword can",
        )
    write_bundle(path, replace(bundle, tensors=cast_tensors(bundle.tensors, precision)))
    return path


def cast_tensors(tensors: Mapping[str, RawTensor], precision: str) -> dict[str, RawTensor]:
    """Every weight as a model directory can hold it; `auto` leaves all as they are.

    Raises:
        ConfigError: A model directory cannot hold it.
        ModelFileError: A weight is too large for float16.
    """
    if precision == "auto":
        return dict(tensors)
    check_directory_precision(precision)
    return {name: tensor.astype(_HUGGINGFACE[precision]) for name, tensor in tensors.items()}


def check_directory_precision(precision: str) -> None:
    """Refuses what a model directory cannot hold.

    Raises:
        ConfigError: It cannot.
    """
    _element_type(precision, _HUGGINGFACE, "a model directory")


def merge_dtype(precision: Precision | None, dtype: str | None, before: str = "") -> str:
    """The precision that is asked for; `dtype` is its old name.

    Args:
        precision: As it is called now.
        dtype: By the old name.
        before: What stands before the two names where they were given.

    Raises:
        ConfigError: Both are given.
    """
    if dtype is None:
        return "auto" if precision is None else precision
    if precision not in (None, "auto"):
        raise ConfigError(
            f"{before}precision and {before}dtype are both given: {before}dtype is its old name",
            hint="leave out dtype=...",
        )
    return dtype


def merge_deprecated_dtype(precision: Precision | None, dtype: str | None) -> str:
    """As `merge_dtype`; `dtype` gets a warning, and its old words are taken.

    Raises:
        ConfigError: Both are given.
    """
    given = merge_dtype(precision, dtype)
    if dtype is None:
        return given
    word = OLD_PRECISIONS.get(given, given)
    warn_deprecated(f"dtype={dtype!r}", f"precision={word!r}")
    return word


def _element_type(precision: str, kinds: Mapping[str, str], where: str) -> str:
    if precision not in kinds:
        raise ConfigError(f"{where} cannot hold {precision!r}", hint=f"precisions: {', '.join(kinds)}")
    return kinds[precision]
