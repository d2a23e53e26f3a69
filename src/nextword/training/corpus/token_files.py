"""Token ids on disk: written as they come, and mapped into memory to be read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from nextword.errors import ModelFileError
from nextword.training.corpus.tokenized_text import Tokens, Weights

Loose = Sequence[int] | np.ndarray[Any, Any]


def token_type(vocab_size: int) -> np.dtype[Any]:
    """How ids are stored: two bytes, little-endian, where they are enough, else four."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


class TokenWriter:
    """Writes token ids to `NAME.tokens` in a directory and, if they have weights, those to `NAME.weights`.

    Use it as a context manager. Nothing is synced: that is up to whoever makes the directory whole
    (`files.atomic.replace_directory`).

    Args:
        directory: Where the files go.
        name: Of the files.
        vocab_size: Every id is below it.
        weighted: Whether each token has a weight.
    """

    def __init__(self, directory: Path, name: str, vocab_size: int, *, weighted: bool = False) -> None:
        self._type = token_type(vocab_size)
        self._stack = ExitStack()
        self._tokens = self._stack.enter_context((directory / f"{name}.tokens").open("wb"))
        self._weights = self._stack.enter_context((directory / f"{name}.weights").open("wb")) if weighted else None
        self.count = 0
        """Tokens written."""

    def add(self, ids: Loose, weights: Loose | None = None) -> None:
        """Appends ids, with as many weights (1: the token counts in the loss, 0: it does not)."""
        if (weights is None) != (self._weights is None) or (weights is not None and len(weights) != len(ids)):
            raise ValueError(f"{len(ids)} ids need as many weights, or none if the file has none")
        self._tokens.write(np.asarray(ids, self._type).tobytes())
        if self._weights is not None:
            self._weights.write(np.asarray(weights, np.uint8).tobytes())
        self.count += len(ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


def open_tokens(directory: Path, name: str, vocab_size: int, count: int) -> Tokens:
    """The ids that a `TokenWriter` wrote, mapped read-only.

    Raises:
        ModelFileError: The file is missing or has another length.
    """
    return _map(directory / f"{name}.tokens", token_type(vocab_size), count)


def open_weights(directory: Path, name: str, count: int) -> Weights:
    """The weights that a `TokenWriter` wrote, mapped read-only.

    Raises:
        ModelFileError: The file is missing or has another length.
    """
    return _map(directory / f"{name}.weights", np.dtype(np.uint8), count)


def _map(path: Path, kind: np.dtype[Any], count: int) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        size = path.stat().st_size
        if size != count * kind.itemsize:
            raise ModelFileError(f"{path} is damaged: it has {size:,} bytes, not {count * kind.itemsize:,}")
        # An empty file cannot be mapped.
        return np.memmap(path, kind, "r", shape=(count,)) if count else np.empty(0, kind)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None
