"""Token bytes -> text, a token at a time, and never half a character."""

from __future__ import annotations

import codecs


class StreamDecoder:
    """Turns the bytes of one token after another into text as soon as it is whole.

    Invalid bytes become U+FFFD as in `bytes.decode(errors="replace")`. A sequence that is still incomplete when the
    stream ends never comes out: whoever stops feeding leaves it behind.
    """

    def __init__(self) -> None:
        self._open = b""  # the beginning of a character

    def feed(self, token_bytes: bytes) -> str:
        """The text that these bytes complete; empty while a character is still open."""
        data = self._open + token_bytes
        text, read = codecs.utf_8_decode(data, "replace", False)
        self._open = data[read:]
        return text
