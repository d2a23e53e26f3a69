"""Text on its way: written once to a file, so that it can be gone through more than once in little memory."""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nextword.training.corpus.text import Hangul, Piece

_BLOCK_BYTES = 1 << 20
_NAMES = 20
_NEAR_BYTES = 1024  # that a cut is moved at most
_ROUNDING = 1e-6  # of 49 documents of equal length each is 1/49, and one of them is held out

Range = tuple[int, int]
"""A document, or the part of one, in a spool: its first byte and the one after its last."""


class Spool:
    """Documents in one file, as UTF-8, end to end.

    Args:
        path: The file; it is made.
        pieces: The documents.
        compose: Whether decomposed Hangul is composed.
        progress: Is told the bytes so far.
    """

    def __init__(
        self, path: Path, pieces: Iterable[Piece], *, compose: bool, progress: Callable[[int], None] | None = None
    ) -> None:
        self._path = path
        self._ends = array("Q")
        self._characters = array("Q")
        self.names: list[str] = []
        """The first twenty documents."""
        self.decomposed = 0
        """Syllables of Hangul that came spelled as letters."""
        with path.open("wb") as file:
            hangul, size = Hangul(compose), 0
            for piece, last in _with_last(pieces):
                if piece.begins:
                    self._ends.append(size)
                    self._characters.append(0)
                    if len(self.names) < _NAMES:
                        self.names.append(piece.name)
                text = hangul.feed(piece.text, last=last)
                self._characters[-1] += len(text)
                size += file.write(text.encode())
                self._ends[-1] = size
                if progress is not None:
                    progress(size)
            self.decomposed = hangul.count

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def characters(self) -> int:
        """Of all documents."""
        return sum(self._characters)

    @property
    def bytes(self) -> int:
        """Of all documents."""
        return self._ends[-1] if self._ends else 0

    def longer_than(self, characters: float) -> NDArray[np.bool_]:
        """Whether each document has more than so many characters, [documents]."""
        return np.asarray(self._characters) > characters

    def range(self, document: int) -> Range:
        """Where a document lies."""
        return (self._ends[document - 1] if document else 0), self._ends[document]

    def cut(self, document: int, share: float) -> int:
        """The byte at which the first `1 - share` of a document's characters end, or the line or word they end in."""
        first, end = self.range(document)
        left = int(self._characters[document] * (1 - share))
        with self._path.open("rb") as file:
            file.seek(first)
            while left:
                block = np.frombuffer(file.read(min(_BLOCK_BYTES, end - first)), np.uint8)
                starts = np.flatnonzero((block & 0xC0) != 0x80)  # all but the later bytes of a character
                if len(starts) > left:
                    return self._next_line(first + int(starts[left]), end)
                left -= len(starts)
                first += len(block)
        # What is left of the last character's bytes belongs to the first part.
        return self._next_character(first, end)

    def _next_line(self, place: int, end: int) -> int:
        """The first start of a line or, if none is near, the first end of a word from `place` on."""
        if not place:
            return place
        with self._path.open("rb") as file:
            file.seek(place - 1)
            near = file.read(min(_NEAR_BYTES, (end - place) // 2) + 1)
        line, blank = near.find(b"\n"), near.find(b" ", 1)
        return place + line if line >= 0 else place - 1 + blank if blank >= 0 else place

    def _next_character(self, place: int, end: int) -> int:
        with self._path.open("rb") as file:
            file.seek(place)
            tail = file.read(min(4, end - place))
        return place + next((i for i, byte in enumerate(tail) if byte & 0xC0 != 0x80), len(tail))

    def read(self, ranges: Iterable[Range]) -> Iterator[Iterator[str]]:
        """The text of each range in pieces; use up one before you take the next."""
        with self._path.open("rb") as file:
            for first, end in ranges:
                file.seek(first)
                yield _decoded(file, end - first)


@dataclass(frozen=True)
class Part:
    """What is learned from, or what is held out: ranges of a spool, which are worked out anew each time."""

    spool: Spool
    ranges: Callable[[], Iterator[Range]]

    def texts(self) -> Iterator[Iterator[str]]:
        """Every document's text in pieces."""
        return self.spool.read(range_ for range_ in self.ranges() if range_[0] < range_[1])

    def bytes(self) -> int:
        """Of all its documents."""
        return sum(end - first for first, end in self.ranges())


def whole(spool: Spool) -> Part:
    """All of a spool."""
    return Part(spool, lambda: (spool.range(document) for document in range(len(spool))))


def split(spool: Spool, share: float) -> tuple[Part, Part]:
    """The part to learn and the part to hold out; the same whether texts come as files or as rows of a table.

    Whole documents are held out, spread evenly: at a share of 0.1 every tenth. Of a document that is longer than what
    is to be held out in all, its last `share` is, from the start of a line. Short documents beside such long ones, if
    they are too few for one to be held out, are learned.
    """
    longer = spool.longer_than(share * spool.characters + _ROUNDING)
    cuts = {int(document): spool.cut(int(document), share) for document in np.flatnonzero(longer)}

    def ranges(held_out: bool) -> Iterator[Range]:
        short = 0
        for document in range(len(spool)):
            first, end = spool.range(document)
            if document in cuts:
                yield (cuts[document], end) if held_out else (first, cuts[document])
                continue
            is_held_out = int((short + 1) * share + _ROUNDING) > int(short * share + _ROUNDING)
            short += 1
            if is_held_out == held_out:
                yield first, end

    return Part(spool, lambda: ranges(False)), Part(spool, lambda: ranges(True))


def _with_last(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, bool]]:
    """Every piece, and whether its document ends with it."""
    previous: Piece | None = None
    for piece in pieces:
        if previous is not None:
            yield previous, piece.begins
        previous = piece
    if previous is not None:
        yield previous, True


def _decoded(file: BinaryIO, size: int) -> Iterator[str]:
    """The next `size` bytes of a file as text in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    while size > 0 and (block := file.read(min(_BLOCK_BYTES, size))):
        size -= len(block)
        if text := decoder.decode(block):
            yield text
