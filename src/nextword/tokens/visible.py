"""Text that can be looked at: blanks as signs, what else cannot be seen as its code point, half characters as bytes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
_INVISIBLE = ("C", "Z")  # Unicode categories: controls, formats, unassigned, private; separators
_SURROGATE = re.compile("[\udc80-\udcff]+")  # bytes that are no UTF-8, as `surrogateescape` keeps them
_JOINERS = re.compile("((?<=[^\x00-\x7f\\s\u200c\u200d])[\u200c\u200d]|(?<=\U0001f3f4)[\U000e0020-\U000e007f]+)")
"""What makes one character of several, or another flag of a black one; anywhere else nobody would see it."""
_PART = re.compile(r"⟨[0-9A-F]{2}(?:·[0-9A-F]{2})*⟩")


def text_of(data: bytes) -> str:
    """The text of any bytes: those that are no whole character stand as `⟨EC·97⟩`, never as a replacement character."""
    try:
        return data.decode("utf-8")  # as nearly all of a vocabulary is
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="surrogateescape")
    return _SURROGATE.sub(lambda stray: f"⟨{'·'.join(f'{ord(byte) - 0xDC00:02X}' for byte in stray[0])}⟩", text)


def shortened(text: str, length: int = 60) -> str:
    """The text, or its two ends with `…` between them where it is longer."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def part_note(texts: Iterable[str]) -> str:
    """What is said below texts of which one holds a part of a character; empty if none does."""
    return "⟨…⟩: bytes of a character that other tokens complete" if any(map(_PART.search, texts)) else ""


def visible(text: str, missing: Iterable[str] = ()) -> str:
    """The text on one line, with nothing invisible in it: `␣`, `↵`, `⇥`, `␍` for blanks, code points for all else.

    Args:
        text: Any text.
        missing: Characters that cannot be drawn; they are written as code points too.
    """
    signed = "".join(_SIGNS.get(character, character) for character in text.replace("\r\n", "\n"))
    hidden = {character for character in signed if unicodedata.category(character).startswith(_INVISIBLE)}
    return write_code_points(signed, hidden.union(missing))


def escape_invisible(text: str) -> str:
    """As `visible`, for names and prose: blanks stay blanks, and what joins visible characters (👨‍👩‍👧) stays."""
    parts = _JOINERS.split(text)
    return "".join(part if number % 2 else visible(part).replace("␣", " ") for number, part in enumerate(parts))


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
