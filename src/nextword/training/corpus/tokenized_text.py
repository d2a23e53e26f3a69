"""Documents -> token ids: the split, the windows, the batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ConfigError, TextError
from nextword.readable import counted
from nextword.tokens import END_OF_TEXT, Tokenizer
from nextword.training.corpus.text import Document

MINIMUM_CHARACTERS = 200

Ids = NDArray[np.int64]
Tokens = NDArray[np.integer[Any]]
"""Token ids as they are stored: a mapped file holds them in two or four bytes."""
Weights = NDArray[np.uint8]


def split_documents(documents: Sequence[Document], share: float) -> tuple[list[Document], list[Document]]:
    """Training and validation parts: the last `share` of every document's characters is held out.

    Raises:
        ConfigError: The share is not between 0 and 1.
    """
    require_share(share)
    train, held_out = [], []
    for document in documents:
        cut = int(len(document.text) * (1 - share))
        train.append(Document(document.name, document.text[:cut]))
        held_out.append(Document(document.name, document.text[cut:]))
    return [d for d in train if d.text], [d for d in held_out if d.text]


def require_share(share: float) -> None:
    """Refuses a share that would leave nothing to learn from, or nothing to be judged by.

    Raises:
        ConfigError: The share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ConfigError(f"validation is {share}, a share lies between 0 and 1", hint="0.1 holds out a tenth")


def require_enough(documents: Sequence[Document]) -> None:
    """Refuses a text from which nothing can be learned.

    Raises:
        TextError: There are fewer than 200 characters.
    """
    require_characters(sum(len(one.text) for one in documents), [one.name for one in documents])


def require_characters(characters: int, names: Sequence[str] = ()) -> None:
    """`require_enough` for a text that has been counted, in the sources of these names.

    Raises:
        TextError: There are fewer than 200 characters.
    """
    if characters < MINIMUM_CHARACTERS:
        some = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
        found = counted(characters, "characters") + (f" in {some}" if some else "")
        raise TextError(f"too little to learn from: {found}", hint=f"give at least {MINIMUM_CHARACTERS}")


def document_start(tokenizer: Tokenizer) -> list[int]:
    """What stands before a document: the token that the model was trained with there, or else one that ends a text.

    A chat model's first token may begin a message instead (`adds_bos` says so): it is no start of a document.
    """
    token = tokenizer.bos_id
    if token is not None and token != tokenizer.eos_id and not tokenizer.adds_bos:
        token = tokenizer.special_id(END_OF_TEXT)
    return [] if (token := tokenizer.eos_id if token is None else token) is None else [token]


@dataclass(frozen=True)
class TokenizedText:
    """Documents as one row of token ids, each document behind the start token (if there is one)."""

    tokens: Tokens
    """In memory (int64), or a file that is mapped into it (uint16 or uint32)."""
    characters: int
    bytes: int
    weights: Weights | None = None
    """Whether each token counts in the loss, 1 or 0; None: all do."""

    @classmethod
    def from_documents(cls, documents: Sequence[Document], tokenizer: Tokenizer) -> TokenizedText:
        """Encodes every document."""
        start = document_start(tokenizer)
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
    for windows in _side_by_side(tokens, window, batch_size):
        yield windows.astype(np.int64, copy=False)


def evaluation_weights(weights: Weights, window: int, batch_size: int) -> Iterator[Weights]:
    """The weights of the tokens in `evaluation_windows`, in the same arrays."""
    return _side_by_side(weights, window, batch_size)


def _side_by_side(values: NDArray[Any], window: int, batch_size: int) -> Iterator[NDArray[Any]]:
    starts = range(0, len(values) - 1, window)
    whole = [s for s in starts if s + window < len(values)]
    for i in range(0, len(whole), batch_size):
        yield _windows(values, whole[i : i + batch_size], window)
    if starts and (not whole or whole[-1] != starts[-1]):
        yield np.array(values[None, starts[-1] :])


def _windows(values: NDArray[Any], starts: Sequence[int], window: int) -> NDArray[Any]:
    """Copies of the values from each start on, [B, window + 1]."""
    return np.stack([values[s : s + window + 1] for s in starts])
