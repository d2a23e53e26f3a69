"""Cleaning for ordinary text: one look for all, wrapped lines joined, words to compare by."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from corpus_text import CONTROL

_SIGNS = str.maketrans(dict.fromkeys("“”„«»″", '"') | dict.fromkeys("‘’‚`´′", "'") | {"…": "...", "―": "—", "–": "-"})
_WORD = re.compile(r"\w+(?:'\w+)*")
_SENTENCE = re.compile(r"""(?<=[.!?])["')]* +(?=["'(]*[A-Z가-힣])""")


def tidy(text: str) -> str:
    """Returns a paragraph on one line: NFC, straight quotation marks, three dots, single blanks, no unseen signs."""
    text = unicodedata.normalize("NFC", text).translate(_SIGNS)
    text = re.sub(r"(?<=\w)-\s*\n\s*(?=\w)", "-", text)  # a word that was parted at its hyphen
    text = CONTROL.sub("", re.sub(r"\s+", " ", text)).strip()
    text = re.sub(r" ?-{2,} ?", "—", text)
    return re.sub(r" +(?=[,.;:!?](?:\s|$))", "", text)


def words(text: str) -> list[str]:
    """Returns the words of a text, small and without punctuation, to compare texts by."""
    return _WORD.findall(tidy(text).casefold())


def blocks(text: str) -> Iterator[str]:
    """Parts a plain text whose lines are wrapped at its empty lines, and joins the lines of each paragraph."""
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        if paragraph := tidy(re.sub(r"\b_|_\b", "", block)):  # signs of emphasis
            yield paragraph


def portions(text: str, characters: int = 500) -> Iterator[str]:
    """Cuts a text that has no paragraphs, at ends of sentences, into portions of about as many characters."""
    start = 0
    for end in _SENTENCE.finditer(text):
        if end.start() - start >= characters:
            yield text[start : end.end()].strip()
            start = end.end()
    if text[start:].strip():
        yield text[start:].strip()
