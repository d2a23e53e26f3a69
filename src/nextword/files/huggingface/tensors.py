"""Weights of a Hugging Face model directory <-> this package's names and layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from nextword.config import GPTConfig
from nextword.files.huggingface.families import FAMILIES, Family, FamilyName, family_of
from nextword.files.tensors import RawTensor


def tensors_to_family(config: GPTConfig, tensors: Mapping[str, RawTensor]) -> dict[str, RawTensor]:
    """This package's tensors under the family's names and in its layout."""
    family = family_of(config)
    if family == "nextword":
        return dict(tensors)
    names = FAMILIES[family]
    stored: dict[str, RawTensor] = {}
    for hf_name, ours in _name_pairs(config, names).items():
        parts = [tensors[name] for name in ours]
        tensor = _renamed(parts[0], hf_name) if len(parts) == 1 else _concat(parts, hf_name)
        stored[hf_name] = _transposed(tensor) if _is_conv1d(names, hf_name) else tensor
    return stored


def tensors_from_family(config: GPTConfig, family: str, stored: Mapping[str, RawTensor]) -> dict[str, RawTensor]:
    """The file's tensors under this package's names. What is missing or extra stays so, for `check_tensors` to name."""
    if family == "nextword":
        return dict(stored)
    names = FAMILIES[cast(FamilyName, family)]
    pairs = _name_pairs(config, names)
    tensors: dict[str, RawTensor] = {}
    for stored_name, stored_tensor in stored.items():
        ours = pairs.get(stored_name, (stored_name,))
        tensor = _transposed(stored_tensor) if _is_conv1d(names, stored_name) else stored_tensor
        if len(ours) > 1 and tensor.shape and tensor.shape[0] % len(ours) == 0:
            rows = np.array_split(tensor.bits(), len(ours))
            parts = {name: RawTensor.from_bits(name, tensor.dtype, part) for name, part in zip(ours, rows, strict=True)}
        else:
            name = ours[0] if len(ours) == 1 else stored_name
            parts = {name: _renamed(tensor, name)}
        for name, part in parts.items():
            kept = f"{stored_name} (the same weight again)" if name in tensors else name
            tensors[kept] = _renamed(part, kept)
    return tensors


def family_names(config: GPTConfig, family: str) -> set[str]:
    """Every name that a weight of this config has in the family's files."""
    return set(_name_pairs(config, FAMILIES[cast(FamilyName, family)]))


def _name_pairs(config: GPTConfig, family: Family) -> dict[str, tuple[str, ...]]:
    """Their name of every weight -> ours; several where theirs has the rows of several of ours."""
    whole = {part: module for module, parts in family.fused.items() for part in parts}
    pairs: dict[str, tuple[str, ...]] = {}
    for name in config.parameter_shapes():
        module, kind = name.rsplit(".", 1)
        if module.startswith("blocks."):
            _, number, inner = module.split(".", 2)
            theirs = f"{family.layers}.{number}.{whole.get(inner, family.names.get(inner, inner))}.{kind}"
        else:
            theirs = f"{family.names[module]}.{kind}"
        pairs[theirs] = (*pairs.get(theirs, ()), name)
    return pairs


def _is_conv1d(family: Family, hf_name: str) -> bool:
    return hf_name.endswith(tuple(f".{module}.weight" for module in family.transposed))


def _concat(parts: list[RawTensor], name: str) -> RawTensor:
    return RawTensor.from_bits(name, parts[0].dtype, np.concatenate([part.bits() for part in parts]))


def _renamed(tensor: RawTensor, name: str) -> RawTensor:
    return RawTensor(name, tensor.dtype, tensor.shape, tensor.data)


def _transposed(tensor: RawTensor) -> RawTensor:
    return RawTensor.from_bits(tensor.name, tensor.dtype, tensor.bits().T)
