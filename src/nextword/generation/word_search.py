"""The best-first search over paths of tokens that spell the next word."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nextword.generation.backend import Backend, Logits
from nextword.generation.sampling import softmax
from nextword.generation.word_pieces import CharKind, char_kind, decode, split_word, vocabulary
from nextword.tokens import Tokenizer

MAX_PATH = 24  # tokens of one word; longer ones stay among the unexplored
MAX_BATCH = 16
CACHE_BYTES = 1 << 28
"""What the caches of paths that are read together may take."""

Probabilities = np.ndarray[Any, np.dtype[np.float64]]
Path = tuple[int, ...]
"""Tokens behind the prompt."""
FrontierEntry = tuple[float, int, Path, bytes]
"""Probability with its sign turned, a tie-breaker, the tokens, their bytes."""


@dataclass
class WordHypothesis:
    """A word that paths were followed to."""

    probability: float = 0.0
    """Summed over the paths."""
    spelling: str = ""
    """The text of the most probable one."""
    best: float = 0.0
    """Its probability."""


class WordSearch:
    """Paths of tokens behind the prompt, the most probable one expanded first.

    Attributes:
        words: What was found, by the word; the end of the text is the empty one.
        unexplored: Probability of the paths that were not followed to a word's end.
        broken: Probability of the paths that begin with bytes that are no character.
        expansions: Paths expanded.
    """

    def __init__(self, backend: Backend, tokenizer: Tokenizer, prompt_ids: list[int]) -> None:
        self._vocabulary = vocabulary(tokenizer)
        self._room = min(MAX_PATH, backend.config.context_length - len(prompt_ids))
        self._reader = _BatchedLogits(backend, prompt_ids, self._room)
        self.words: dict[str, WordHypothesis] = {}
        self.unexplored = 1.0
        self.broken = 0.0
        self.expansions = 0
        self._frontier: list[FrontierEntry] = [(-1.0, 0, (), b"")]
        self._count = itertools.count(1)

    def run(self, top: int, tolerance: float, max_expansions: int) -> None:
        """Expands paths until the ranking is settled, the rest is small enough, or the expansions are used up."""
        while self._frontier and self.unexplored > tolerance and self.expansions < max_expansions:
            if self._is_final(top):
                return
            negative, _, path, data = heapq.heappop(self._frontier)
            self.expansions += 1
            left = max_expansions - self.expansions
            logits = self._reader.logits(path, partial(heapq.nsmallest, min(left, MAX_BATCH), self._frontier))
            probabilities = -negative * softmax(logits)[: len(self._vocabulary.token_bytes)]
            self._expand(path, data, probabilities, left)

    def _is_final(self, top: int) -> bool:
        """No word outside the first `top` can overtake, and their order is fixed, whatever the unexplored mass does."""
        if len(self.words) < top:
            return False
        largest = heapq.nlargest(top + 1, (word.probability for word in self.words.values()))
        ranked = [*largest, 0.0][: top + 1]
        return min(a - b for a, b in itertools.pairwise(ranked)) > self.unexplored

    def _expand(self, path: Path, data: bytes, probabilities: Probabilities, left: int) -> None:
        """Gives every token's probability to the word that it closes, or to a longer path.

        Sums are formed in the order of falling probability, one after the other.

        Args:
            path: The tokens so far.
            data: Their bytes.
            probabilities: Of each token behind them, times the path's own, [V].
            left: Expansions to come: of this path's continuations no more can be expanded.
        """
        text, tail = decode(data)
        word, _ = split_word(text, ended=False)
        kind = char_kind(word[-1]) if word else CharKind.NONE
        kinds, goes_on = self._vocabulary.pieces(tail).after(kind)
        possible = probabilities > 0
        if word and not tail:  # whatever starts with another kind of character closes the word: summed at once
            others = (kinds != kind) & (kinds != CharKind.NONE) & (kinds != CharKind.PART)
            closing = np.array([probabilities[others].sum()])
            self._subtract_explored(closing)
            self._add(word, text, closing)
            possible &= ~others
        tokens = np.flatnonzero(possible)
        tokens = tokens[np.argsort(-probabilities[tokens], kind="stable")]
        if len(path) < self._room:
            for token in tokens[goes_on[tokens]][:left]:
                longer = data + self._vocabulary.token_bytes[token]
                entry = (-float(probabilities[token]), next(self._count), (*path, int(token)), longer)
                heapq.heappush(self._frontier, entry)

        tokens = tokens[~goes_on[tokens]]
        probabilities, kinds = probabilities[tokens], kinds[tokens]
        self._subtract_explored(probabilities)
        if word:
            self._add(word, text, probabilities[kinds != kind])
            longer_words = kinds == kind
        else:
            self._add("", "", probabilities[kinds == CharKind.END])
            self.broken = _sequential_sum(self.broken, probabilities[kinds == CharKind.PART])
            longer_words = kinds < CharKind.PART
        for token, probability in zip(tokens[longer_words], probabilities[longer_words], strict=True):
            text, _ = decode(data + self._vocabulary.token_bytes[token])
            word, _ = split_word(text, ended=False)
            end = text.index(word.strip()) + len(word.strip())
            self._add(word, text[:end], np.array([probability]))

    def _subtract_explored(self, probabilities: Probabilities) -> None:
        self.unexplored = max(0.0, _sequential_sum(self.unexplored, -probabilities))

    def _add(self, word: str, spelling: str, probabilities: Probabilities) -> None:
        """Gives a word the probabilities of paths that spell it alike, the most probable first."""
        if not probabilities.any():
            return
        found = self.words.setdefault(word, WordHypothesis())
        if probabilities[0] > found.best:
            found.best, found.spelling = float(probabilities[0]), spelling
        found.probability = _sequential_sum(found.probability, probabilities)


class _BatchedLogits:
    """The logits behind paths, which are read together with those that are likely to be asked for next.

    The more is read together the less a path takes, but what the search never asks for was read in vain: so the first
    ones are read alone, and twice as many each time.
    """

    def __init__(self, backend: Backend, prompt_ids: list[int], room: int) -> None:
        self._backend = backend
        self._prompt_ids = prompt_ids
        self._caches: list[Any] = [backend.new_cache(len(prompt_ids) + room)]
        self._batch_size = 1
        self._read: dict[Path, Logits] = {}

    def logits(self, path: Path, following: Callable[[], list[FrontierEntry]]) -> Logits:
        """The logits behind the prompt and a path, [V].

        Args:
            path: Its tokens; none the first time.
            following: Gives what may be asked for next, the likeliest first.
        """
        if not path:
            return self._backend.forward([self._prompt_ids], self._caches)[0]
        if path not in self._read:
            unread = [other for _, _, other, _ in following() if other not in self._read]
            paths = [path, *unread[: self._batch_size - 1]]
            self._read |= zip(paths, self._backend.forward(paths, self._prompt_caches(len(paths))), strict=True)
            max_paths = max(1, min(MAX_BATCH, CACHE_BYTES // max(1, self._caches[0].nbytes)))
            self._batch_size = min(2 * self._batch_size, max_paths)
        return self._read.pop(path)

    def _prompt_caches(self, count: int) -> list[Any]:
        """So many caches that hold the prompt."""
        for cache in self._caches:
            cache.truncate(len(self._prompt_ids))
        self._caches += [self._caches[0].fork() for _ in range(count - len(self._caches))]
        return self._caches[:count]


def _sequential_sum(start: float, values: Probabilities) -> float:
    """Added one after the other, as they come."""
    return float(np.add.accumulate(np.concatenate(([start], values)))[-1])
