"""The KV cache: keys and values of the tokens seen so far, in memory that is allocated once."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ContextOverflowError


class KVCache:
    """Keys and values of every layer for one batch of sequences of equal length.

    It belongs to the first model that reads into it; no other one takes it.

    Args:
        config: The model's shape.
        capacity: Tokens that fit.
        batch_size: Sequences side by side.
        dtype: Element type, the model's.
        device: Where the model's weights are.
        origin: Where in the text its first token stands; edits count positions from the text's start.
    """

    def __init__(
        self,
        config: GPTConfig,
        capacity: int,
        *,
        batch_size: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        origin: int = 0,
    ) -> None:
        shape = (2, config.num_layers, batch_size, config.num_kv_heads, capacity, config.head_dim)
        self._kv = torch.empty(shape, dtype=dtype, device=device)
        self.capacity = capacity
        self.length = 0
        self.origin = origin
        self._model: weakref.ref[nn.Module] | None = None  # no more than known: a cache keeps no model alive

    @property
    def model(self) -> nn.Module | None:
        """Whose keys and values it holds; None before any, and once that model is gone."""
        return None if self._model is None else self._model()

    def bind(self, model: nn.Module) -> None:
        """Says whose keys and values it holds from now on.

        Raises:
            ConfigError: It holds another model's.
        """
        if self._model is None:
            self._model = weakref.ref(model)
        elif self._model() is not model:
            raise ConfigError("the cache holds what another model has read", hint="each model needs a cache of its own")

    @property
    def nbytes(self) -> int:
        """Bytes held, used or not."""
        return self._kv.nbytes

    def append(self, layer: int, k_BKTC: Tensor, v_BKTC: Tensor) -> tuple[Tensor, Tensor]:
        """Writes one layer's new keys and values behind the cached ones.

        `length` moves only with `advance`, once every layer has appended.

        Returns:
            k_BKSC and v_BKSC: cached and new ones together (views, not copies).

        Raises:
            ContextOverflowError: They do not fit.
            ConfigError: They are those of another number of sequences, or of another shape of model.
        """
        _, layers, *cache_shape = (*self._kv.shape[:4], self._kv.shape[5])
        if layer >= layers or [*k_BKTC.shape[:2], k_BKTC.shape[3]] != cache_shape:
            raise ConfigError(
                f"the cache holds {layers} layers of (sequences, heads, channels) {tuple(cache_shape)}, "
                f"not layer {layer} of {(*k_BKTC.shape[:2], k_BKTC.shape[3])}"
            )
        end = self.length + k_BKTC.shape[2]
        if end > self.capacity:
            raise ContextOverflowError(end, self.capacity)
        keys, values = self._kv[0, layer], self._kv[1, layer]
        keys[:, :, self.length : end] = k_BKTC
        values[:, :, self.length : end] = v_BKTC
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, count: int) -> None:
        """Counts `count` more tokens as cached."""
        self.length += count

    def truncate(self, length: int) -> None:
        """Forgets every token from position `length` on.

        Raises:
            ValueError: `length` is negative or more than what is cached.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a cache of {self.length} tokens to {length}")
        self.length = length

    def fork(self) -> KVCache:
        """A copy that grows on its own."""
        copy = KVCache.__new__(KVCache)
        copy._kv = self._kv.clone()
        copy.capacity = self.capacity
        copy.length = self.length
        copy.origin = self.origin
        copy._model = self._model
        return copy
