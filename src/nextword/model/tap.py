"""The tap: how a forward pass can be looked into and changed.

At each named point the code says `x = tap_point(tap, "hook_resid_mid", x)`. A tap that stores captures the value; a tap
that returns another tensor edits it. The names are TransformerLens's.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


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
