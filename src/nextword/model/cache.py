"""The KV cache: keys and values of the tokens seen so far, in memory that is allocated once."""

from __future__ import annotations

import torch
from torch import Tensor

from nextword.config import GPTConfig
from nextword.errors import ContextOverflowError


class KVCache:
    """Keys and values of every layer for one batch of sequences of equal length.

    Args:
        config: The model's shape.
        capacity: Tokens that fit.
        batch_size: Sequences side by side.
        dtype: Element type, the model's.
        device: Where the model's weights are.
    """

    def __init__(
        self,
        config: GPTConfig,
        capacity: int,
        *,
        batch_size: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (2, config.num_layers, batch_size, config.num_kv_heads, capacity, config.head_dim)
        self._kv = torch.empty(shape, dtype=dtype, device=device)
        self.capacity = capacity
        self.length = 0

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
        """
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
        return copy
