"""Rotary positions: queries and keys turned by an angle that grows with their place.

Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding"; the llama3 scaling is the one
published with Llama 3.1; yarn: Peng et al. 2023, "YaRN: Efficient Context Window Extension of Large Language Models".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nextword.config import GPTConfig


def inverse_frequencies(config: GPTConfig) -> Tensor:
    """Angle per position of each rotating pair of channels, [C/2], float64: `theta ** (-2c / C)`, scaled if asked."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    frequencies = torch.pow(torch.tensor(config.rope_theta, dtype=torch.float64), -exponents)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling["rope_type"] == "linear":
        return frequencies / float(scaling["factor"])
    if scaling["rope_type"] == "yarn":
        return _yarn_frequencies(config, frequencies)
    # llama3: long wavelengths are stretched by `factor`, short ones kept, those between blended.
    factor, low, high = (float(scaling[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    turns = (
        float(scaling["original_max_position_embeddings"]) * frequencies / (2 * math.pi)
    )  # full turns in the old context
    blend = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (blend + (1 - blend) / factor)


def _yarn_frequencies(config: GPTConfig, frequencies: Tensor) -> Tensor:
    """Fast pairs are kept, slow ones slowed by `factor`.

    Fast is what turns more than `beta_fast` times in the old context, slow what turns less than `beta_slow` times;
    those between are blended linearly, by their number.
    """
    scaling = config.rope_scaling or {}
    old_context, C = float(scaling["original_max_position_embeddings"]), config.head_dim

    def pair_that_turns(times: float) -> float:
        return C * math.log(old_context / (times * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    first = max(math.floor(pair_that_turns(scaling["beta_fast"])), 0)
    last = min(math.ceil(pair_that_turns(scaling["beta_slow"])), C - 1)
    width = last - first or 0.001  # the published code's way round a division by zero
    slowed = ((torch.arange(C // 2, dtype=torch.float64) - first) / width).clamp(0, 1)
    return frequencies * (1 - slowed + slowed / float(scaling["factor"]))


class Rotary:
    """Tables of cosines and sines, made once per precision and device for the positions that are reached."""

    def __init__(self, config: GPTConfig) -> None:
        self._frequencies = inverse_frequencies(config)
        self._interleaved = config.rope_layout == "interleaved"
        self._stretch = float((config.rope_scaling or {}).get("attention_factor", 1.0))
        self._tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def at(self, start: int, count: int, x: Tensor) -> Rotation:
        """The rotation of positions `start` to `start + count - 1`, for tensors of `x`'s precision and device."""
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        cos, sin = self._tables.get((dtype, x.device), (torch.empty(0), torch.empty(0)))
        if len(cos) < start + count:
            length = 1 << (start + count - 1).bit_length()  # the next power of two: seldom made anew
            with torch.inference_mode(False):  # a later pass may want gradients, which inference tensors refuse
                # One row a position, one column a rotating pair; angles in float64, whatever the model computes in.
                angles = torch.outer(torch.arange(length, dtype=torch.float64), self._frequencies)
                cos, sin = self._stretch * angles.cos(), self._stretch * angles.sin()
                pairs = (cos, cos), (-sin, sin)  # what the first and the second channel of a pair are multiplied by
                both = (torch.stack(p, -1).flatten(1) if self._interleaved else torch.cat(p, -1) for p in pairs)
                cos, sin = (table.to(x.device, dtype) for table in both)
            self._tables[dtype, x.device] = (cos, sin)
        return Rotation(cos[start : start + count, None], sin[start : start + count, None], self._interleaved)


class Rotation:
    """The turn of T consecutive positions; cosines and signed sines are [T, 1, C], one of each for every channel."""

    def __init__(self, cos: Tensor, sin: Tensor, interleaved: bool) -> None:
        self._cos, self._sin, self._interleaved = cos, sin, interleaved

    def __call__(self, x_BTHC: Tensor) -> Tensor:
        """Turns each pair of channels; works in float32 at least, gives back `x`'s own precision."""
        x = x_BTHC.to(self._cos.dtype)
        # A pair (a, b) becomes (a cos - b sin, b cos + a sin): each channel times cos, its partner times signed sin.
        half = x.shape[-1] // 2
        partner = x.reshape(*x.shape[:-1], half, 2).flip(-1).flatten(-2) if self._interleaved else x.roll(half, -1)
        turned = x * self._cos + partner * self._sin
        return turned.to(x_BTHC.dtype)
