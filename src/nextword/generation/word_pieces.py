"""Where a word ends: kinds of characters, the first word of a text, and what each token of a vocabulary adds to one."""

from __future__ import annotations

import codecs
import itertools
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from nextword.tokens import Tokenizer

MAX_TAILS = 64
"""Beginnings of characters whose pieces are kept: some hundred kilobytes each."""


class CharKind:
    """The kinds of characters that a word is cut between.

    Plain numbers: NumPy loses a Ctrl-C that comes while it asks an enumeration's class whether a member is an array.
    """

    NONE = 0
    """No character: nothing at all, or the beginning of one that is not whole yet."""
    SPACE = 1
    WORD = 2
    """Letters, digits, marks that combine with them, apostrophes."""
    MARK = 3
    PART = 4
    """A byte that is no character, as `surrogateescape` keeps it."""
    END = 5
    """The end of the text."""


@lru_cache(maxsize=1 << 16)
def char_kind(character: str) -> int:
    """The kind of one character."""
    if character.isspace():
        return CharKind.SPACE
    if "\udc80" <= character <= "\udcff":
        return CharKind.PART
    if character in "'’" or unicodedata.category(character)[0] in "LNM":
        return CharKind.WORD
    return CharKind.MARK


def split_word(text: str, ended: bool) -> tuple[str, bool]:
    """The first word of a text, in its normal spelling, and whether it is closed; a byte of no character is closed.

    Args:
        text: What follows the prompt; bytes that are no character stand in it as `surrogateescape` keeps them.
        ended: Whether the text ends there.
    """
    stripped = text.lstrip()
    if not stripped:
        return "", ended
    kind = char_kind(stripped[0])
    if kind == CharKind.PART:
        return stripped[0], True
    run = "".join(itertools.takewhile(lambda character: char_kind(character) == kind, stripped))
    blank = " " if len(stripped) < len(text) else ""
    return blank + run, ended or len(run) < len(stripped)


def decode(data: bytes) -> tuple[str, bytes]:
    """The whole characters at the start of `data`, stray bytes as surrogates; and the bytes of an unfinished one."""
    try:
        return data.decode("utf-8"), b""
    except UnicodeDecodeError:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        return decoder.decode(data), decoder.getstate()[0]


Flags = np.ndarray[Any, np.dtype[np.bool_]]
Kinds = np.ndarray[Any, np.dtype[np.int8]]


@dataclass(frozen=True)
class Pieces:
    """What every token adds behind the same unfinished character, [V] each."""

    first: Kinds
    """The kind of its first character."""
    one_kind: Flags
    """Whether all its characters are of that kind."""
    inner: Kinds
    """The kind of its first character that is no white space."""
    inner_one_kind: Flags
    """Whether all its characters from there on are of that kind."""

    def after(self, kind: int) -> tuple[Kinds, Flags]:
        """The kind of what each token adds behind a word of this kind, and whether the word may go on after the token.

        Args:
            kind: Of the word's last character; NONE where nothing but white space was there.
        """
        if kind == CharKind.NONE:
            return self.inner, (self.inner == CharKind.NONE) | (self.inner_one_kind & (self.inner < CharKind.PART))
        return self.first, (self.first == CharKind.NONE) | (self.one_kind & (self.first == kind))


class Vocabulary:
    """The pieces of a tokenizer's tokens, by the bytes that an unfinished character has so far.

    Attributes:
        token_bytes: What each token adds to a text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.token_bytes = tokenizer.bytes_of(range(tokenizer.vocab_size), continued=True)
        self._end_ids = sorted(tokenizer.end_ids)
        # Whatever does not go on with an unfinished character shows that its bytes are none.
        self._continuing = [i for i, data in enumerate(self.token_bytes) if not data or 0x80 <= data[0] < 0xC0]
        self._behind_whole = self._read(b"")
        self._behind_part = lru_cache(MAX_TAILS)(self._read)

    def pieces(self, tail: bytes) -> Pieces:
        """What each token adds behind these bytes of an unfinished character, or behind whole ones."""
        return self._behind_part(tail) if tail else self._behind_whole

    def _read(self, tail: bytes) -> Pieces:
        size = len(self.token_bytes)
        first, inner = np.full(size, CharKind.PART, np.int8), np.full(size, CharKind.PART, np.int8)
        one_kind, inner_one_kind = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        for token in self._continuing if tail else range(size):
            text, _ = decode(tail + self.token_bytes[token])
            first[token], one_kind[token] = _kinds(text)
            inner[token], inner_one_kind[token] = _kinds(text.lstrip())
        first[self._end_ids] = inner[self._end_ids] = CharKind.END
        return Pieces(first, one_kind, inner, inner_one_kind)


def _kinds(text: str) -> tuple[int, bool]:
    """The kind of the first character, and whether all are of it."""
    if not text:
        return CharKind.NONE, True
    first = char_kind(text[0])
    return first, text.isalpha() or set(map(char_kind, text)) == {first}


_vocabularies: WeakKeyDictionary[Tokenizer, Vocabulary] = WeakKeyDictionary()


def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """A tokenizer's pieces, which take a fraction of a second to read: once."""
    if tokenizer not in _vocabularies:
        _vocabularies[tokenizer] = Vocabulary(tokenizer)
    return _vocabularies[tokenizer]
