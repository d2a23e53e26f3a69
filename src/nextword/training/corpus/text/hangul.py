"""Decomposed Hangul: syllables spelled as letters (U+1100 and on), as macOS writes them."""

from __future__ import annotations

import re
import unicodedata

# Initial, vowel, perhaps a final: what Unicode's NFC makes one of the 11,172 syllables.
_SYLLABLE = re.compile("[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?")
_BEGUN = re.compile("[\u1100-\u1112][\u1161-\u1175]?$")
_INITIALS = b"\xe1\x84"  # how their UTF-8 begins


class Hangul:
    """Counts decomposed syllables in a stream of text and, if asked, composes them; nothing else changes.

    Args:
        compose: Whether to compose them.
    """

    def __init__(self, compose: bool) -> None:
        self._compose = compose
        self._held = ""
        self.count = 0
        """Decomposed syllables so far."""

    def feed(self, text: str, *, last: bool) -> str:
        """The text that is sure by now; a syllable that may go on is held back until the document's last piece."""
        text, self._held = self._held + text, ""
        if not last and (begun := _BEGUN.search(text, max(0, len(text) - 2))):
            text, self._held = text[: begun.start()], text[begun.start() :]
        if text.isascii() or _INITIALS not in text.encode():  # far faster than the search
            return text
        if not self._compose:
            self.count += sum(1 for _ in _SYLLABLE.finditer(text))
            return text
        text, count = _SYLLABLE.subn(lambda found: unicodedata.normalize("NFC", found[0]), text)
        self.count += count
        return text
