"""A GGUF file -> bundle: config, tensors as views of the mapped file, tokenizer, chat template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.files.bundle import Bundle, check_vocabulary
from nextword.files.field_names import rename_fields
from nextword.files.gguf.architecture import Architecture, gguf_keys, name_pairs, read_architecture, read_config
from nextword.files.gguf.header import quoted, read_header
from nextword.files.gguf.metadata import SAMPLING, Metadata
from nextword.files.gguf.neutral import check_rest
from nextword.files.gguf.rope import FACTORS, read_rope_scaling
from nextword.files.gguf.vocabulary import read_tokenizer
from nextword.files.mapped import map_file
from nextword.files.parts import part_names
from nextword.files.quantization import BLOCKS, block_rows
from nextword.files.tensors import RawTensor, check_tensors
from nextword.text_file import require_content
from nextword.tokens import Tokenizer

_ABOUT = ("name", "organization", "license", "size_label", "finetune", "basename")


@dataclass(frozen=True)
class _File:
    metadata: Metadata
    tensors: Mapping[str, RawTensor]
    """Under the file's own names."""


def read_gguf(path: Path) -> Bundle:
    """Reads and checks a GGUF file; of a model in several, each names them all.

    The tensors are views of the mapped file, blocks and all; queries and keys of llama-type files are copied, their
    rows put into the order of Hugging Face.

    Raises:
        ModelFileError: The file is damaged, hostile or unsupported; names the field, what was expected and what found.
    """
    file = _open(path)
    metadata = file.metadata
    architecture = read_architecture(metadata)
    config = _read_config(file, architecture)
    check_rest(metadata, architecture.name, config)
    tensors = _read_tensors(config, architecture, file)
    check_tensors(str(path), tensors, config.parameter_shapes())
    tokenizer = read_tokenizer(metadata)
    check_vocabulary(path, tokenizer, config)
    about = {key: metadata.label(f"general.{key}") for key in _ABOUT}
    provenance: dict[str, Any] = {"format": "gguf", **{key: value for key, value in about.items() if value}}
    if languages := metadata.labels("general.languages"):
        provenance["languages"] = languages
    template = metadata.text("tokenizer.chat_template", "")
    return Bundle(
        config,
        tensors,
        tokenizer,
        provenance,
        chat_template=template,
        generation=_read_sampling(metadata),
        notes=metadata.notes,
    )


def read_gguf_tokenizer(path: Path) -> Tokenizer:
    """Only the tokenizer of a GGUF file; the tensors are not looked at.

    Raises:
        ModelFileError: The header is damaged, or the tokenizer is unsupported.
    """
    return read_tokenizer(_open(path).metadata)


def _read_sampling(metadata: Metadata) -> dict[str, float]:
    """What the makers recommend, under generation_config.json's names."""
    keys = {f"general.sampling.{theirs}": ours for ours, theirs in SAMPLING.items()}
    return {ours: metadata.number(key) for key, ours in keys.items() if key in metadata}


def _open(path: Path) -> _File:
    """A whole file, or all parts of a model; the first part holds the metadata."""
    names = part_names(path.name)
    metadata, tensors = _open_part(path.with_name(names[0]) if len(names) > 1 else path)
    count = metadata.integer("split.count", 1)
    if count <= 1:
        return _File(metadata, tensors)
    if len(names) != count:
        raise ModelFileError(
            f"{path} is one of {count} parts of a model, but not named like one",
            hint=f"name them NAME-00001-of-{count:05}.gguf and so on, in one directory",
        )
    for number, name in enumerate(names):
        part, more = (metadata, {}) if number == 0 else _open_part(path.with_name(name))
        found = part.integer("split.no", -1), part.integer("split.count", 1)
        if found != (number, count):
            raise ModelFileError(
                f"{part.source} should be part {number + 1} of {count}, but says it is {found[0] + 1} of {found[1]}"
            )
        if twice := tensors.keys() & more.keys():
            raise ModelFileError(f"{part.source}: the tensor {quoted(min(twice))} is in another part too")
        tensors |= more
    if (stated := metadata.integer("split.tensors.count", len(tensors))) != len(tensors):
        raise ModelFileError(f"{metadata.source}: {stated} tensors should lie in {count} parts, found {len(tensors)}")
    return _File(metadata, tensors)


def _open_part(path: Path) -> tuple[Metadata, dict[str, RawTensor]]:
    if len(part_names(path.name)) > 1 and not path.exists():
        raise ModelFileError(f"{path} is missing: a part of the model", hint="put all its parts into one directory")
    data = map_file(path)
    require_content(path, data)
    header = read_header(str(path), data)
    tensors = {
        info.name: RawTensor(info.name, info.dtype, info.shape, data[info.start : info.start + info.nbytes])
        for info in header.tensors.values()
    }
    return Metadata(str(path), header.values), tensors


def _read_config(file: _File, architecture: Architecture) -> GPTConfig:
    """The config, scaled rotary positions too."""
    source, arch = file.metadata.source, architecture.name
    config = read_config(file.metadata, architecture, file.tensors)
    if config.position != "rotary":
        return config
    factors = None
    if architecture.takes_factors and FACTORS in file.tensors:
        tensor = file.tensors[FACTORS]
        check_tensors(source, {FACTORS: tensor}, {FACTORS: (config.head_dim // 2,)})
        factors = tensor.values()
    scaling = read_rope_scaling(file.metadata, arch, config.head_dim, config.rope_theta, factors)
    try:
        return config.replace(rope_scaling=scaling)
    except ConfigError as error:
        message = rename_fields(error.message, gguf_keys(architecture))
        raise ModelFileError(f"{source}: {message}") from None


def _read_tensors(config: GPTConfig, architecture: Architecture, file: _File) -> dict[str, RawTensor]:
    """The file's tensors under this package's names. What is missing or extra stays so, for `check_tensors`."""
    ours: dict[str, list[str]] = {}
    for name, theirs in name_pairs(config, file.tensors):
        ours.setdefault(theirs, []).append(name)
    tensors: dict[str, RawTensor] = {}
    for theirs, tensor in file.tensors.items():
        if theirs == FACTORS and architecture.takes_factors:
            continue
        names = ours.get(theirs, [theirs])
        parts = [replace(tensor, name=names[0])] if len(names) == 1 else _split_qkv(tensor, names, config)
        for part in parts:
            tensors[part.name] = _permute_rope(part, config) if architecture.interleaved else part
    return tensors


def _split_qkv(tensor: RawTensor, names: list[str], config: GPTConfig) -> Iterator[RawTensor]:
    """Rows of queries, keys and values that lie in one matrix."""
    shapes = config.parameter_shapes()
    if tensor.shape[0] != sum(shapes[name][0] for name in names):
        yield tensor  # check_tensors says what is missing
        return
    size, start = len(tensor.data) // tensor.shape[0], 0
    for name in names:
        rows = shapes[name][0]
        data = tensor.data[start * size : (start + rows) * size]
        yield RawTensor(name, tensor.dtype, (rows, *tensor.shape[1:]), data)
        start += rows


def _permute_rope(tensor: RawTensor, config: GPTConfig) -> RawTensor:
    """Queries and keys with the rows of each head in the order in which channels c and c + C/2 rotate together."""
    module = tensor.name.rpartition(".")[0]
    if not module.endswith(("attn.q_proj", "attn.k_proj")) or tensor.shape[0] % config.head_dim:
        return tensor
    rows = block_rows(tensor.dtype, tensor.shape, tensor.data) if tensor.dtype in BLOCKS else tensor.bits()
    pairs = rows.reshape(-1, config.head_dim // 2, 2, *rows.shape[1:])
    ordered = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)
    return RawTensor(tensor.name, tensor.dtype, tensor.shape, ordered.reshape(-1).view(np.uint8).data)
