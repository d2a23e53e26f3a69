"""Which part of the text each token is, in whole graphemes.

A byte-level token may hold a third of a Hangul syllable or a quarter of an emoji. Such tokens are tied together: each
is shown as the whole it belongs to, with its number in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nextword.tokens.visible import text_of


@dataclass(frozen=True)
class Piece:
    """One token as a reader sees it."""

    token_id: int
    text: str
    """The token's text; for a fragment, the text of the whole group of tokens that it belongs to."""
    part: int = 1
    """1 for the first token of its group."""
    parts: int = 1
    """Tokens in the group; more than 1 marks a fragment."""

    @property
    def label(self) -> str:
        """The text, with `1/3` behind it for a fragment."""
        return self.text if self.parts == 1 else f"{self.text} {self.part}/{self.parts}"


def group_pieces(token_ids: Sequence[int], token_bytes: Sequence[bytes]) -> list[Piece]:
    """One piece a token; bytes that are no whole character are written as `text_of` does."""
    data = b"".join(token_bytes)
    text, starts = _decode_with_offsets(data)
    # Byte offsets at which a grapheme starts: a token boundary there splits nothing.
    clean = {starts[place] for place in _grapheme_starts(text)} | {len(data)}
    pieces: list[Piece] = []
    group: list[int] = []
    position = group_start = 0
    for token_id, size in zip(token_ids, map(len, token_bytes), strict=True):
        group.append(token_id)
        position += size
        if position in clean and position > group_start:
            shown = text_of(data[group_start:position])
            pieces += [Piece(member, shown, i, len(group)) for i, member in enumerate(group, start=1)]
            group, group_start = [], position
    return pieces + [Piece(member, "", i, len(group)) for i, member in enumerate(group, start=1)]


def _grapheme_starts(text: str) -> Iterable[int]:
    """Where each grapheme begins; of ASCII every character is one, but for CR LF."""
    if text.isascii() and "\r" not in text:
        return range(len(text))
    import regex  # takes as long to load as all tokenizers together

    return (match.start() for match in regex.finditer(r"\X", text))


def _decode_with_offsets(data: bytes) -> tuple[str, list[int]]:
    """The text of `data`, each stray byte as one surrogate escape, and the byte offset of every character."""
    text = data.decode("utf-8", errors="surrogateescape")
    sizes = (1 if "\udc80" <= character <= "\udcff" else len(character.encode()) for character in text)
    return text, list(itertools.accumulate(sizes, initial=0))
