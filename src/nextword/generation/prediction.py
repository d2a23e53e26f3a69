"""Prediction: what the model expects next, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from nextword.arguments import checked
from nextword.formatting import pluralize
from nextword.generation import html
from nextword.generation.backend import Backend, Logits
from nextword.generation.context import Prompt, cut_to_context, encode_prompt, prompt_text
from nextword.generation.memory import Memory
from nextword.generation.sampling import Probabilities, Sampling, Stages, softmax, topk_ids
from nextword.settings import Overflow
from nextword.tokens import Piece, Tokenizer
from nextword.tokens.visible import part_note, shortened, visible

PART_TOKENS = 256
"""Of a text that is read in parts."""


@dataclass(frozen=True)
class Candidate:
    """One token that may come next."""

    token_id: int
    text: str
    """The token's text; bytes that are no whole character are written as `⟨EA·B0⟩`."""
    probability: float
    logit: float


class Prediction(Sequence[Candidate]):
    """The most probable next tokens, best first; prints as a table.

    Attributes:
        prompt: The text that was continued.
        prompt_token_ids: Its tokens; the newest ones, if the text was longer than the context.
        dropped_tokens: Tokens of the prompt that the model did not see.
        logits: The model's logits of the whole vocabulary, float32 [V].
    """

    @checked
    def __init__(
        self,
        prompt: str,
        prompt_token_ids: list[int],
        dropped_tokens: int,
        logits: Logits,
        tokenizer: Tokenizer,
        top: int,
    ) -> None:
        self.prompt = prompt
        self.prompt_token_ids = prompt_token_ids
        self.dropped_tokens = dropped_tokens
        self.logits = logits
        self._tokenizer = tokenizer
        self._candidates = topk_candidates(logits, top, tokenizer.text_of, self.probabilities)

    @cached_property
    def probabilities(self) -> Probabilities:
        """The model's own distribution over the whole vocabulary, float64 [V]."""
        return softmax(self.logits)

    @property
    def pieces(self) -> list[Piece]:
        """The prompt's tokens as a reader sees them."""
        return self._tokenizer.pieces(self.prompt_token_ids)

    @checked
    def texts(self, token_ids: Sequence[int]) -> list[str]:
        """The texts of any tokens of the vocabulary."""
        return [self._tokenizer.text_of(token) for token in token_ids]

    @checked
    def stages(self, sampling: Sampling) -> Stages:
        """The way from the logits to the distribution that `sampling` draws from."""
        return Stages.of(self.logits, sampling, self.prompt_token_ids)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> list[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | list[Candidate]:
        return self._candidates[index]

    def __len__(self) -> int:
        return len(self._candidates)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates)

    def __str__(self) -> str:
        return text_table((c.text, c.probability) for c in self)

    def __repr__(self) -> str:
        best = f", best {self[0].text!r} {self[0].probability:.1%}" if len(self) else ""
        return f"<Prediction after {shortened(self.prompt)!r}: {pluralize(len(self), 'tokens')}{best}>"

    def _repr_html_(self) -> str:
        rows = [
            [str(i), visible(c.text), f"{c.probability:.2%}", html.bar(c.probability), f"{c.logit:.3f}"]
            for i, c in enumerate(self, 1)
        ]
        table = html.table(["", "next token", "probability", "", "logit"], rows, f"after {self.prompt}")
        return html.box([table, html.note(part_note(c.text for c in self))])

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `nextword predict --json` prints them."""
        return {
            "prompt": self.prompt,
            "unit": "token",
            "prompt_tokens": [
                {"id": p.token_id, "text": p.text, "part": p.part, "parts": p.parts} for p in self.pieces
            ],
            "dropped_tokens": self.dropped_tokens,
            "candidates": [
                {"token_id": c.token_id, "text": c.text, "probability": c.probability, "logit": c.logit} for c in self
            ],
        }


def topk_candidates(
    logits: Logits, top: int, text_of: Callable[[int], str], probabilities: Probabilities | None = None
) -> list[Candidate]:
    """The `top` most probable tokens of one position, best first, equal ones by id.

    Args:
        logits: Of the whole vocabulary, [V].
        top: How many.
        text_of: The text of a token; models may have more ids than the tokenizer has tokens.
        probabilities: Their softmax, if it is known already.
    """
    probabilities = softmax(logits) if probabilities is None else probabilities
    return [
        Candidate(int(i), text_of(int(i)), float(probabilities[i]), float(logits[i])) for i in topk_ids(logits, top)
    ]


def predict_token(
    backend: Backend,
    tokenizer: Tokenizer,
    prompt: Prompt,
    top: int,
    overflow: Overflow = "slide",
    memory: Memory | None = None,
    between: Callable[[], None] | None = None,
) -> Prediction:
    """The `top` most probable next tokens after a text, or after token ids; `memory` is what was read before.

    With `between`, a long text is read in parts, if the backend's bits do not depend on it; `between` is called before
    each, and may end it by raising.

    Raises:
        TextError: The prompt is empty, or cannot be encoded.
        ContextOverflowError: It is longer than the context and `overflow` is `stop`.
        ConfigError: `top` is below 1.
    """
    ids = encode_prompt(tokenizer, prompt, backend.config.context_length, overflow)
    return predict_ids(backend, tokenizer, prompt_text(tokenizer, prompt), ids, top, overflow, memory, between)


def predict_ids(
    backend: Backend,
    tokenizer: Tokenizer,
    text: str,
    token_ids: Sequence[int],
    top: int,
    overflow: Overflow,
    memory: Memory | None = None,
    between: Callable[[], None] | None = None,
) -> Prediction:
    """The `top` most probable tokens after `token_ids`, whose text is `text`; the rest as for `predict_token`.

    Raises:
        ContextOverflowError: They are longer than the context and `overflow` is `stop`.
    """
    ids, dropped = cut_to_context(token_ids, backend.config.context_length, overflow)
    memory = Memory() if memory is None else memory
    pending = memory.reuse_prefix(backend, ids, len(ids))
    size = PART_TOKENS if between is not None and backend.bitwise_invariant else len(pending)
    for start in range(0, len(pending), size):
        if between is not None:
            between()
        part = pending[start : start + size]
        logits = backend.forward([part], [memory.cache])[0]
        memory.ids += part
    return Prediction(text, ids, dropped, logits, tokenizer, top)


def text_table(rows: Any) -> str:
    """Numbered lines of text, probability and bar, for `print`."""
    lines = []
    for rank, (text, probability) in enumerate(rows, start=1):
        lines.append(f"{rank:3}. {probability:7.2%} {'█' * round(20 * probability):20} {text!r}")
    return "\n".join(lines)
