"""NativeBackend: the native forward pass behind the interface that generation drives."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from nextword.backend_input import (
    Tap,
    check_chunks,
    check_logits,
    check_matrix,
    check_residual,
    check_rows,
    check_tapped,
    check_weight,
)
from nextword.config import GPTConfig
from nextword.engine._native import Cache, Model
from nextword.engine.kernels import select_kernels
from nextword.engine.weights import FLOAT_NAMES, DequantizableTensor, native_weights
from nextword.errors import ConfigError
from nextword.machine.memory import machine_memory
from nextword.machine.processors import check_threads, default_threads
from nextword.rope import inverse_frequencies, rope_attention_factor
from nextword.settings import Activations, CacheFormat

UBATCH_TOKENS = 256
"""Tokens of one native call (llama.cpp's n_ubatch): Ctrl-C is heard between two, and activations take little memory."""

_ACTIVATION_EPS = {"float32": 2.0**-23, "int16": 2.0**-15, "int8": 2.0**-7}

SPARE_BYTES = 64 << 20
"""What a packed copy of the weights leaves of the free memory, at least: for caches, activations, logits."""


class NativeBackend:
    """Runs a model in native code, without torch.

    A token's logits are the same to the last bit whatever is in the batch, however its text was cut into chunks, and
    whatever was cached.

    Args:
        config: The architecture.
        tensors: Its weights as a file holds them (names as `config.parameter_shapes()`, checked against it). Quantised
            ones are computed with as they are.
        reason: Why this backend was chosen, in words.
        threads: How many; None is NEXTWORD_THREADS, or one a performance core.
        kernels: `avx512vnni`, `avx512`, `avx2`, `neon` or `portable`; empty is NEXTWORD_KERNELS, or the best that there
            is.
        activations: What quantised weights meet: the activations themselves, or these rounded to 16 or 8 bits for every
            32 of them. Weights that are floats meet float32.
        cache_format: How keys and values are kept; `float16` and `int8` take a half and a quarter of the memory.

    Raises:
        ConfigError: The threads or kernels are not to be had here.
    """

    name = "native"
    bitwise_invariant = True

    def __init__(
        self,
        config: GPTConfig,
        tensors: Mapping[str, DequantizableTensor],
        reason: str = "",
        *,
        threads: int | None = None,
        kernels: str = "",
        activations: Activations = "int16",
        cache_format: CacheFormat = "float32",
    ) -> None:
        self.config = config
        self.cache_format = cache_format
        rotary = config.position == "rotary"
        matrices, vectors = native_weights(config, tensors)
        self.nbytes = sum(data.nbytes for _, data in matrices.values()) + sum(data.nbytes for data in vectors.values())
        [(kind, _)] = Counter(kind for kind, _ in matrices.values()).most_common(1)
        self.dtype = FLOAT_NAMES.get(kind, kind)
        count = default_threads() if threads is None else check_threads(threads)
        instructions = select_kernels(kernels)
        try:
            self._model = Model(
                config.to_dict(),
                matrices,
                vectors,
                inverse_frequencies(config) if rotary else np.empty(0),
                rope_attention_factor(config),
                [rotary and layer not in config.no_rope_layers for layer in range(config.num_layers)],
                [window or 0 for window in config.layer_windows or (None,) * config.num_layers],
                count,
                instructions,
                activations,
                _has_memory(self.nbytes),
            )
        except RuntimeError as error:
            raise ConfigError(str(error), hint="ask for fewer threads, or set NEXTWORD_THREADS") from None
        self._tensors = tensors
        rounded = self.dtype not in FLOAT_NAMES.values()
        self.eps = _ACTIVATION_EPS[activations] if rounded else float(np.finfo(np.float32).eps)
        self._tapped: set[int] = set()
        if not self._model.is_packed:
            reason += f"; no memory for a copy of {-(-self.nbytes // 10**6):,} MB that is read faster"
        self.reason = reason

    @property
    def kernels(self) -> str:
        """The instruction set in use."""
        return self._model.kernels

    @property
    def threads(self) -> int:
        """Threads in use."""
        return self._model.threads

    def __reduce__(self) -> NoReturn:
        raise ConfigError(
            "a model on the native backend cannot be copied or sent to another process",
            hint='load it there: nextword.load(path); with backend="torch" it can be copied and sent',
        )

    def __repr__(self) -> str:
        return f"<NativeBackend {self.kernels}, {self.threads} threads: {self.reason}>"

    def new_cache(self, capacity: int, origin: int = 0) -> Cache:
        """An empty cache for one sequence of up to `capacity` tokens, the first of them token `origin` of its text."""
        cache = self._model.new_cache(capacity, self.cache_format)
        cache.origin = origin
        return cache

    def owns(self, cache: object) -> bool:
        """Whether it made this cache: another model's keys and values mean nothing to it."""
        return isinstance(cache, Cache) and self._model.owns(cache)

    def forward(
        self,
        chunks: Sequence[Sequence[int]],
        caches: Sequence[Cache],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[NDArray[np.float32]]:
        """Runs each chunk of tokens behind its cache.

        Args:
            chunks: New token ids, at least one a sequence; lengths may differ.
            caches: One per chunk; each grows by its chunk.
            logits: Only the last position's, all, or none: then the pass ends behind the last value that the tap wants,
                and no cache grows.
            tap: Sees named values on the way, and may change them; one that changes nothing changes no bit.

        Returns:
            Per chunk float32 logits, [V], [T_new, V] or [0, V].

        Raises:
            ContextOverflowError: A sequence becomes longer than its cache or the context; no cache has grown then.
            TextError: A chunk is empty, or holds an id that is not in the vocabulary.
            ConfigError: A cache was not made by this backend, two chunks have the same one, or a tap of it asks.
            MemoryError: There is not enough memory; no cache has grown by the part that failed.
        """
        check_logits(logits)
        check_chunks(self, chunks, caches)
        self._refuse_own_tap()
        if logits == "none" and not (tap is not None and tap.names):
            return [np.empty((0, self.config.vocab_size), np.float32) for _ in chunks]
        arrays = [np.asarray(chunk, np.int32) for chunk in chunks]
        outputs: list[list[NDArray[np.float32]]] = [[] for _ in chunks]
        for ubatch in _split_ubatches([len(array) for array in arrays], whole=tap is not None):
            ids = [arrays[i][start:end] for i, start, end in ubatch]
            seen = None if tap is None else self._part_of(tap, [i for i, _, _ in ubatch])
            rows = self._model.forward(ids, [caches[i] for i, _, _ in ubatch], logits, seen)
            row = 0
            for i, start, end in ubatch:
                count = {"last": 1, "all": end - start, "none": 0}[logits]
                outputs[i] = [*(outputs[i] if logits == "all" else ()), rows[row : row + count]]
                row += count
        if logits == "last":
            return [parts[0][0] for parts in outputs]
        return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in outputs]

    def forward_from(
        self,
        layer: int,
        rows_TD: Sequence[NDArray[np.float32]],
        caches: Sequence[Cache],
        logits: Literal["last", "all", "none"] = "last",
        tap: Tap | None = None,
    ) -> list[NDArray[np.float32]]:
        """Runs each chunk from a block on, behind its cache, which does not grow; see `Backend.forward_from`.

        Logits are those of the whole pass to the bit, if the rows are.
        """
        check_logits(logits)
        arrays = [np.asarray(rows, np.float32) for rows in check_residual(self, layer, rows_TD, caches)]
        self._refuse_own_tap()
        if logits == "none" and not (tap is not None and tap.names):
            return [np.empty((0, self.config.vocab_size), np.float32) for _ in arrays]
        results: list[NDArray[np.float32]] = []
        for ubatch in _split_ubatches([len(array) for array in arrays], whole=True):
            numbers = [i for i, _, _ in ubatch]
            seen = None if tap is None else self._part_of(tap, numbers)
            rows = self._model.forward_from(
                layer, [arrays[i] for i in numbers], [caches[i] for i in numbers], logits, seen
            )
            if logits == "last":
                results += list(rows)
            else:
                ends = np.cumsum([len(arrays[i]) if logits == "all" else 0 for i in numbers])
                results += np.split(rows, ends[:-1])
        return results

    def unembed(self, rows_PD: NDArray[np.float32], tap: Tap | None = None) -> NDArray[np.float32]:
        """The logits of rows of the residual stream, [P, V]: final norm and head, as at the end of `forward`.

        Args:
            rows_PD: The rows, [P, D].
            tap: Sees `ln_final` and `logits`, of chunk 0.
        """
        check_rows(rows_PD, self.config.d_model)
        self._refuse_own_tap()
        seen = None if tap is None else self._part_of(tap, [0])
        return self._model.unembed(np.ascontiguousarray(rows_PD, np.float32), seen)

    def linear(self, name: str, x_NE: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows through one of the model's matrices, without its bias, as the pass computes it: [N, E] -> [N, D].

        Args:
            name: Which, such as `blocks.3.attn.out_proj`.
            x_NE: The rows.

        Raises:
            ConfigError: The model has no such matrix, or its rows have another width.
        """
        check_matrix(self.config, name, x_NE)
        self._refuse_own_tap()
        return self._model.linear(name, np.ascontiguousarray(x_NE, np.float32))

    def weight(self, name: str, rows: Sequence[int] | None = None) -> NDArray[np.float32]:
        """The numbers of a weight, or of some of its rows, as the file holds them; see `Backend.weight`."""
        check_weight(self.config, name)
        tied = self.config.tie_embeddings and name == "output_layer.weight"
        tensor = self._tensors["token_embedding.weight" if tied else name]
        return np.asarray((tensor if rows is None else tensor.rows(rows)).values(), np.float32)

    def _part_of(self, tap: Tap, chunks: Sequence[int]) -> _PartTap:
        return _PartTap(tap, chunks, self._tapped)

    def _refuse_own_tap(self) -> None:
        """A pass that waits for its tap cannot wait for another pass meanwhile."""
        if threading.get_ident() in self._tapped:
            raise ConfigError(
                "a tap, or an edit's function, cannot run the model that it looks into",
                hint="run what it needs before; another model, loaded beside it, may run",
            )


class _PartTap:
    """Hands on the values of some of the chunks, by the numbers that they have among all.

    Args:
        tap: Whom to.
        chunks: Their numbers.
        tapped: Threads that are in a tap of this model; this one is while it is called.
    """

    def __init__(self, tap: Tap, chunks: Sequence[int], tapped: set[int]) -> None:
        self._tap, self._chunks, self._tapped = tap, chunks, tapped
        self.names = tap.names

    def __call__(self, name: str, value: NDArray[np.float32], chunk: int) -> NDArray[np.float32] | None:
        thread = threading.get_ident()
        self._tapped.add(thread)
        try:
            changed = self._tap(name, value, self._chunks[chunk])
        finally:
            self._tapped.discard(thread)
        return None if changed is None else np.ascontiguousarray(check_tapped(name, changed, value.shape), np.float32)


def _has_memory(copy: int) -> bool:
    """Whether a copy of so many bytes leaves enough; the system may give memory that it does not have."""
    free = machine_memory().free
    return free is None or free >= copy + SPARE_BYTES


def _split_ubatches(lengths: list[int], whole: bool = False) -> list[list[tuple[int, int, int]]]:
    """Chunks in parts of at most UBATCH_TOKENS together: (chunk, start, end), in order.

    A tap is shown `whole` chunks: one that is longer makes a part of its own.
    """
    ubatches: list[list[tuple[int, int, int]]] = [[]]
    remaining = UBATCH_TOKENS
    for i, length in enumerate(lengths):
        start = 0
        while start < length:
            if remaining <= 0 or (whole and ubatches[-1] and length > remaining):
                ubatches.append([])
                remaining = UBATCH_TOKENS
            end = length if whole else min(length, start + remaining)
            ubatches[-1].append((i, start, end))
            remaining -= end - start
            start = end
    return ubatches
