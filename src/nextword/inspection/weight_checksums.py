"""Checksums of weights: what is computed from a trace later must be computed with the weights that ran."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nextword.errors import NextwordError
from nextword.generation.backend import Backend
from nextword.inspection.inspectable import gptmodel_of

if TYPE_CHECKING:
    from torch import Tensor

    from nextword.model import GPTModel

_READ_LATER = re.compile(r"(blocks\.\d+\.attn\.(out_proj|q_norm|k_norm)|ln_final|output_layer)\.")
"""What each head's result, the lens, attribution and turning queries are computed with."""
_SAMPLE = 1 << 14
"""Numbers of a matrix that are looked at: a checksum of all would take a good part of a forward pass."""
_BITS = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}
_PROBE = 16
"""Tokens of the text that tells one backend's weights from another's."""


@dataclass(frozen=True)
class WeightChecksum:
    """What tells whether a weight is as it was."""

    dtype: str
    crc32: int
    """Of the numbers, in a large matrix of a sample of them."""
    version: int
    """How often PyTorch has seen it written into, in this process."""


def checksum_weights(model: GPTModel, *, every: bool = False) -> dict[str, WeightChecksum]:
    """The checksums of every weight, or only of those that a trace is read with later, by their names."""
    named = model.named_parameters(remove_duplicate=False)
    return {name: _checksum(weight) for name, weight in named if every or _READ_LATER.match(name)}


def were_modified(checksums: Mapping[str, WeightChecksum], model: GPTModel, thoroughly: bool) -> bool:
    """Whether weights of a model were changed since the checksums of all were taken.

    Args:
        checksums: What `checksum_weights` gave with `every`.
        model: The model as it is now.
        thoroughly: Whether the numbers are looked at, too, which finds what went past PyTorch (`weight.data`).
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    if weights.keys() != checksums.keys():
        return True
    return any(
        _version(weight) != checksums[name].version or (thoroughly and _checksum(weight) != checksums[name])
        for name, weight in weights.items()
    )


def modified_weights(checksums: Mapping[str, WeightChecksum], model: GPTModel) -> list[str]:
    """The names of weights that are other numbers than when the checksums were taken, in any process.

    Weights that are held in another precision now are not told apart from the earlier ones.
    """
    now = checksum_weights(model)
    return [
        name
        for name, known in checksums.items()
        if name in now and now[name].dtype == known.dtype and now[name].crc32 != known.crc32
    ]


def fingerprint(backend: Backend) -> str:
    """What tells the weights and settings of a backend from others, in any process.

    Of torch it is the weights, as its logits' last bits depend on the machine; of all others the bits of some logits.
    """
    if (model := gptmodel_of(backend)) is not None:
        known = {name: [one.dtype, one.crc32] for name, one in checksum_weights(model, every=True).items()}
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    ids = [token % backend.config.vocab_size for token in range(min(_PROBE, backend.config.context_length))]
    [logits_TV] = backend.forward([ids], [backend.new_cache(len(ids))], "all")
    return hashlib.sha256(logits_TV.tobytes()).hexdigest()


def check_weights(checksums: Mapping[str, WeightChecksum], model: GPTModel, part: str) -> None:
    """Whether the weights of a part of the model are those of the checksums.

    Args:
        checksums: Those of the model when it ran; weights without a checksum are not looked at.
        model: The model as it is now.
        part: A module's name.

    Raises:
        NextwordError: They were written into, or replaced, since then.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    for name, known in checksums.items():
        if name.startswith(f"{part}.") and (name not in weights or _checksum(weights[name]) != known):
            raise NextwordError(
                f"the weights of {part} were changed after this trace was made",
                hint="trace the text again: what a trace computes later takes the weights that ran",
            )


def _checksum(weight: Tensor) -> WeightChecksum:
    import torch

    bits = weight.detach().reshape(-1).view(getattr(torch, _BITS[weight.element_size()]))
    step = -(-len(bits) // _SAMPLE)
    sample = bits[:: step + (step > 1 and step % 2 == 0)]  # an odd step meets every column of a matrix
    crc32 = zlib.crc32(sample.cpu().contiguous().numpy().tobytes())
    return WeightChecksum(str(weight.dtype).removeprefix("torch."), crc32, _version(weight))


def _version(weight: Tensor) -> int:
    return 0 if weight.is_inference() else weight._version
