"""safetensors files <-> raw tensors.

The `safetensors` library validates the header (sizes, offsets, overlaps, holes). Its NumPy reader knows no bfloat16,
so the bytes are taken as they lie, in memory that is mapped from the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from nextword.errors import ModelFileError
from nextword.files.mapped import map_file
from nextword.files.tensors import ELEMENT_NAMES, STORAGE, RawTensor
from nextword.json_file import read_json
from nextword.text_file import FETCH_AGAIN, require_content

_CONSTANTS = (
    *(".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"),
    *(".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached"),
)


def is_constant(name: str) -> bool:
    """Whether a tensor, of any element type, follows from the config: causal masks and rotary tables of old files."""
    return f".{name}".endswith(_CONSTANTS)


def read_safetensors(path: Path) -> dict[str, RawTensor]:
    """Every tensor of a file, as views of the mapped file.

    Raises:
        ModelFileError: The file is missing, truncated, or not safetensors; or holds an unsupported element type.
    """
    data = map_file(path)
    require_content(path, data)
    try:
        safetensors.safe_open(str(path), framework="numpy")
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{path} is damaged or no safetensors file: {reason}", hint=FETCH_AGAIN) from None
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:start]), object_pairs_hook=lambda pairs: _unique_keys(path, pairs))
    tensors = {}
    for name, entry in sorted(header.items()):
        if name == "__metadata__":
            continue
        if entry["dtype"] not in STORAGE and not is_constant(name):
            raise ModelFileError(
                f"{path}: tensor {name!r} has element type {entry['dtype']}",
                hint=f"supported: {', '.join(STORAGE)}; of a "
                "model that was quantised for another program, take the weights that were not, or a .gguf file",
            )
        first, last = entry["data_offsets"]
        tensors[name] = RawTensor(name, entry["dtype"], tuple(entry["shape"]), data[start + first : start + last])
    return tensors


def _unique_keys(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the header; of a name that stands there twice, the library and Python may take different ones."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ModelFileError(f"{path} is damaged: its header has a name twice")
    return entries


def read_sharded(index: Path) -> dict[str, RawTensor]:
    """Every tensor of a model in several files, which `model.safetensors.index.json` lists.

    Raises:
        ModelFileError: The index or a file is missing or damaged, a tensor is not where the index says, or a file
            holds one that the index does not know.
    """
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelFileError(f"{index}: weight_map should be a JSON object with a file for each tensor")
    tensors: dict[str, RawTensor] = {}
    for file in sorted(set(map(str, places.values()))):
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise ModelFileError(f"{index}: {file!r} is not the name of a safetensors file beside it")
        shard = read_safetensors(index.with_name(file))
        listed = {name for name, place in places.items() if place == file}
        if strayed := sorted(listed ^ set(shard)):
            where = "is missing in" if strayed[0] in listed else "is not listed for"
            raise ModelFileError(f"{index}: tensor {strayed[0]!r} {where} {file}")
        tensors |= shard
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
            dtype=ELEMENT_NAMES[tensor.dtype],
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
