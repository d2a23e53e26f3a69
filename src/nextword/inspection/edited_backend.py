"""A backend whose passes follow edits, whatever runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from numpy.typing import NDArray

from nextword.backend_input import Tap, check_chunks, check_residual
from nextword.errors import ConfigError
from nextword.generation.backend import Backend, Logits
from nextword.inspection.edit_tap import ArrayEditTap
from nextword.inspection.edits import Edit
from nextword.inspection.hook_names import hook_shapes

_STEPWISE = ("hook_attn_scores", "hook_pattern", "hook_scale", "hook_normalized")


@dataclass
class EditedCache:
    """Keys and values that were computed under edits, which no pass without them may read."""

    inner: Any
    """The cache of the backend that runs the passes."""
    edits: tuple[Edit, ...]

    @property
    def length(self) -> int:
        """Tokens held."""
        return self.inner.length  # type: ignore[no-any-return]

    @property
    def capacity(self) -> int:
        """Tokens that fit."""
        return self.inner.capacity  # type: ignore[no-any-return]

    @property
    def origin(self) -> int:
        """Where in the text its first token stands."""
        return self.inner.origin  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return self.inner.nbytes  # type: ignore[no-any-return]

    def truncate(self, length: int) -> None:
        """Forgets every token from position `length` on."""
        self.inner.truncate(length)

    def fork(self) -> EditedCache:
        """A copy that grows on its own."""
        return EditedCache(self.inner.fork(), self.edits)


class EditedBackend:
    """Runs a model under edits; weights are those of the backend that it is made of, which stays as it is.

    Args:
        plain: What runs the passes.
        edits: The changes, which fit the model.

    Attributes:
        plain: The backend without the edits.
        edits: The changes.
    """

    def __init__(self, plain: Backend, edits: Sequence[Edit]) -> None:
        self.plain, self.edits = plain, tuple(edits)
        self.config, self.name, self.eps = plain.config, plain.name, plain.eps
        self.reason = f"{plain.reason}; the model is edited" if plain.reason else "the model is edited"
        # Where scores, pattern or a norm's parts change, the rest of their layer's chunk is computed step by step too.
        # What a function does may depend on which rows it sees.
        stepwise = any(edit.name.endswith(_STEPWISE) or edit.function is not None for edit in self.edits)
        self.bitwise_invariant = plain.bitwise_invariant and not stepwise

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the weights take."""
        return self.plain.nbytes

    @property
    def dtype(self) -> str:
        """The element type of most weights, as they are held."""
        return self.plain.dtype

    def __repr__(self) -> str:
        return f"<EditedBackend of {self.plain!r}>"

    def new_cache(self, capacity: int, origin: int = 0) -> EditedCache:
        """An empty cache for one sequence of up to `capacity` tokens, the first of them token `origin` of its text."""
        return EditedCache(self.plain.new_cache(capacity, origin), self.edits)

    def owns(self, cache: object) -> bool:
        """Whether the cache holds what this model has read, under these edits."""
        return isinstance(cache, EditedCache) and cache.edits == self.edits and self.plain.owns(cache.inner)

    def forward(
        self,
        chunks: Sequence[Sequence[int]],
        caches: Sequence[EditedCache],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[Logits]:
        """Runs each chunk of new tokens behind its cache, under the edits; see `Backend.forward`.

        The tap sees every value after its edits.
        """
        check_chunks(self, chunks, caches)
        starts = [cache.origin + cache.length for cache in caches]
        positions = [range(start, start + len(chunk)) for start, chunk in zip(starts, chunks, strict=True)]
        edits = self.edits if logits != "none" else self._edits_before(frozenset(() if tap is None else tap.names))
        edit_tap = ArrayEditTap(edits, positions, self._embeddings.__getitem__, self.config, tap)
        return self.plain.forward(chunks, [cache.inner for cache in caches], logits, edit_tap)

    def forward_from(
        self,
        layer: int,
        rows_TD: Sequence[NDArray[Any]],
        caches: Sequence[EditedCache],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[Logits]:
        """Runs each chunk from a block on, under the edits of what comes then; see `Backend.forward_from`.

        The rows are what the block reads: edits of its `resid_pre` are in them already.
        """
        check_residual(self, layer, rows_TD, caches)
        starts = [cache.origin + cache.length for cache in caches]
        positions = [range(start, start + len(rows)) for start, rows in zip(starts, rows_TD, strict=True)]
        edits = self.edits if logits != "none" else self._edits_before(frozenset(() if tap is None else tap.names))
        edits = [edit for edit in edits if edit.name != f"blocks.{layer}.hook_resid_pre"]
        edit_tap = ArrayEditTap(edits, positions, self._embeddings.__getitem__, self.config, tap)
        return self.plain.forward_from(layer, rows_TD, [cache.inner for cache in caches], logits, edit_tap)

    def unembed(
        self, rows_PD: NDArray[Any], tap: Tap | None = None, positions: Sequence[int] | None = None
    ) -> NDArray[Any]:
        """Rows of the residual stream through the final norm and the head, under the edits; see `Backend.unembed`.

        Args:
            rows_PD: The rows, [P, D].
            tap: Sees the values after their edits.
            positions: Where the rows stand in the text; edits that are made at some positions alone need them.

        Raises:
            ConfigError: An edit needs positions, and there are none.
        """
        edits = [edit for edit in self.edits if edit.name == "logits" or edit.name.startswith("ln_final.")]
        if positions is None and (bound := next((edit for edit in edits if edit.positions is not None), None)):
            raise ConfigError(f"{bound.name} is edited at some positions: which ones are read must be said")
        places = range(len(rows_PD)) if positions is None else positions
        return self.plain.unembed(
            rows_PD, ArrayEditTap(edits, [places], self._embeddings.__getitem__, self.config, tap)
        )

    def linear(self, name: str, x_NE: NDArray[Any]) -> NDArray[Any]:
        """What a weight matrix makes of rows, without its bias; see `Backend.linear`."""
        return self.plain.linear(name, x_NE)

    def weight(self, name: str, rows: Sequence[int] | None = None) -> NDArray[Any]:
        """The numbers of a weight, which edits leave as they are; see `Backend.weight`."""
        return self.plain.weight(name, rows)

    def _edits_before(self, names: frozenset[str]) -> list[Edit]:
        """The edits that the last of these values can depend on: a pass need not go on for the others."""
        order = list(hook_shapes(self.config, 1))
        known = [order.index(name) for name in names if name in order]
        return [edit for edit in self.edits if order.index(edit.name) <= max(known, default=-1)]

    @cached_property
    def _embeddings(self) -> dict[int, NDArray[Any]]:
        """The rows of the embedding that edits put in, as a pass reads them; read before one begins."""
        tokens = sorted({int(edit.value) for edit in self.edits if edit.action == "embed"})
        keep = _EmbeddingTap()
        self.plain.forward([[token] for token in tokens], [self.plain.new_cache(1) for _ in tokens], "none", keep)
        return {token: keep.rows[number] for number, token in enumerate(tokens)}


class _EmbeddingTap:
    """Keeps the embeddings of tokens, one a chunk."""

    names = ("hook_embed",)

    def __init__(self) -> None:
        self.rows: dict[int, NDArray[Any]] = {}

    def __call__(self, name: str, value: NDArray[Any], chunk: int) -> None:  # noqa: ARG002  a tap is told it
        self.rows[chunk] = value[0]
