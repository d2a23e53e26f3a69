"""The tap: how a forward pass can be looked into and changed.

At each named point the code says `x = tap_point(tap, "hook_resid_mid", x)`. A tap that stores captures the value; a tap
that returns another tensor edits it. The names are TransformerLens's.

What drives backends knows taps of arrays (`backend_input.Tap`): `ArrayTapAdapter` lets one of these see a torch pass.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

import torch
from torch import Tensor

from nextword import backend_input


class Tap(Protocol):
    """Anything that wants to see, or change, named values of a forward pass."""

    def wants(self, name: str) -> bool:
        """Whether the value of this name should be handed over (values that nobody wants may never be computed)."""
        ...

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        """Takes the value and gives back what the pass goes on with: the same object, or a new tensor.

        It must not write into `tensor`: an edit is recognised by being another object.
        """
        ...


class ScopedTap:
    """A tap that sees names under a prefix, so that a block need not know its own number."""

    def __init__(self, tap: Tap, prefix: str) -> None:
        self._tap = tap
        self._prefix = prefix

    def wants(self, name: str) -> bool:
        """Whether the outer tap wants the prefixed name."""
        return self._tap.wants(self._prefix + name)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:  # noqa: D102
        return self._tap(self._prefix + name, tensor)


def scope(tap: Tap | None, prefix: str) -> Tap | None:
    """`tap` with a prefix put before every name; None stays None."""
    return None if tap is None else ScopedTap(tap, prefix)


def tap_point(tap: Tap | None, name: str, tensor: Tensor) -> Tensor:
    """Hands `tensor` to the tap if it wants this name; without a tap, the identity."""
    if tap is None or not tap.wants(name):
        return tensor
    return tap(name, tensor)


class PassStoppedError(Exception):
    """Everything that is wanted of a pass has been seen: the rest of it need not be computed."""


class ArrayTapAdapter:
    """Lets a tap of arrays see, and change, the pass of one chunk, a batch of one.

    Args:
        tap: The tap of arrays.
        names: What it wants.
        chunk: The number of the chunk.
        stops: Whether to end the pass, with a PassStoppedError, once every value that is wanted has been seen.
    """

    def __init__(self, tap: backend_input.Tap, names: Set[str], chunk: int, *, stops: bool = False) -> None:
        self._tap, self._names, self._chunk = tap, names, chunk
        self._unseen = set(names) if stops else None

    def wants(self, name: str) -> bool:  # noqa: D102
        return name in self._names

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        """The value that the pass goes on with; the same object if the tap left every bit as it was.

        Raises:
            ConfigError: What the tap gave back has another shape.
            PassStoppedError: This was the last value that is wanted.
        """
        exact = torch.promote_types(tensor.dtype, torch.float32)
        given = tensor[0].detach().to("cpu", exact, copy=True, memory_format=torch.contiguous_format).numpy()
        result = self._tap(name, given, self._chunk)
        if result is not None:
            result = backend_input.check_tapped(name, result, tuple(tensor.shape[1:]))
        if self._unseen is not None:
            self._unseen.discard(name)
            if not self._unseen:
                raise PassStoppedError
        if result is None:
            return tensor
        changed = torch.tensor(result, dtype=tensor.dtype, device=tensor.device)[None]
        return tensor if _same_bits(changed, tensor) else changed


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
