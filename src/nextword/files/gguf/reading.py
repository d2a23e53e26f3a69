"""A GGUF file -> bundle: config, tensors as views of the mapped file, tokenizer, chat template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError
from nextword.files.bundle import Bundle, check_vocabulary
from nextword.files.gguf.architecture import Architecture, name_pairs, read_architecture, read_config
from nextword.files.gguf.header import TensorInfo, read_header
from nextword.files.gguf.metadata import SAMPLING, Metadata
from nextword.files.gguf.rope import FACTORS, read_rope_scaling
from nextword.files.gguf.vocabulary import read_tokenizer
from nextword.files.mapped import map_file
from nextword.files.quantization import BLOCKS, block_rows
from nextword.files.tensors import RawTensor, check_tensors
from nextword.tokens import Tokenizer

_ABOUT = ("name", "organization", "license", "size_label", "finetune", "basename")


@dataclass(frozen=True)
class _File:
    data: memoryview
    metadata: Metadata
    infos: Mapping[str, TensorInfo]


def read_gguf(path: Path) -> Bundle:
    """Reads and checks a GGUF file.

    The tensors are views of the mapped file, blocks and all; queries and keys of llama-type files are copied, their
    rows put into the order of Hugging Face.

    Raises:
        ModelFileError: The file is damaged, hostile or unsupported; names the field, what was expected and what found.
    """
    file = _open(path)
    metadata = file.metadata
    architecture = read_architecture(metadata)
    config = _read_config(file, architecture)
    metadata.refuse_rest(f"{architecture.name}.")
    tensors = _read_tensors(config, architecture, file)
    check_tensors(str(path), tensors, config.parameter_shapes())
    tokenizer = read_tokenizer(metadata)
    check_vocabulary(path, tokenizer, config)
    about = {key: metadata.text(f"general.{key}", "") for key in _ABOUT}
    provenance = {"format": "gguf", **{key: value for key, value in about.items() if value}}
    template = metadata.text("tokenizer.chat_template", "")
    return Bundle(config, tensors, tokenizer, provenance, chat_template=template, generation=_read_sampling(metadata))


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
    data = map_file(path)
    header = read_header(str(path), data)
    metadata = Metadata(str(path), header.values)
    if (parts := metadata.integer("split.count", 1)) > 1:
        raise ModelFileError(
            f"{path} is one of {parts} parts of a model", hint="join them: llama-gguf-split --merge FIRST_PART OUT"
        )
    return _File(data, metadata, header.tensors)


def _read_config(file: _File, architecture: Architecture) -> GPTConfig:
    """The config, scaled rotary positions too."""
    source, arch = file.metadata.source, architecture.name
    config = read_config(file.metadata, architecture, file.infos)
    if config.position != "rotary":
        return config
    factors = None
    if architecture.takes_factors and FACTORS in file.infos:
        tensor = _raw(file.infos[FACTORS], FACTORS, file.data)
        check_tensors(source, {FACTORS: tensor}, {FACTORS: (config.head_dim // 2,)})
        factors = tensor.values()
    scaling = read_rope_scaling(file.metadata, arch, config.head_dim, config.rope_theta, factors)
    try:
        return config.replace(rope_scaling=scaling)
    except ConfigError as error:
        raise ModelFileError(f"{source}: {error.message}") from None


def _read_tensors(config: GPTConfig, architecture: Architecture, file: _File) -> dict[str, RawTensor]:
    """The file's tensors under this package's names. What is missing or extra stays so, for `check_tensors`."""
    ours: dict[str, list[str]] = {}
    for name, theirs in name_pairs(config):
        ours.setdefault(theirs, []).append(name)
    tensors: dict[str, RawTensor] = {}
    for theirs, info in file.infos.items():
        if theirs == FACTORS and architecture.takes_factors:
            continue
        names = ours.get(theirs, [theirs])
        parts = [_raw(info, names[0], file.data)] if len(names) == 1 else _split(info, names, file.data)
        for part in parts:
            tensors[part.name] = _ordered(part, config) if architecture.interleaved else part
    return tensors


def _raw(info: TensorInfo, name: str, data: memoryview) -> RawTensor:
    return RawTensor(name, info.dtype, info.shape, data[info.start : info.start + info.nbytes])


def _split(info: TensorInfo, names: list[str], data: memoryview) -> Iterator[RawTensor]:
    """Rows of queries, keys and values that lie in one matrix."""
    rows, rest = divmod(info.shape[0], len(names))
    if rest:
        yield _raw(info, info.name, data)  # check_tensors says what is missing
        return
    size = info.nbytes // len(names)
    for i, name in enumerate(names):
        start = info.start + i * size
        yield RawTensor(name, info.dtype, (rows, *info.shape[1:]), data[start : start + size])


def _ordered(tensor: RawTensor, config: GPTConfig) -> RawTensor:
    """Queries and keys with the rows of each head in the order in which channels c and c + C/2 rotate together."""
    module = tensor.name.rpartition(".")[0]
    if not module.endswith(("attn.q_proj", "attn.k_proj")) or tensor.shape[0] % config.head_dim:
        return tensor
    rows = block_rows(tensor.dtype, tensor.shape, tensor.data) if tensor.dtype in BLOCKS else tensor.bits()
    pairs = rows.reshape(-1, config.head_dim // 2, 2, *rows.shape[1:])
    ordered = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)
    return RawTensor(tensor.name, tensor.dtype, tensor.shape, ordered.reshape(-1).view(np.uint8).data)
