"""What generation drives: anything that turns token ids into logits and remembers what it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nextword.config import GPTConfig

Logits = NDArray[np.float32]


class Cache(Protocol):
    """Keys and values of the tokens of one sequence."""

    @property
    def length(self) -> int:
        """Tokens held."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        ...

    def truncate(self, length: int) -> None:
        """Forgets every token from position `length` on."""
        ...

    def fork(self) -> Cache:
        """A copy that grows on its own."""
        ...


class Backend(Protocol):
    """A model that can be run; `model/` and `engine/` each provide one."""

    config: GPTConfig
    name: str
    reason: str
    """Why this backend was chosen, in words."""
    bitwise_invariant: bool
    """Whether logits are the same to the last bit whatever the batch, the chunking and the cache."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that its weights take."""
        ...

    @property
    def dtype(self) -> str:
        """The element type of most weights, as they are held: float32, bfloat16, or a quantised one such as Q4_1."""
        ...

    def new_cache(self, capacity: int, origin: int = 0) -> Any:
        """An empty cache for one sequence of up to `capacity` tokens.

        Its first token is token `origin` of the text, from whose start edits count positions.
        """
        ...

    def owns(self, cache: Any) -> bool:
        """Whether it made this cache; it takes no other."""
        ...

    def forward(
        self, chunks: Sequence[Sequence[int]], caches: Sequence[Any], logits: Literal["last", "all"] = "last"
    ) -> list[Logits]:
        """Runs each chunk of new tokens behind its cache: float32 logits, [V] or [T_new, V]."""
        ...
