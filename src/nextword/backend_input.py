"""What every backend is given: stored weights, and chunks of tokens behind caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ContextOverflowError, TextError


class StoredTensor(Protocol):
    """A tensor as a file reader hands it over: the name of the element type, the shape, the bytes."""

    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def data(self) -> memoryview: ...  # noqa: D102


class CacheOwner(Protocol):
    """A backend, as far as caches are concerned."""

    config: GPTConfig

    def owns(self, cache: Any) -> bool: ...  # noqa: D102


def check_cache_owner(backend: CacheOwner, cache: Any) -> None:
    """Refuses a cache that holds another model's keys and values, or those of other edits.

    Raises:
        ConfigError: The backend did not make it.
    """
    if not backend.owns(cache):
        raise ConfigError(
            "the cache holds what another model, or another edit of this one, has read",
            hint="a cache comes from the new_cache of the backend that reads into it; a Memory belongs to one model",
        )


def check_chunks(backend: CacheOwner, chunks: Sequence[Sequence[int]], caches: Sequence[Any]) -> None:
    """Refuses what cannot be run, before any cache has grown.

    Raises:
        ConfigError: A cache was not made by this backend, or serves two chunks.
        ContextOverflowError: A sequence becomes longer than its cache or the context.
        TextError: A chunk is empty, or holds an id that is not in the vocabulary.
    """
    config = backend.config
    if len(chunks) != len(caches) or len({id(cache) for cache in caches}) < len(caches):
        raise ConfigError("each chunk needs a cache of its own")
    for chunk, cache in zip(chunks, caches, strict=True):
        check_cache_owner(backend, cache)
        room = min(cache.capacity, config.context_length)
        if cache.length + len(chunk) > room:
            raise ContextOverflowError(cache.length + len(chunk), room)
        if not len(chunk) or not 0 <= min(chunk) <= max(chunk) < config.vocab_size:
            raise TextError(f"no tokens, or ids outside the vocabulary of {config.vocab_size}: {chunk[:8]}")
