"""Windows of a tokenized text: in random order to learn from, side by side to be judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.training.corpus.tokenized_text import Tokens, Weights

Ids = NDArray[np.int64]


class Batches:
    """Windows of the training text in random order, every window once an epoch, cut at a fresh offset each epoch.

    The order depends only on `seed` and the number of the step, so that a run can go on where it stopped.

    Args:
        tokens: The training text.
        window: Tokens of one window (one more is read: the last one's next).
        batch_size: Windows a step.
        seed: Decides the order.
        weights: Of each token in the loss, if not all count alike.
    """

    def __init__(self, tokens: Tokens, window: int, batch_size: int, seed: int, weights: Weights | None = None) -> None:
        self._tokens = tokens
        self._weights = weights
        self._window = window
        self._batch_size = batch_size
        self._seed = seed
        self._per_epoch = max(1, (len(tokens) - 1) // window - 1) if len(tokens) >= 2 * window else 1
        self._epoch = -1
        self._starts: Ids = np.empty(0, np.int64)

    @property
    def window(self) -> int:
        """Tokens of one window."""
        return self._window

    @property
    def tokens_per_step(self) -> int:
        """Predictions a step."""
        return self._window * self._batch_size

    def batch(self, step: int) -> Ids:
        """The windows of a step, [batch_size, window + 1]."""
        return _windows(self._tokens, self._starts_of(step), self._window).astype(np.int64, copy=False)

    def batch_weights(self, step: int) -> Weights | None:
        """The weights of a step's tokens, [batch_size, window + 1], or None if all count."""
        return None if self._weights is None else _windows(self._weights, self._starts_of(step), self._window)

    def _starts_of(self, step: int) -> list[int]:
        first = step * self._batch_size
        return [self._start(i) for i in range(first, first + self._batch_size)]

    def _start(self, index: int) -> int:
        epoch, place = divmod(index, self._per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng((self._seed, epoch))
            room = len(self._tokens) - 1 - self._per_epoch * self._window
            self._starts = rng.permutation(self._per_epoch) * self._window + rng.integers(0, room + 1)
            self._epoch = epoch
        return int(self._starts[place])


def evaluation_windows(tokens: Tokens, window: int, batch_size: int) -> Iterator[Ids]:
    """Non-overlapping windows, each token predicted once: arrays [B, up to window + 1]; the last may be shorter."""
    for windows in _consecutive_windows(tokens, window, batch_size):
        yield windows.astype(np.int64, copy=False)


def evaluation_weights(weights: Weights, window: int, batch_size: int) -> Iterator[Weights]:
    """The weights of the tokens in `evaluation_windows`, in the same arrays."""
    return _consecutive_windows(weights, window, batch_size)


def _consecutive_windows(values: NDArray[Any], window: int, batch_size: int) -> Iterator[NDArray[Any]]:
    starts = range(0, len(values) - 1, window)
    whole = [s for s in starts if s + window < len(values)]
    for i in range(0, len(whole), batch_size):
        yield _windows(values, whole[i : i + batch_size], window)
    if starts and (not whole or whole[-1] != starts[-1]):
        yield np.array(values[None, starts[-1] :])


def _windows(values: NDArray[Any], starts: Sequence[int], window: int) -> NDArray[Any]:
    """Copies of the values from each start on, [B, window + 1]."""
    return np.stack([values[s : s + window + 1] for s in starts])
