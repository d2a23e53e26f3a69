"""How probable the model finds a text, of any length."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextword.errors import ConfigError, TextError
from nextword.formatting import pluralize
from nextword.generation import html
from nextword.generation.backend import Backend
from nextword.generation.context import Prompt, prompt_text, token_ids_of
from nextword.generation.sampling import log_softmax
from nextword.tokens import Piece, Tokenizer
from nextword.tokens.visible import visible

MAX_ROWS = 400
"""Pieces of text that a notebook shows."""


@dataclass(frozen=True, repr=False)
class Score:
    """The log-probability of every token of a text, and what follows from it. Natural logarithms."""

    token_ids: tuple[int, ...]
    token_logprobs: tuple[float | None, ...]
    """One a token; None for the first if the model has no document start to condition it on."""
    characters: int
    bytes: int
    pieces: tuple[Piece, ...] = ()
    """The tokens as a reader sees them, where they are known."""

    @property
    def nats(self) -> float:
        """Negative log-likelihood of all scored tokens."""
        return math.fsum(-value for value in self.token_logprobs if value is not None)

    @property
    def scored_tokens(self) -> int:
        """Tokens that have a log-probability."""
        return sum(value is not None for value in self.token_logprobs)

    @property
    def nats_per_character(self) -> float:
        """Comparable between tokenizers."""
        return self.nats / self.characters

    @property
    def bits_per_byte(self) -> float:
        """Comparable between tokenizers."""
        return self.nats / self.bytes / math.log(2)

    @property
    def perplexity(self) -> float:
        """`exp` of the mean negative log-likelihood per token; comparable only with the same tokenizer."""
        return math.exp(self.nats / max(1, self.scored_tokens))

    def __repr__(self) -> str:
        return f"<Score {self._facts()}>"

    def _repr_html_(self) -> str:
        shown = [
            html.shaded(visible(pieces[0].text), math.exp(sum(values)))
            for pieces, values in itertools.islice(self._groups(), MAX_ROWS)
        ]
        hidden = sum(piece.part == 1 for piece in self.pieces) - len(shown)
        more = f"; {hidden:,} more are not shown" if hidden else ""
        meaning = f"the stronger the blue, the more probable the model found it{more}" if shown else ""
        text = html.element("div", html.Markup(" ".join(shown)), "line-height: 1.8")
        return html.box([text, html.note(meaning), html.note(self._facts())])

    def _groups(self) -> Iterator[tuple[list[Piece], list[float]]]:
        """The tokens of each grapheme or more, and their log-probabilities; unscored ones count as certain."""
        start = 0
        while start < len(self.pieces):
            end = start + self.pieces[start].parts
            yield list(self.pieces[start:end]), [value or 0.0 for value in self.token_logprobs[start:end]]
            start = end

    def _facts(self) -> str:
        return (
            f"{pluralize(self.scored_tokens, 'tokens')}: {self.bits_per_byte:.3f} bits/byte, "
            f"{self.nats_per_character:.3f} nats/character, perplexity {self.perplexity:,.1f}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "token_ids": list(self.token_ids),
            "token_logprobs": list(self.token_logprobs),
            "scored_tokens": self.scored_tokens,
            "characters": self.characters,
            "bytes": self.bytes,
            "nats": self.nats,
            "nats_per_character": self.nats_per_character,
            "bits_per_byte": self.bits_per_byte,
            "perplexity": self.perplexity,
        }


def score_tokens(backend: Backend, tokenizer: Tokenizer, text: Prompt, stride: int | None = None) -> Score:
    """Scores each token once, in windows of the model's context.

    Args:
        backend: The model.
        tokenizer: Its tokenizer.
        text: A text of any length, or its token ids; one that begins a document is not scored.
        stride: Tokens that a window adds; None is the whole context (windows do not overlap). A smaller stride lets
            each token see at least `context_length - stride` tokens before it, at more cost.

    Raises:
        TextError: The text is empty.
        ConfigError: `stride` is not between 1 and the context length.
    """
    context = backend.config.context_length
    stride = context if stride is None else stride
    if not 1 <= stride <= context:
        raise ConfigError(f"stride is {stride}, it must be between 1 and the context length, {context}")
    ids = tokenizer.encode(text) if isinstance(text, str) else token_ids_of(tokenizer, text)
    if not isinstance(text, str) and ids[:1] == [tokenizer.bos_id]:
        ids = ids[1:]
    if not ids:
        raise TextError("there is nothing to score: the text is empty")
    text = prompt_text(tokenizer, text if isinstance(text, str) else ids)
    row = ids if tokenizer.bos_id is None else [tokenizer.bos_id, *ids]
    logprobs: list[float] = []
    for start in range(0, len(row) - 1, stride):
        end = min(start + stride, len(row) - 1)
        logprobs += _score_window(backend, row, max(0, start + stride - context), start, end)
    unscored: list[float | None] = [None] if tokenizer.bos_id is None else []
    pieces = tuple(tokenizer.pieces(ids))
    return Score(tuple(ids), (*unscored, *logprobs), len(text), len(text.encode()), pieces)


def _score_window(backend: Backend, row: Sequence[int], begin: int, start: int, end: int) -> list[float]:
    """Log-probabilities of tokens `start + 1` to `end`, read from a window that begins at `begin`."""
    chunk = row[begin:end]
    logits_TV = backend.forward([chunk], [backend.new_cache(len(chunk), begin)], logits="all")[0]
    values_TV = log_softmax(logits_TV[start - begin :])
    return [float(value) for value in values_TV[np.arange(end - start), row[start + 1 : end + 1]]]
