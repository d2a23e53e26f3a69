"""What every backend is given: stored weights, and chunks of tokens behind caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nextword.config import GPTConfig
from nextword.errors import ContextOverflowError, TextError


class StoredTensor(Protocol):
    """A tensor as a file reader hands it over: the name of the element type, the shape, the bytes."""

    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def data(self) -> memoryview: ...  # noqa: D102


class BoundedCache(Protocol):
    """A cache that knows its bound."""

    @property
    def length(self) -> int: ...  # noqa: D102
    @property
    def capacity(self) -> int: ...  # noqa: D102


def check_chunks(config: GPTConfig, chunks: Sequence[Sequence[int]], caches: Sequence[BoundedCache]) -> None:
    """Refuses what cannot be run, before any cache has grown.

    Raises:
        ContextOverflowError: A sequence becomes longer than its cache or the context.
        TextError: A chunk is empty, or holds an id that is not in the vocabulary.
    """
    for chunk, cache in zip(chunks, caches, strict=True):
        room = min(cache.capacity, config.context_length)
        if cache.length + len(chunk) > room:
            raise ContextOverflowError(cache.length + len(chunk), room)
        if not len(chunk) or not 0 <= min(chunk) <= max(chunk) < config.vocab_size:
            raise TextError(f"no tokens, or ids outside the vocabulary of {config.vocab_size}: {chunk[:8]}")
