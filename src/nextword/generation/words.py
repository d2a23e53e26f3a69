"""Whole words: the probability of a word is the sum over every way to spell it in tokens.

A word here is white space (or none) and then a run of characters of one kind: letters, digits, marks and apostrophes,
or punctuation. It is closed by the first character of another kind, or by the end of the text. Bytes that are no
character are no word: their probability is counted apart. So the probability of
` be` after `to` sums over each path of tokens that spells it and then goes on with something that is not a letter.
"""

from __future__ import annotations

import codecs
import heapq
import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from nextword.errors import ConfigError, ContextOverflowError
from nextword.generation import html
from nextword.generation.backend import Backend
from nextword.generation.context import Overflow, Prompt, fit_to_context, prompt_text, window_start
from nextword.generation.prediction import text_table
from nextword.generation.sampling import softmax
from nextword.tokens import Tokenizer
from nextword.tokens.visible import visible

MAX_PATH = 24  # tokens of one word; longer ones stay among the unexplored


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
        expansions: Forward passes made.
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
        return f"<WordPrediction after {self.prompt!r}>\n{self}"

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
        max_expansions: Forward passes at most.

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
    search = _Search(backend, tokenizer, ids)
    search.run(top, tolerance, max_expansions)
    words = sorted(search.words.values(), key=lambda word: (-word.probability, word.text))
    shown = prompt_text(tokenizer, prompt)
    return WordPrediction(shown, dropped, words[:top], search.unexplored, search.broken, search.expansions)


def split_word(text: str, ended: bool) -> tuple[str, bool]:
    """The first word of a text, in its normal spelling, and whether it is closed; a byte of no character is closed.

    Args:
        text: What follows the prompt; bytes that are no character stand in it as `surrogateescape` keeps them.
        ended: Whether the text ends there.
    """
    stripped = text.lstrip()
    if not stripped:
        return "", ended
    kind = _kind(stripped[0])
    if kind == "part":
        return stripped[0], True
    run = "".join(itertools.takewhile(lambda character: _kind(character) == kind, stripped))
    blank = " " if len(stripped) < len(text) else ""
    return blank + run, ended or len(run) < len(stripped)


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    if "\udc80" <= character <= "\udcff":
        return "part"
    if character in "'’" or unicodedata.category(character)[0] in "LNM":
        return "word"
    return "mark"


class _Search:
    """Paths of tokens behind the prompt, the most probable one expanded first."""

    def __init__(self, backend: Backend, tokenizer: Tokenizer, prompt_ids: list[int]) -> None:
        self._backend = backend
        self._prompt_ids = prompt_ids
        self._end_ids = tokenizer.end_ids
        self._bytes = tokenizer.bytes_of(range(tokenizer.vocab_size), continued=True)
        self._starts = _starts(tokenizer, self._bytes)
        self._kinds = np.array([_only_kind(data) for data in self._bytes])
        self._room = min(MAX_PATH, backend.config.context_length - len(prompt_ids))
        self._cache = backend.new_cache(len(prompt_ids) + self._room)
        self.words: dict[str, WordCandidate] = {}
        self.unexplored = 1.0
        self.broken = 0.0
        self.expansions = 0
        # Open paths: (-probability, tie-breaker, tokens, their bytes)
        self._open: list[tuple[float, int, tuple[int, ...], bytes]] = [(-1.0, 0, (), b"")]
        self._count = itertools.count(1)
        self._best_path: dict[str, float] = {}

    def run(self, top: int, tolerance: float, max_expansions: int) -> None:
        """Expands paths until the ranking is settled, the rest is small enough, or the passes are used up."""
        while self._open and self.unexplored > tolerance and self.expansions < max_expansions:
            if self._settled(top):
                return
            self._expand(*heapq.heappop(self._open), max_expansions - self.expansions)

    def _settled(self, top: int) -> bool:
        """No word outside the first `top` can overtake, and their order is fixed, whatever the unexplored mass does."""
        if len(self.words) < top:
            return False
        ranked = [*sorted((word.probability for word in self.words.values()), reverse=True)[: top + 1], 0.0][: top + 1]
        return all(a - b > self.unexplored for a, b in itertools.pairwise(ranked))

    def _expand(self, negative: float, _: int, path: tuple[int, ...], data: bytes, left: int) -> None:
        probabilities = -negative * self._next(path)
        text, whole = _decode(data)
        word, _closed = split_word(text, ended=False)
        rest = np.flatnonzero(probabilities > 0)
        if word and whole:  # whatever starts with another kind of character closes the word: summed at once
            closing = (self._starts != _kind(word[-1])) & (self._starts != "")
            self._add(word, text, float(probabilities[closing].sum()))
            rest = rest[~closing[rest]]
        rest = rest[np.argsort(-probabilities[rest], kind="stable")]
        if word and whole:  # what only goes on with the word is not read: of it no more can be expanded than are left
            going_on = self._kinds[rest] == _kind(word[-1])
            if len(path) < self._room:
                for token in rest[going_on][:left]:
                    self._push(path, int(token), data + self._bytes[token], float(probabilities[token]))
            rest = rest[~going_on]
        for token in rest:
            self._follow(path, data, int(token), float(probabilities[token]))

    def _follow(self, path: tuple[int, ...], data: bytes, token: int, probability: float) -> None:
        ended = token in self._end_ids
        extended = data if ended else data + self._bytes[token]
        text, _ = _decode(extended)
        word, closed = split_word(text, ended)
        if closed:
            self._add(word, text[: text.index(word.strip()) + len(word.strip())] if word else "", probability)
        elif len(path) < self._room:
            self._push(path, token, extended, probability)

    def _push(self, path: tuple[int, ...], token: int, extended: bytes, probability: float) -> None:
        heapq.heappush(self._open, (-probability, next(self._count), (*path, token), extended))

    def _next(self, path: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The distribution after prompt and path, over the tokenizer's tokens; the prompt is run only once."""
        self.expansions += 1
        prompt = self._prompt_ids
        if self._cache.length == 0:
            chunk = [*prompt, *path]
        else:
            kept = len(prompt) if path else len(prompt) - 1
            self._cache.truncate(min(kept, self._cache.length))
            chunk = list(path) if path else prompt[-1:]
        return softmax(self._backend.forward([chunk], [self._cache])[0])[: len(self._bytes)]

    def _add(self, word: str, spelling: str, probability: float) -> None:
        if probability <= 0:
            return
        self.unexplored = max(0.0, self.unexplored - probability)
        if word and _kind(word[0]) == "part":
            self.broken += probability
            return
        before = self.words.get(word, WordCandidate(word, 0.0, spelling))
        if probability > self._best_path.get(word, 0.0):
            self._best_path[word] = probability
            before = WordCandidate(word, before.probability, spelling)
        self.words[word] = WordCandidate(word, before.probability + probability, before.spelling)


def _decode(data: bytes) -> tuple[str, bool]:
    """The whole characters at the start of `data` (stray bytes as surrogates), and whether nothing is left open."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    text = decoder.decode(data)
    return text, not decoder.getstate()[0]


def _only_kind(data: bytes) -> str:
    """The kind of all characters of a token; empty if there are several, or one is not whole."""
    try:
        kinds = {_kind(character) for character in data.decode("utf-8")}
    except UnicodeDecodeError:
        return ""
    return kinds.pop() if len(kinds) == 1 else ""


def _starts(tokenizer: Tokenizer, token_bytes: Sequence[bytes]) -> np.ndarray[Any, np.dtype[np.str_]]:
    """The kind of every token's first character; `end` for an end token, empty if it starts inside a character."""
    kinds = []
    for token_id, data in enumerate(token_bytes):
        if token_id in tokenizer.end_ids:
            kinds.append("end")
            continue
        first = data[:4].decode("utf-8", errors="ignore")[:1]
        kinds.append(_kind(first) if first and data.startswith(first.encode()) else "")
    return np.array(kinds)
