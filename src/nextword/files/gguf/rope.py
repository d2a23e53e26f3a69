"""Scaled rotary positions in GGUF: metadata for linear and yarn, a tensor of factors for llama3."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig, yarn_attention_factor
from nextword.errors import ModelFileError
from nextword.files.gguf.metadata import Metadata

FACTORS = "rope_freqs.weight"
"""The tensor that each rotary frequency is divided by."""

# What all published models with llama3's scaling have; a file does not say it, and only holds the factors.
_LOW, _HIGH = 1.0, 4.0
_ORIGINAL = 8192  # Llama 3's own
_USUAL = (8.0, 32.0, 16.0, 4.0, 2.0, 64.0)
# llama.cpp reads yarn's betas for other architectures than these, so that they must be the published ones.
_YARN_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}


def read_rope_scaling(
    metadata: Metadata, arch: str, head_dim: int, theta: float, factors: NDArray[np.float32] | None
) -> dict[str, Any] | None:
    """`GPTConfig.rope_scaling` as a file describes it.

    Args:
        metadata: The file's.
        arch: What the architecture's keys begin with.
        head_dim: Channels of a head.
        theta: Base of the rotary frequencies.
        factors: The tensor `rope_freqs.weight`, if the file has it.

    Raises:
        ModelFileError: Another kind of scaling, or factors that are not llama3's.
    """
    scaling = f"{arch}.rope.scaling"
    metadata.ignore(f"{scaling}.finetuned")
    kind = metadata.text(f"{scaling}.type", "linear")
    factor = metadata.number(f"{scaling}.factor", metadata.number(f"{arch}.rope.scale_linear", 0.0))
    usual = metadata.integer(f"{arch}.context_length") if kind == "yarn" else _ORIGINAL
    original = metadata.integer(f"{scaling}.original_context_length", usual)
    if kind not in ("none", "linear", "yarn"):
        raise ModelFileError(f"{metadata.source}: {scaling}.type {kind!r} is not supported")
    stretched = factor not in (0.0, 1.0) and kind != "none"
    result: dict[str, Any] | None = None
    if kind == "yarn" and stretched:
        result = _read_yarn(metadata, scaling, factor, original)
    else:
        result = {"rope_type": "linear", "factor": factor} if stretched else None
        metadata.expect(f"{scaling}.attn_factor", 1.0)
        metadata.pass_over("positions are not stretched by yarn", f"{scaling}.yarn_*")
    if factors is None:
        return result
    if result is not None:
        raise ModelFileError(f"{metadata.source}: {FACTORS} and {scaling}.type {kind} at once are not supported")
    return _read_llama3(metadata.source, head_dim, theta, original, factors)


def _read_yarn(metadata: Metadata, scaling: str, factor: float, original: int) -> dict[str, Any]:
    metadata.expect(f"{scaling}.yarn_ext_factor", 1.0)
    metadata.expect(f"{scaling}.yarn_attn_factor", 1.0)
    metadata.expect(f"{scaling}.yarn_log_multiplier", 0.0)
    for name, beta in _YARN_BETAS.items():
        metadata.expect(f"{scaling}.yarn_{name}", beta)
    if factor <= 0:
        raise ModelFileError(f"{metadata.source}: {scaling}.factor is {factor}, it must be above 0")
    attention_factor = yarn_attention_factor(factor)
    if (times := metadata.number(f"{scaling}.attn_factor", 1.0)) != 1.0:
        attention_factor = float(str(np.float32(times * attention_factor)))  # as exact as the 32-bit fraction is
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
        **_YARN_BETAS,
        "attention_factor": attention_factor,
    }


def _read_llama3(
    source: str, head_dim: int, theta: float, original: int, factors: NDArray[np.float32]
) -> dict[str, Any] | None:
    """Parameters that give these factors: the published ones if they do, or else what follows from the numbers."""
    if bool((factors == factors[0]).all()):  # every wave alike
        return None if factors[0] == 1 else {"rope_type": "linear", "factor": float(str(factors[0]))}
    with np.errstate(all="ignore"):  # numbers out of all proportion give no parameters that fit
        for factor, context in _candidates(head_dim, theta, original, factors.astype(np.float64)):
            parameters = {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": _LOW,
                "high_freq_factor": _HIGH,
                "original_max_position_embeddings": context,
            }
            possible = 1 <= factor < math.inf and context >= 1
            if possible and _fits(llama3_factors(head_dim, theta, parameters), factors):
                return parameters
    raise ModelFileError(
        f"{source}: {FACTORS} does not hold the llama3 scaling (low {_LOW}, high {_HIGH}) of any original context"
    )


def _fits(expected: NDArray[np.float64], found: NDArray[np.float32]) -> bool:
    return float(np.abs(expected / found - 1).max()) <= 1e-5


def _candidates(
    head_dim: int, theta: float, original: int, factors: NDArray[np.float64]
) -> Iterator[tuple[float, int]]:
    """(factor, original context) that may have made these factors, the likeliest first."""
    if not bool((factors > 0).all()):
        return
    for context in (original, _ORIGINAL):
        factor = _factor_of(head_dim, theta, context, factors)
        yield from ((round(factor, 2), context), (factor, context))  # found from a blend, it is not quite round
    # 1/factors is a straight line in the frequency where a wave is partly stretched: slope and height tell both.
    frequencies = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    inverse = 1 / factors
    partly = (inverse < 1) & (inverse > inverse.min())
    per_turn = 2 * math.pi * (_HIGH - _LOW)
    for line in (partly, inverse < 1):  # no wave need be stretched fully
        if line.sum() >= 2:
            slope, height = np.polyfit(frequencies[line], inverse[line], 1)
            kept = (1 - height) * (_HIGH - _LOW) / _HIGH  # 1 - 1/factor
            yield from _rounded(1 / (1 - kept), slope * per_turn / kept)
    largest = float(factors.max())
    waves = [(largest, int(at)) for at in np.flatnonzero(partly)]  # one is enough where another is stretched fully
    # None is: any original context does that has its borders between the same two waves. Or the last wave alone is, in
    # part: then several pairs do.
    waves += [(factor, int(np.argmax(factors))) for factor in (largest, *_USUAL)]
    for factor, at in waves:
        smooth = (inverse[at] - 1 / factor) / (1 - 1 / factor)
        yield from _rounded(factor, (smooth * (_HIGH - _LOW) + _LOW) * 2 * math.pi / float(frequencies[at]))


def _rounded(factor: float, original: float) -> Iterator[tuple[float, int]]:
    if math.isfinite(factor) and math.isfinite(original) and 0 < original < 1 << 40:
        exact = float(str(np.float32(factor)))
        for context in dict.fromkeys((round(original), math.floor(original))):
            yield from ((round(factor, 2), context), (exact, context))


def _factor_of(head_dim: int, theta: float, original: int, factors: NDArray[np.float64]) -> float:
    """How far the longest waves are stretched: fully, or as far as the blend with 1 allows. 0: no number does that."""
    slowest = int(np.argmax(factors))
    blend = float(_blend(head_dim, theta, original, _LOW, _HIGH)[slowest])
    rest = 1 / float(factors[slowest]) - blend  # 1/largest = blend + (1 - blend) / factor
    factor = float(str(np.float32((1 - blend) / rest))) if rest > 0 else 0.0
    return factor if math.isfinite(factor) else 0.0


def _blend(head_dim: int, theta: float, original: float, low: float, high: float) -> NDArray[np.float64]:
    """1 where a wave is kept, 0 where it is stretched fully."""
    frequencies = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    turns = original * frequencies / (2 * math.pi)
    return np.asarray(np.clip((turns - low) / (high - low), 0, 1))


def llama3_factors(head_dim: int, theta: float, scaling: Mapping[str, Any]) -> NDArray[np.float64]:
    """What each rotary frequency is divided by."""
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    blend = _blend(head_dim, theta, scaling["original_max_position_embeddings"], low, high)
    return np.asarray(1 / (blend + (1 - blend) / scaling["factor"]))


def is_expressible(scaling: Mapping[str, Any] | None, takes_factors: bool) -> bool:
    """Whether llama.cpp computes this `GPTConfig.rope_scaling`, for an architecture that takes factors or does not."""
    if scaling is None or scaling["rope_type"] == "linear":
        return True
    if scaling["rope_type"] == "llama3":
        return takes_factors and (scaling["low_freq_factor"], scaling["high_freq_factor"]) == (_LOW, _HIGH)
    return all(scaling[name] == beta for name, beta in _YARN_BETAS.items())


def rope_metadata(config: GPTConfig) -> dict[str, Any]:
    """What the metadata says of a config's scaling, without the architecture's name."""
    scaling = config.rope_scaling
    if scaling is None:
        return {}
    kind, factor = scaling["rope_type"], float(scaling["factor"])
    if kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": factor}
    original = {"rope.scaling.original_context_length": int(scaling["original_max_position_embeddings"])}
    if kind == "llama3":  # read back by this package; llama.cpp goes by the factors
        return original
    return {
        **original,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.attn_factor": scaling["attention_factor"] / yarn_attention_factor(factor),
    }
