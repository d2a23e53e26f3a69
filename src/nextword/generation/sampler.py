"""Draws the tokens of one text: in native code, or in NumPy where there is none; both are the pipeline of `Stages`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from nextword.engine import is_built
from nextword.generation.backend import Logits
from nextword.generation.sampling import Sampling, undrawable


class Sampler(Protocol):
    """Knows how tokens are chosen, and those that its text holds."""

    def draw(self, logits: Logits, rng: np.random.Generator) -> int:
        """The next token; one number is taken from `rng` unless the temperature is 0.

        Raises:
            ConfigError: The largest logit is not finite.
        """
        ...

    def accept(self, token: int) -> None:
        """The text grew by a token."""
        ...


def new_sampler(sampling: Sampling, token_ids: Iterable[int]) -> Sampler:
    """For a text that begins with these tokens."""
    return NativeSampler(sampling, token_ids) if is_built() else NumpySampler(sampling, token_ids)


class NativeSampler:
    """In native code: the same numbers decide on every machine."""

    def __init__(self, sampling: Sampling, token_ids: Iterable[int], kernels: str = "") -> None:
        from nextword.engine.sampler import native_sampler  # noqa: PLC0415  where it is built

        self._greedy = sampling.temperature == 0
        self._native = native_sampler(sampling, kernels)
        self._native.read(token_ids if isinstance(token_ids, list) else list(token_ids))
        self.accept = self._native.accept

    def draw(self, logits: Logits, rng: np.random.Generator) -> int:
        """As the protocol says."""
        try:
            return self._native.draw(logits, 0.0 if self._greedy else rng.random())
        except ValueError:
            raise undrawable() from None


class NumpySampler:
    """In NumPy, as it is read: the last bits of `np.exp` differ from one processor to another."""

    def __init__(self, sampling: Sampling, token_ids: Iterable[int]) -> None:
        self._sampling, self._token_ids, self._written = sampling, list(token_ids), list[int]()

    def draw(self, logits: Logits, rng: np.random.Generator) -> int:
        """As the protocol says."""
        return self._sampling.draw(logits, itertools.chain(self._token_ids, self._written), rng, self._written)

    def accept(self, token: int) -> None:
        """As the protocol says."""
        self._written.append(token)
