"""Weights of a Hugging Face model directory <-> this package's names and layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np

from nextword.config import GPTConfig
from nextword.files.huggingface.families import FAMILIES, Family, FamilyName, family_of
from nextword.files.safetensors import CONSTANTS
from nextword.files.tensors import RawTensor

# GPT-2's Conv1D keeps [in, out]; these are transposed. Queries, keys and values lie in one matrix, c_attn.
_GPT2_TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def tensors_to_family(config: GPTConfig, tensors: Mapping[str, RawTensor]) -> dict[str, RawTensor]:
    """This package's tensors under the family's names and in its layout."""
    family = family_of(config)
    if family == "nextword":
        return dict(tensors)
    pairs = _name_pairs(config, FAMILIES[family])
    if family != "gpt2":
        return {new: _renamed(tensors[old], new) for old, new in pairs}
    stored = {}
    for i in range(config.num_layers):
        for kind in ("weight", "bias"):
            parts = [tensors[f"blocks.{i}.attn.{part}_proj.{kind}"] for part in "qkv"]
            name = f"transformer.h.{i}.attn.c_attn.{kind}"
            stored[name] = RawTensor.from_bits(name, parts[0].dtype, np.concatenate([p.bits() for p in parts]))
    for old, new in pairs:
        if not old.endswith(
            ("q_proj.weight", "k_proj.weight", "v_proj.weight", "q_proj.bias", "k_proj.bias", "v_proj.bias")
        ):
            stored[new] = _renamed(tensors[old], new)
    return {name: _transposed(t) if name.endswith(_GPT2_TRANSPOSED) else t for name, t in stored.items()}


def tensors_from_family(config: GPTConfig, family: str, stored: Mapping[str, RawTensor]) -> dict[str, RawTensor]:
    """The file's tensors under this package's names. What is missing or extra stays so, for `check_tensors` to name."""
    if family == "nextword":
        return dict(stored)
    ours = {new: old for old, new in _name_pairs(config, FAMILIES[cast(FamilyName, family)])}
    shared = {f"transformer.h.{i}.attn.c_attn.{kind}" for i in range(config.num_layers) for kind in ("weight", "bias")}
    tensors: dict[str, RawTensor] = {}

    def keep(name: str, tensor: RawTensor, stored_name: str) -> None:
        name = f"{stored_name} (the same weight again)" if name in tensors else name
        tensors[name] = _renamed(tensor, name)

    for stored_name, stored_tensor in stored.items():
        name, tensor = stored_name, stored_tensor
        if name == "lm_head.weight" and config.tie_embeddings:
            continue  # the same matrix again
        if name.endswith(CONSTANTS):
            continue  # they follow from the config
        if family == "gpt2":
            name = name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"
            if name.endswith(_GPT2_TRANSPOSED):
                tensor = _transposed(tensor)
            if name in shared and tensor.shape and tensor.shape[0] % 3 == 0:
                for part, rows in _split_c_attn(name, tensor).items():
                    keep(part, rows, stored_name)
                continue
        keep(ours.get(name, stored_name), tensor, stored_name)
    return tensors


def _split_c_attn(name: str, tensor: RawTensor) -> dict[str, RawTensor]:
    _, _, number, _, _, kind = name.split(".")
    parts = {
        f"blocks.{number}.attn.{part}_proj.{kind}": rows
        for part, rows in zip("qkv", np.array_split(tensor.bits(), 3), strict=True)
    }
    return {part: RawTensor.from_bits(part, tensor.dtype, rows) for part, rows in parts.items()}


def _name_pairs(config: GPTConfig, family: Family) -> Iterator[tuple[str, str]]:
    """(our name, their name) of every weight; q, k and v of GPT-2, which share a matrix, keep ours."""
    for name in config.parameter_shapes():
        module, kind = name.rsplit(".", 1)
        if module.startswith("blocks."):
            _, number, inner = module.split(".", 2)
            yield name, f"{family.layers}.{number}.{family.names.get(inner, inner)}.{kind}"
        else:
            yield name, f"{family.names[module]}.{kind}"


def _renamed(tensor: RawTensor, name: str) -> RawTensor:
    return RawTensor(name, tensor.dtype, tensor.shape, tensor.data)


def _transposed(tensor: RawTensor) -> RawTensor:
    return RawTensor.from_bits(tensor.name, tensor.dtype, tensor.bits().T)
