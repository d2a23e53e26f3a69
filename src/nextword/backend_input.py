"""What every backend is given: stored weights, chunks of tokens behind caches, and a tap that looks into the pass."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nextword.arguments import argument
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


class Tap(Protocol):
    """Sees named values of a forward pass, and may change them. `inspection.hook_names` has the names.

    The pass waits for it. A tap that runs the same model is refused, with a ConfigError; one that waits for another
    thread that does would wait for ever.
    """

    @property
    def names(self) -> Collection[str]:
        """The values that it wants; what nobody wants may never be computed."""
        ...

    def __call__(self, name: str, value: NDArray[Any], chunk: int) -> NDArray[Any] | None:
        """Takes a value of chunk number `chunk`, and gives back what the pass goes on with.

        Args:
            name: Which value it is.
            value: One row a token ([T, D], [T, H, C], ...; scores and patterns [H, T, S]), in an array of its own. The
                rows are those of the chunk, or, of `ln_final` and `logits`, of its last tokens if only theirs are
                computed.
            chunk: The number of the chunk.

        Returns:
            An array of the same shape that takes its place, or None if it stays as it is; what is the same to the last
            bit changes no bit of the logits.
        """
        ...


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
    _check_caches(backend, [len(chunk) for chunk in chunks], caches)
    size = backend.config.vocab_size
    for chunk in chunks:
        if not len(chunk) or not 0 <= min(chunk) <= max(chunk) < size:
            raise TextError(f"no tokens, or ids outside the vocabulary of {size}: {chunk[:8]}")


def check_residual(
    backend: CacheOwner, layer: int, rows_TD: Sequence[NDArray[Any]], caches: Sequence[Any]
) -> list[NDArray[Any]]:
    """The rows that a pass begins with at a block; refuses what cannot be run.

    Raises:
        ConfigError: There is no such block, rows have another width or are none, or a cache was not made by this
            backend, or serves two chunks.
        ContextOverflowError: A sequence becomes longer than its cache or the context.
    """
    config = backend.config
    if not 0 <= layer < config.num_layers:
        raise ConfigError(f"there is no layer {layer}", hint=f"layers are 0 to {config.num_layers - 1}")
    for rows in rows_TD:
        check_rows(rows, config.d_model)
        if not len(rows):
            raise ConfigError("a chunk has no rows")
    _check_caches(backend, [len(rows) for rows in rows_TD], caches)
    return [np.ascontiguousarray(rows) for rows in rows_TD]


def _check_caches(backend: CacheOwner, lengths: Sequence[int], caches: Sequence[Any]) -> None:
    config = backend.config
    if len(lengths) != len(caches) or len({id(cache) for cache in caches}) < len(caches):
        raise ConfigError("each chunk needs a cache of its own")
    for length, cache in zip(lengths, caches, strict=True):
        check_cache_owner(backend, cache)
        room = min(cache.capacity, config.context_length)
        if cache.length + length > room:
            raise ContextOverflowError(cache.length + length, room)


def check_weight(config: GPTConfig, name: str) -> None:
    """Refuses a weight that there is not; the head has one even where the embedding serves as it.

    Raises:
        ConfigError: The model has no weight of that name.
    """
    if name not in config.parameter_shapes() and name != "output_layer.weight":
        raise ConfigError(
            f"the model has no weight {name!r}", hint="weights are named like blocks.0.attn.out_proj.weight"
        )


def check_logits(logits: str) -> None:
    """Refuses what no pass can give.

    Raises:
        ConfigError: It is not `last`, `all` or `none`.
    """
    argument("logits", logits, Literal["last", "all", "none"])


def check_matrix(config: GPTConfig, name: str, x_NE: NDArray[Any]) -> None:
    """Refuses a matrix that there is not, and rows that it cannot multiply.

    Raises:
        ConfigError: The model has no such layer, or the rows have another width.
    """
    shape: tuple[int, ...] = (config.vocab_size, config.d_model)
    if name != "output_layer":
        shape = config.parameter_shapes().get(f"{name}.weight", ())
        if len(shape) != 2 or not name.startswith("blocks."):
            raise ConfigError(
                f"the model has no matrix {name!r}", hint="matrices are named like blocks.0.attn.out_proj"
            )
    check_rows(x_NE, shape[1])


def check_rows(x_NE: NDArray[Any], width: int) -> None:
    """Refuses what is no rows of `width` numbers.

    Raises:
        ConfigError: It has another shape.
    """
    if np.ndim(x_NE) != 2 or np.shape(x_NE)[1] != width:
        raise ConfigError(f"rows of shape {np.shape(x_NE)} are given, they must be [N, {width}]")


def check_tapped(name: str, result: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """What a tap gave back, as an array.

    Raises:
        ConfigError: It is no array of numbers of that shape.
    """
    array = np.asarray(result)
    if array.dtype.kind not in "fiub":
        raise ConfigError(f"a tap gave back {name} as {type(result).__name__}, it must be an array of numbers, or None")
    if array.shape != shape:
        raise ConfigError(f"a tap gave back {name} with shape {array.shape}, it must stay {shape}")
    return array
