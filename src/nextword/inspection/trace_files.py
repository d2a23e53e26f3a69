"""Traces on disk: a directory with the values as safetensors and what they are as JSON. Nothing in it is executed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.files.atomic import replace_directory
from nextword.files.safetensors import read_safetensors, write_safetensors
from nextword.files.tensors import RawTensor
from nextword.generation.backend import Backend
from nextword.inspection.edits import Edit
from nextword.inspection.hook_names import hook_shapes, name_of_version_1
from nextword.inspection.inspectable import InspectableModel, gptmodel_of, unpack_backend
from nextword.inspection.recording import Recording
from nextword.inspection.weight_checksums import WeightChecksum, checksum_weights, fingerprint, modified_weights
from nextword.json_file import read_json
from nextword.tokens import Tokenizer

if TYPE_CHECKING:
    from nextword.model import GPTModel

Array = NDArray[Any]
Kind = TypeVar("Kind", bound=Recording)

FORMAT_VERSION = 2
"""In version 1 a norm's output was named `hook_normalized`."""
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype(np.float32), "F64": np.dtype(np.float64)}
VALUES, ABOUT = "values.safetensors", "trace.json"


def write_recording(
    path: Path,
    trace: Recording,
    values: Mapping[str, Array],
    checksums: Mapping[str, WeightChecksum],
    backend: Backend | None,
) -> Path:
    """Writes a trace beside `path` and puts it in place when it is whole.

    Raises:
        ModelFileError: It cannot be written, or `path` holds something that is no trace (it is left alone).
    """
    if path.exists() and not (path.is_dir() and {file.name for file in path.iterdir()} <= {VALUES, ABOUT}):
        raise ModelFileError(f"{path} is there already and is no trace", hint="choose another place")
    about: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "text": trace.text,
        "token_ids": list(trace.token_ids),
        "config": trace.config.to_dict(),
        "edits": [edit.to_json() for edit in trace.edits],
        "weights": {name: [one.dtype, one.crc32] for name, one in checksums.items()},
    }
    if trace.dropped_tokens:
        about["dropped_tokens"] = trace.dropped_tokens
    if trace.cache_format != "float32":
        about["cache_format"] = trace.cache_format
    if backend is not None and gptmodel_of(backend) is None:
        about["backend"] = _identity(backend)
    with replace_directory(path) as fresh:
        write_safetensors(fresh / VALUES, {name: _stored(name, value) for name, value in values.items()}, {})
        (fresh / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return path


def read_recording(
    kind: type[Kind],
    path: Path,
    model: InspectableModel | Backend | GPTModel | None,
    tokenizer: Tokenizer | None,
) -> Kind:
    """The trace that `write_recording` wrote, as one of that kind.

    Raises:
        ModelFileError: It is missing or damaged, or was made with another model.
    """
    about = read_json(path / ABOUT)
    version = about.get("format_version")
    if version not in (1, FORMAT_VERSION):
        raise ModelFileError(
            f"{path / ABOUT}: format_version is {version!r}, this nextword reads versions 1 and {FORMAT_VERSION}"
        )
    try:
        config = GPTConfig.from_dict(about["config"])
        edits = [Edit.from_json(edit) for edit in about["edits"]]
        for edit in edits:
            edit.check(config)
        text, ids, dropped = about["text"], about["token_ids"], about.get("dropped_tokens", 0)
        cache_format = about.get("cache_format", "float32")
        checksums = {
            name: WeightChecksum(dtype, checksum, 0) for name, (dtype, checksum) in about.get("weights", {}).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ModelFileError(f"{path / ABOUT} is damaged: {error}") from None
    known = isinstance(ids, list) and all(type(token) is int and 0 <= token < config.vocab_size for token in ids)
    counts = type(dropped) is int and dropped >= 0 and cache_format in ("float32", "float16", "int8")
    if not (known and counts) or not 1 <= len(ids) <= config.context_length or not isinstance(text, str):
        raise ModelFileError(f"{path / ABOUT} is damaged: text or token_ids are not what the config allows")
    values = _read_values(path / VALUES, hook_shapes(config, len(ids)), name_of_version_1 if version == 1 else str)
    backend = None
    if model is not None:
        backend, own_tokenizer, _ = unpack_backend(model)
        tokenizer = own_tokenizer if tokenizer is None else tokenizer
        _check_model(path, backend, config, ids, values, edits)
        gptmodel = gptmodel_of(backend)
        changed = "" if gptmodel is None else next(iter(modified_weights(checksums, gptmodel)), "")
        if changed or (gptmodel is None and _is_other(about.get("backend"), backend)):
            where = f": {changed}" if changed else ""
            raise ModelFileError(
                f"{path} was made with other weights than this model has{where}", hint="trace the text again"
            )
        checksums = {} if gptmodel is None else checksum_weights(gptmodel)
    return kind(
        text,
        ids,
        config,
        values,
        edits=edits,
        model=backend,
        tokenizer=tokenizer,
        checksums=checksums,
        dropped_tokens=dropped,
        cache_format=cache_format,
    )


def _identity(backend: Backend) -> dict[str, Any]:
    """What a backend without a GPTModel computes with."""
    settings = {"name": backend.name, "dtype": backend.dtype, "eps": backend.eps}
    return {**settings, "cache_format": getattr(backend, "cache_format", ""), "logits": fingerprint(backend)}


def _is_other(known: Any, backend: Backend) -> bool:
    """Whether a backend with the same settings as the one that made a trace says something else."""
    if not isinstance(known, dict):  # made by torch: its checksums are of numbers that are not here
        return False
    own = _identity(backend)
    return (
        all(known.get(name) == own[name] for name in own if name != "logits") and known.get("logits") != own["logits"]
    )


def _read_values(path: Path, shapes: Mapping[str, tuple[int, ...]], name_of: Callable[[str], str]) -> dict[str, Array]:
    values = {}
    for stored, raw in read_safetensors(path).items():
        name = name_of(stored)
        if raw.shape != shapes.get(name) or raw.dtype not in DTYPES:
            expected = shapes.get(name, "no such value")
            raise ModelFileError(f"{path}: {name} is {raw.dtype} {raw.shape}, expected F32 or F64 {expected}")
        values[name] = np.frombuffer(bytearray(raw.data), DTYPES[raw.dtype]).reshape(raw.shape)
    return values


def _check_model(
    path: Path, backend: Backend, config: GPTConfig, ids: list[int], values: Mapping[str, Array], edits: list[Edit]
) -> None:
    """Another model would make a lens or attribution that is nobody's: the architecture and the embeddings tell."""
    embed = values.get("hook_embed")
    same = backend.config == config
    if same and embed is not None and not any(edit.name == "hook_embed" for edit in edits):
        same = np.allclose(
            backend.weight("token_embedding.weight", ids), embed, rtol=1e-2, atol=1e-6
        )  # the model may be loaded in another precision
    if not same:
        raise ModelFileError(f"{path} was made with another model", hint="load the model that made it")


def _stored(name: str, value: Array) -> RawTensor:
    kind = next(key for key, dtype in DTYPES.items() if dtype == value.dtype)
    return RawTensor.from_bits(name, kind, value)
