"""Long documents are encoded in chunks, cut where the tokenizer would cut anyway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex

from nextword.tokens import Tokenizer
from nextword.training.corpus.tokenized_text import document_start

CHUNK_CHARACTERS = 1 << 16
_MAX_UNCUT_LENGTH = 1 << 20  # characters without a place to cut: a text without spaces and signs
_CONTEXT = 48  # characters on both sides of a cut that show whether it changes tokens
_TRIES = 20
_BATCH_CHARACTERS = 1 << 20

# Between a letter and a blank or a sign published pre-tokenisers cut; only some keep an apostrophe (don't).
_BEFORE_BLANK = regex.compile(r"(?<=\p{L})(?=[ \n])")
_BEFORE_SIGN = regex.compile(r"(?<=\p{L})(?=\p{P})")


@dataclass(frozen=True)
class Chunk:
    """Part of a document."""

    text: str
    begins: bool
    """Whether the document begins here."""
    before: str
    """What is to stand before the text while it is encoded, for tokenizers that put a blank before every text."""


def chunks(pieces: Iterable[str], tokenizer: Tokenizer | None = None, size: int = CHUNK_CHARACTERS) -> Iterator[Chunk]:
    """A document in chunks whose token ids, put together, are those of the whole document.

    Each cut is tried on the text around it. Where there is no good one for a mebi-character, the text is cut anywhere
    (only the tokens at that place may differ, never the text), or not at all if the tokens are words.

    Args:
        pieces: The document's text.
        tokenizer: Whose tokens are to be the same; None is a byte-level BPE still to be trained.
        size: Characters of a chunk, at least.
    """
    text, before, begins = "", "", True
    for piece in pieces:
        text += piece
        start = 0
        while len(text) - start >= size + _CONTEXT:
            cut = _find_cut(text, start + size, tokenizer)
            if cut is None:
                if len(text) - start < _MAX_UNCUT_LENGTH or (tokenizer is not None and tokenizer.kind == "words"):
                    break  # wait for more
                cut = len(text)
            yield Chunk(text[start:cut], begins, before)
            begins, start, before = False, cut, _before(text, cut, tokenizer)
        text = text[start:]
    if text:
        yield Chunk(text, begins, before)


def encode_chunks(parts: Iterable[Chunk], tokenizer: Tokenizer) -> Iterator[tuple[Chunk, list[int]]]:
    """Every chunk with its token ids, the start of a document among them; on all processors, in bounded memory."""
    start = document_start(tokenizer)
    for batch in _batches(parts):
        encoded = tokenizer.encode_batch([chunk.before + chunk.text for chunk in batch])
        for chunk, ids in zip(batch, encoded, strict=True):
            skipped = len(tokenizer.encode(chunk.before)) if chunk.before else 0
            yield chunk, (start if chunk.begins else []) + ids[skipped:]


def _batches(parts: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    batch: list[Chunk] = []
    characters = 0
    for chunk in parts:
        batch.append(chunk)
        characters += len(chunk.text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _find_cut(text: str, first: int, tokenizer: Tokenizer | None) -> int | None:
    """The first good place to cut from `first` on that shows enough of what follows."""
    words = tokenizer is not None and tokenizer.kind == "words"
    for pattern in (_BEFORE_BLANK,) if words else (_BEFORE_BLANK, _BEFORE_SIGN):
        for tried, found in enumerate(pattern.finditer(text, first, len(text) - _CONTEXT + 1)):
            if tried == _TRIES:
                break
            if _is_safe_cut(text, found.start(), tokenizer):
                return int(found.start())
    return None


def _is_safe_cut(text: str, cut: int, tokenizer: Tokenizer | None) -> bool:
    if tokenizer is None or tokenizer.kind in ("words", "characters"):
        return True
    left, right, before = text[max(0, cut - _CONTEXT) : cut], text[cut : cut + _CONTEXT], _before(text, cut, tokenizer)
    skipped = len(tokenizer.encode(before)) if before else 0
    apart = tokenizer.encode(left) + tokenizer.encode(before + right)[skipped:]
    return tokenizer.encode(left + right) == apart


def _before(text: str, cut: int, tokenizer: Tokenizer | None) -> str:
    return text[cut - 1] if tokenizer is not None and tokenizer.kind == "sentencepiece" else ""
