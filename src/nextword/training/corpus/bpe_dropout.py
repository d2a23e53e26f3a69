"""A text cut into other tokens each time it is read: what is read often is then not learned by heart.

Source: Provilkov, Emelianenko and Voita 2020, "BPE-Dropout: Simple and Effective Subword Regularization": some merges
are left out when a word is cut. Here, for each copy of the text, `TABLES` tables of merges, each without another share
of them, cut every word, and each occurrence of a word takes one of these ways; a seed decides everything.
"""

from __future__ import annotations

import codecs
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as RawTokenizer
from tokenizers.models import BPE

from nextword.tokenizers_errors import not_encodable, translate_panics
from nextword.tokens import Tokenizer
from nextword.training.corpus.dataset import EncodedText
from nextword.training.corpus.tokenized_text import document_start

TABLES = 16
_TOKENS_AT_ONCE = 1 << 14
_MAX_WORDS = 1 << 18
"""Words whose ways are remembered; beyond that they are found anew."""


def bpe_dropout_copies(
    tokens: NDArray[np.integer[Any]], tokenizer: Tokenizer, *, copies: int, dropout: float, seed: int
) -> Iterator[EncodedText]:
    """The text of tokens, `copies` times, each time cut otherwise.

    Args:
        tokens: Of byte-level BPE, documents behind their start token.
        tokenizer: What the tokens are of; all variants are of its vocabulary.
        copies: How often the text is given.
        dropout: Share of the merges that a table is without.
        seed: Decides which, and which way an occurrence of a word takes.
    """
    start = document_start(tokenizer)
    for copy in range(copies):
        words = _Words(tokenizer, dropout, (seed, copy))
        for number, (text, begins) in enumerate(_pieces(tokens, tokenizer, start)):
            ids = words.cut(text, np.random.default_rng((seed, copy, TABLES + number)))
            yield EncodedText([*start, *ids] if begins else ids, len(text), len(text.encode()))


class _Words:
    """Every word in all its ways."""

    def __init__(self, tokenizer: Tokenizer, dropout: float, seed: tuple[int, ...]) -> None:
        description = json.loads(tokenizer.to_str())
        self._raw = RawTokenizer.from_str(tokenizer.to_str())
        vocabulary, merges = description["model"]["vocab"], [tuple(pair) for pair in description["model"]["merges"]]
        self._tables = []
        for number in range(TABLES):
            kept = np.random.default_rng((*seed, number)).random(len(merges)) >= dropout
            self._tables.append(BPE(vocabulary, [pair for pair, stays in zip(merges, kept, strict=True) if stays]))
        self._segmentations: dict[str, list[list[int]]] = {}

    def cut(self, text: str, rng: np.random.Generator) -> list[int]:
        with translate_panics(not_encodable):
            if self._raw.normalizer is not None:
                text = self._raw.normalizer.normalize_str(text)
            words = [word for word, _ in self._raw.pre_tokenizer.pre_tokenize_str(text)]
        chosen = rng.integers(TABLES, size=len(words)).tolist()
        return [i for word, way in zip(words, chosen, strict=True) for i in self._segment(word)[way]]

    def _segment(self, word: str) -> list[list[int]]:
        ways = self._segmentations.get(word)
        if ways is None:
            if len(self._segmentations) >= _MAX_WORDS:
                self._segmentations.clear()
            ways = [[token.id for token in table.tokenize(word)] for table in self._tables]
            self._segmentations[word] = ways
        return ways


def _pieces(tokens: NDArray[np.integer[Any]], tokenizer: Tokenizer, start: list[int]) -> Iterator[tuple[str, bool]]:
    """The text in pieces of some thousand tokens, and whether a document begins with each."""
    borders = np.flatnonzero(np.isin(tokens, start)) if start else np.zeros(1, np.int64)
    for first, last in itertools.pairwise([*borders.tolist(), len(tokens)]):
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        begins = True
        for place in range(first + len(start), last, _TOKENS_AT_ONCE):
            ids = tokens[place : min(place + _TOKENS_AT_ONCE, last)].tolist()
            text = decoder.decode(b"".join(tokenizer.bytes_of(ids)), final=place + _TOKENS_AT_ONCE >= last)
            if text:
                yield text, begins
                begins = False
