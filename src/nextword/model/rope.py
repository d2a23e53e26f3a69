"""Rotary positions: queries and keys turned by an angle that grows with their place."""

from __future__ import annotations

import torch
from torch import Tensor

from nextword.config import GPTConfig
from nextword.rope import inverse_frequencies, rope_attention_factor


class RotaryEmbedding:
    """Tables of cosines and sines, made once per precision and device for the positions that are reached."""

    def __init__(self, config: GPTConfig) -> None:
        self._frequencies = torch.from_numpy(inverse_frequencies(config))
        self._interleaved = config.rope_layout == "interleaved"
        self._attention_factor = rope_attention_factor(config)
        self._tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def rotation_at(self, start: int, count: int, x: Tensor) -> Rotation:
        """The rotation of positions `start` to `start + count - 1`, for tensors of `x`'s precision and device."""
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        cos, sin = self._tables.get((dtype, x.device), (torch.empty(0), torch.empty(0)))
        if len(cos) < start + count:
            length = 1 << (start + count - 1).bit_length()  # the next power of two: seldom made anew
            with torch.inference_mode(False):  # a later pass may want gradients, which inference tensors refuse
                # One row a position, one column a rotating pair; angles in float64, whatever the model computes in.
                angles = torch.outer(torch.arange(length, dtype=torch.float64), self._frequencies)
                cos, sin = self._attention_factor * angles.cos(), self._attention_factor * angles.sin()
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
        rotated = x * self._cos + partner * self._sin
        return rotated.to(x_BTHC.dtype)
