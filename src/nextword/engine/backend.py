"""NativeBackend: the native forward pass behind the interface that generation drives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from nextword.backend_input import check_chunks
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

    def new_cache(self, capacity: int, origin: int = 0) -> Cache:  # noqa: ARG002  no edit counts positions here
        """An empty cache for one sequence of up to `capacity` tokens."""
        return self._model.new_cache(capacity, self.cache_format)

    def owns(self, cache: object) -> bool:
        """Whether it made this cache: another model's keys and values mean nothing to it."""
        return isinstance(cache, Cache) and self._model.owns(cache)

    def forward(
        self, chunks: Sequence[Sequence[int]], caches: Sequence[Cache], logits: Literal["last", "all"] = "last"
    ) -> list[NDArray[np.float32]]:
        """Runs each chunk of tokens behind its cache.

        Args:
            chunks: New token ids, at least one a sequence; lengths may differ.
            caches: One per chunk; each grows by its chunk.
            logits: Only the last position's, or all.

        Returns:
            Per chunk float32 logits, [V] or [T_new, V].

        Raises:
            ContextOverflowError: A sequence becomes longer than its cache or the context; no cache has grown then.
            TextError: A chunk is empty, or holds an id that is not in the vocabulary.
            ConfigError: A cache was not made by this backend, or two chunks have the same one.
            MemoryError: There is not enough memory; no cache has grown by the part that failed.
        """
        check_chunks(self, chunks, caches)
        arrays = [np.asarray(chunk, np.int32) for chunk in chunks]
        all_logits = logits == "all"
        outputs: list[list[NDArray[np.float32]]] = [[] for _ in chunks]
        for ubatch in _split_ubatches([len(array) for array in arrays]):
            ids = [arrays[i][start:end] for i, start, end in ubatch]
            rows = self._model.forward(ids, [caches[i] for i, _, _ in ubatch], all_logits)
            row = 0
            for i, start, end in ubatch:
                count = end - start if all_logits else 1
                outputs[i] = [*(outputs[i] if all_logits else ()), rows[row : row + count]]
                row += count
        if all_logits:
            return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in outputs]
        return [parts[0][0] for parts in outputs]


def _has_memory(copy: int) -> bool:
    """Whether a copy of so many bytes leaves enough; the system may give memory that it does not have."""
    free = machine_memory().free
    return free is None or free >= copy + SPARE_BYTES


def _split_ubatches(lengths: list[int]) -> list[list[tuple[int, int, int]]]:
    """Chunks in parts of at most UBATCH_TOKENS together: (chunk, start, end), in order."""
    ubatches: list[list[tuple[int, int, int]]] = [[]]
    remaining = UBATCH_TOKENS
    for i, length in enumerate(lengths):
        start = 0
        while start < length:
            if remaining == 0:
                ubatches.append([])
                remaining = UBATCH_TOKENS
            end = min(length, start + remaining)
            ubatches[-1].append((i, start, end))
            remaining -= end - start
            start = end
    return ubatches
