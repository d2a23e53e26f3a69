"""Text that can be looked at: blanks as signs, whatever else cannot be seen as its code point."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
_INVISIBLE = ("C", "Z")  # Unicode categories: controls, formats, unassigned, private; separators


def visible(text: str, missing: Iterable[str] = ()) -> str:
    """The text on one line, with nothing invisible in it: `␣`, `↵`, `⇥`, `␍` for blanks, code points for all else.

    Args:
        text: Any text.
        missing: Characters that cannot be drawn; they are written as code points too.
    """
    signed = "".join(_SIGNS.get(character, character) for character in text.replace("\r\n", "\n"))
    hidden = {character for character in signed if unicodedata.category(character).startswith(_INVISIBLE)}
    return write_code_points(signed, hidden.union(missing))


def write_code_points(text: str, characters: Iterable[str]) -> str:
    """`text` with the given characters written as `U+AC00`, a blank between two of them."""
    wanted = frozenset(characters)
    written = ""
    previous = ""
    for character in text:
        blank = " " if character in wanted and previous in wanted else ""
        written += blank + (code_point(character) if character in wanted else character)
        previous = character
    return written


def code_point(character: str) -> str:
    """The character's number as Unicode writes it, `U+AC00`."""
    return f"U+{ord(character):04X}"
