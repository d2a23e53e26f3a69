"""Documents -> token ids: the split, the windows, the batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ConfigError, TextError
from nextword.tokens import Tokenizer
from nextword.training.text import Document

MINIMUM_CHARACTERS = 200

Tokens = NDArray[np.int64]


def split_documents(documents: Sequence[Document], share: float) -> tuple[list[Document], list[Document]]:
    """Training and validation parts: the last `share` of every document's characters is held out.

    Raises:
        ConfigError: The share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ConfigError(f"validation is {share}, a share lies between 0 and 1", hint="0.1 holds out a tenth")
    train, held_out = [], []
    for document in documents:
        cut = int(len(document.text) * (1 - share))
        train.append(Document(document.name, document.text[:cut]))
        held_out.append(Document(document.name, document.text[cut:]))
    return [d for d in train if d.text], [d for d in held_out if d.text]


def require_enough(documents: Sequence[Document]) -> None:
    """Refuses a text from which nothing can be learned.

    Raises:
        TextError: There are fewer than 200 characters.
    """
    characters = sum(len(document.text) for document in documents)
    if characters < MINIMUM_CHARACTERS:
        raise TextError(
            f"{characters} characters are too little to learn from", hint=f"give at least {MINIMUM_CHARACTERS}"
        )


@dataclass(frozen=True)
class TokenizedText:
    """Documents as one row of token ids, each document behind the start token (if there is one)."""

    tokens: Tokens
    characters: int
    bytes: int

    @classmethod
    def from_documents(cls, documents: Sequence[Document], tokenizer: Tokenizer) -> TokenizedText:
        """Encodes every document."""
        start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        parts = [np.array(start + ids, np.int64) for ids in tokenizer.encode_batch([d.text for d in documents])]
        return cls(
            np.concatenate(parts) if parts else np.empty(0, np.int64),
            sum(len(document.text) for document in documents),
            sum(len(document.text.encode()) for document in documents),
        )


class Batches:
    """Windows of the training text in random order, every window once an epoch, cut at a fresh offset each epoch.

    The order depends only on `seed` and the number of the step, so that a run can go on where it stopped.

    Args:
        tokens: The training text.
        window: Tokens of one window (one more is read: the last one's next).
        batch_size: Windows a step.
        seed: Decides the order.
    """

    def __init__(self, tokens: Tokens, window: int, batch_size: int, seed: int) -> None:
        self._tokens = tokens
        self._window = window
        self._batch_size = batch_size
        self._seed = seed
        self._per_epoch = max(1, (len(tokens) - 1) // window - 1) if len(tokens) >= 2 * window else 1
        self._epoch = -1
        self._starts: Tokens = np.empty(0, np.int64)

    @property
    def tokens_per_step(self) -> int:
        """Predictions a step."""
        return self._window * self._batch_size

    def batch(self, step: int) -> Tokens:
        """The windows of a step, [batch_size, window + 1]."""
        first = step * self._batch_size
        starts = [self._start(i) for i in range(first, first + self._batch_size)]
        return np.stack([self._tokens[s : s + self._window + 1] for s in starts])

    def _start(self, index: int) -> int:
        epoch, place = divmod(index, self._per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng((self._seed, epoch))
            room = len(self._tokens) - 1 - self._per_epoch * self._window
            self._starts = rng.permutation(self._per_epoch) * self._window + rng.integers(0, room + 1)
            self._epoch = epoch
        return int(self._starts[place])


def evaluation_windows(tokens: Tokens, window: int, batch_size: int) -> Iterator[Tokens]:
    """Non-overlapping windows, each token predicted once: arrays [B, up to window + 1]; the last may be shorter."""
    starts = range(0, len(tokens) - 1, window)
    whole = [s for s in starts if s + window < len(tokens)]
    for i in range(0, len(whole), batch_size):
        yield np.stack([tokens[s : s + window + 1] for s in whole[i : i + batch_size]])
    if starts and (not whole or whole[-1] != starts[-1]):
        yield tokens[None, starts[-1] :]
