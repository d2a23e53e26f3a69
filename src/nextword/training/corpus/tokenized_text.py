"""Documents as token ids, and how little is too little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ConfigError, TextError
from nextword.formatting import pluralize
from nextword.tokens import END_OF_TEXT, Tokenizer
from nextword.training.corpus.text import Document

MINIMUM_CHARACTERS = 200

Tokens = NDArray[np.integer[Any]]
"""Token ids as they are stored: a mapped file holds them in two or four bytes."""
Weights = NDArray[np.uint8]


def require_share(share: float) -> None:
    """Refuses a share that would leave nothing to learn from, or nothing to be judged by.

    Raises:
        ConfigError: The share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ConfigError(f"validation is {share}, a share lies between 0 and 1", hint="0.1 holds out a tenth")


def require_characters(characters: int, names: Sequence[str] = ()) -> None:
    """Refuses a text from which nothing can be learned: of so many characters, in the sources of these names.

    Raises:
        TextError: There are fewer than 200 characters.
    """
    if characters < MINIMUM_CHARACTERS:
        some = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
        found = pluralize(characters, "characters") + (f" in {some}" if some else "")
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
