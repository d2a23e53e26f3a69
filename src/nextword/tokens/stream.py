"""Token bytes -> text, a token at a time, and never half a character."""

from __future__ import annotations

import codecs


class StreamDecoder:
    """Turns the bytes of one token after another into text as soon as it is whole.

    Invalid bytes become U+FFFD as in `bytes.decode(errors="replace")`. A sequence that is still incomplete when the
    stream ends never comes out: whoever stops feeding leaves it behind.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_bytes: bytes) -> str:
        """The text that these bytes complete; empty while a character is still open."""
        return self._decoder.decode(token_bytes)
