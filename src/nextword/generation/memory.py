"""What a model has read, kept from one text to the next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nextword.backend_input import check_cache_owner
from nextword.generation.backend import Backend


@dataclass
class Memory:
    """What a model has read, kept from one text to the next: a prompt that begins likewise is read on from there.

    It belongs to one backend, and to one text at a time.
    """

    ids: list[int] = field(default_factory=list)
    """The tokens in the cache."""
    cache: Any = None
    capacity: int = 0
    origin: int = 0
    """Where in its text the first token in the cache stands: beyond 0 once the window has slid."""
    draft: Memory | None = None
    """What the draft model has read."""

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        """A copy, or another process, begins with nothing: what was read belongs to this backend, and is read again."""
        return Memory, ()

    def of_draft(self, backend: Backend) -> Memory:
        """What a draft model has read of the same texts; nothing if it was another one."""
        if self.draft is None or (self.draft.cache is not None and not backend.owns(self.draft.cache)):
            self.draft = Memory()
        return self.draft

    def reuse_prefix(self, backend: Backend, ids: Sequence[int], capacity: int, *, reset: bool = False) -> list[int]:
        """Keeps what `ids` share with what was read; those that are still to be read, at least the last one.

        With `reset` nothing is kept.

        Raises:
            ConfigError: It is another backend's memory; it stays as it is.
        """
        if self.cache is not None:
            check_cache_owner(backend, self.cache)
        if self.cache is None or capacity > self.capacity:
            if self.cache is not None:  # it will grow further
                capacity = min(2 * capacity, backend.config.context_length)
            self.capacity = capacity
            self.restart(backend)
        elif self.origin:
            self.restart(backend)
        shared = 0 if reset else self.common_prefix_length(ids)
        self.truncate(shared)
        return list(ids[shared:])

    def restart(self, backend: Backend, origin: int = 0) -> None:
        """Forgets every token; the next one to be read is token `origin` of its text."""
        self.ids, self.cache, self.origin = [], backend.new_cache(self.capacity, origin), origin

    def common_prefix_length(self, ids: Sequence[int]) -> int:
        """How many tokens a text has in common with what was read, from the start on, its last one aside."""
        pairs = zip(self.ids, ids[:-1], strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    def truncate(self, start: int) -> None:
        """Forgets every token from position `start` on."""
        del self.ids[start:]
        self.cache.truncate(start)
