"""What generation drives: anything that turns token ids into logits and remembers what it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nextword.backend_input import Tap
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

    @property
    def eps(self) -> float:
        """How far what a product adds up is rounded, relative to it: by the element type, or of rounded activations."""
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
        self,
        chunks: Sequence[Sequence[int]],
        caches: Sequence[Any],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[Logits]:
        """Runs each chunk of new tokens behind its cache.

        Args:
            chunks: New token ids, at least one a sequence; lengths may differ.
            caches: One per chunk; each grows by its chunk, unless no logits are wanted.
            logits: Only the last position's, all, or none: a pass then stops behind the last value that the tap wants.
            tap: Sees, and may change, named values of the passes. Without one, and with one that changes nothing, the
                logits are the same bits.

        Returns:
            Per chunk float32 logits, [V], [T_new, V] or [0, V].
        """
        ...

    def forward_from(
        self,
        layer: int,
        rows_TD: Sequence[NDArray[Any]],
        caches: Sequence[Any],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[Logits]:
        """Runs each chunk from a block on, behind its cache; see `forward`. No cache grows.

        Args:
            layer: The block.
            rows_TD: Per chunk the residual stream that the block reads, [T_new, D].
            caches: One per chunk, with the tokens before these.
            logits: Only the last position's, all, or none.
            tap: Sees, and may change, named values of this block and the later ones.

        Returns:
            Per chunk float32 logits, [V], [T_new, V] or [0, V].

        Raises:
            ConfigError: There is no such block, or rows have another width.
        """
        ...

    def unembed(self, rows_PD: NDArray[Any], tap: Tap | None = None) -> NDArray[Any]:
        """Rows of the residual stream through the final norm and the head, as `forward` reads the last block's.

        Args:
            rows_PD: The rows, [P, D].
            tap: Sees, and may change, the values of `ln_final` and the logits, of chunk 0.

        Returns:
            Logits, [P, V]: float32, or float64 of a model of that precision.
        """
        ...

    def linear(self, name: str, x_NE: NDArray[Any]) -> NDArray[Any]:
        """What a weight matrix makes of rows, without its bias, computed as the pass does it.

        Args:
            name: The layer, such as `blocks.3.attn.out_proj`.
            x_NE: The rows, [N, E].

        Returns:
            [N, D]: float32, or float64 of a model of that precision.

        Raises:
            ConfigError: The model has no such matrix.
        """
        ...

    def weight(self, name: str, rows: Sequence[int] | None = None) -> NDArray[Any]:
        """The numbers of a weight, or of some of its rows.

        Args:
            name: As in `config.parameter_shapes()`, such as `blocks.3.attn.out_proj.weight`. Of adapters beside it the
                sum counts.
            rows: Which; None is all.

        Returns:
            float32, or float64 of a model of that precision; quantised ones unpacked.

        Raises:
            ConfigError: The model has no such weight.
        """
        ...
