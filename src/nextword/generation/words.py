"""Whole words: the probability of a word is the sum over every way to spell it in tokens.

A word here is white space (or none) and then a run of characters of one kind: letters, digits, marks and apostrophes,
or punctuation. It is closed by the first character of another kind, or by the end of the text. Bytes that are no
character are no word: their probability is counted apart. So the probability of
` be` after `to` sums over each path of tokens that spells it and then goes on with something that is not a letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from nextword.errors import ConfigError, ContextOverflowError
from nextword.formatting import pluralize
from nextword.generation import html
from nextword.generation.backend import Backend
from nextword.generation.context import Prompt, fit_to_context, prompt_text, window_start
from nextword.generation.prediction import text_table
from nextword.generation.word_search import WordSearch
from nextword.settings import Overflow
from nextword.tokens import Tokenizer
from nextword.tokens.visible import shortened, visible


@dataclass(frozen=True)
class WordCandidate:
    """One word that may come next."""

    text: str
    """The word, with a blank before it if white space comes first; empty for the end of the text."""
    probability: float
    """Summed over the token paths found: a lower bound, short of the truth by at most the unexplored mass."""
    spelling: str
    """The text of its most probable path, with the white space as the model writes it."""


class WordPrediction(Sequence[WordCandidate]):
    """The most probable next words, best first; prints as a table.

    Attributes:
        prompt: The text that was continued.
        dropped_tokens: Tokens of the prompt that the model did not see.
        unexplored: Probability of all paths that were not followed to a word's end.
        broken: Probability of all paths that begin with bytes that are no character: half of one, and then another.
        expansions: Paths behind which the next token was asked for.
    """

    def __init__(
        self,
        prompt: str,
        dropped_tokens: int,
        candidates: list[WordCandidate],
        unexplored: float,
        broken: float,
        expansions: int,
    ) -> None:
        self.prompt = prompt
        self.dropped_tokens = dropped_tokens
        self.unexplored = unexplored
        self.broken = broken
        self.expansions = expansions
        self._candidates = candidates

    @overload
    def __getitem__(self, index: int) -> WordCandidate: ...
    @overload
    def __getitem__(self, index: slice) -> list[WordCandidate]: ...
    def __getitem__(self, index: int | slice) -> WordCandidate | list[WordCandidate]:
        return self._candidates[index]

    def __len__(self) -> int:
        return len(self._candidates)

    def __iter__(self) -> Iterator[WordCandidate]:
        return iter(self._candidates)

    def __str__(self) -> str:
        return f"{text_table((c.text, c.probability) for c in self)}\n     {self.unexplored:.2%} unexplored"

    def __repr__(self) -> str:
        best = f", best {self[0].text!r} {self[0].probability:.1%}" if len(self) else ""
        return f"<WordPrediction after {shortened(self.prompt)!r}: {pluralize(len(self), 'words')}{best}>"

    def _repr_html_(self) -> str:
        rows = [
            [str(i), visible(c.text) or "(end of the text)", f"{c.probability:.2%}", html.bar(c.probability)]
            for i, c in enumerate(self, 1)
        ]
        table = html.table(["", "next word", "probability", ""], rows, f"after {self.prompt}")
        left = f"lower bounds: {self.unexplored:.2%} lies in token paths not followed to a word's end"
        broken = f"; {self.broken:.2%} goes to bytes that are no character" if self.broken else ""
        return html.box([table, html.note(left + broken)])

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `nextword predict --words --json` prints them."""
        return {
            "prompt": self.prompt,
            "unit": "word",
            "dropped_tokens": self.dropped_tokens,
            "unexplored": self.unexplored,
            "broken": self.broken,
            "candidates": [{"text": c.text, "probability": c.probability, "spelling": c.spelling} for c in self],
        }


def predict_word(
    backend: Backend,
    tokenizer: Tokenizer,
    prompt: Prompt,
    top: int,
    overflow: Overflow = "slide",
    *,
    tolerance: float = 0.01,
    max_expansions: int = 256,
) -> WordPrediction:
    """The `top` most probable next words, by a best-first search over token paths.

    Args:
        backend: The model.
        tokenizer: Its tokenizer.
        prompt: The text to continue, or its token ids.
        top: Words wanted.
        overflow: What to do with a prompt that leaves no room for a word in the context.
        tolerance: The search ends when less than this probability is unexplored; 0 explores everything.
        max_expansions: Paths behind which the next token is asked for, at most.

    Raises:
        TextError: The prompt is empty, or cannot be encoded.
        ContextOverflowError: It does not fit and `overflow` is `stop`.
        ConfigError: `top` is below 1.
    """
    if top < 1:
        raise ConfigError(f"top is {top}, it must be at least 1")
    context = backend.config.context_length
    ids, dropped = fit_to_context(tokenizer, prompt, context, overflow)
    if len(ids) == context:  # a word of several tokens needs room
        if overflow == "stop":
            raise ContextOverflowError(len(ids) + 1, context)
        start = window_start(len(ids), context)
        ids, dropped = ids[start:], dropped + start
    search = WordSearch(backend, tokenizer, ids)
    search.run(top, tolerance, max_expansions)
    found = sorted(search.words.items(), key=lambda item: (-item[1].probability, item[0]))
    words = [WordCandidate(text, word.probability, word.spelling) for text, word in found[:top]]
    shown = prompt_text(tokenizer, prompt)
    return WordPrediction(shown, dropped, words, search.unexplored, search.broken, search.expansions)
