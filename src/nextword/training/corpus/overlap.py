"""How much of the held-out text stands in the training text too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MINIMUM_CHARACTERS = 40
"""Shorter lines are the same by chance: headings, greetings."""
_MAX_LINE_LENGTH = 1 << 16
_EXAMINED = 1 << 23


def repeated_share(held_out: Iterable[Iterable[str]], train: Iterable[Iterable[str]]) -> float:
    """The share of the held-out characters that lie in lines which the training text has too, word for word.

    Lines are stripped; those shorter than 40 characters or longer than 65,536 count as new. Of a large held-out text
    the first 8 million characters are examined.

    Args:
        held_out: The held-out documents, each in pieces.
        train: The training documents, each in pieces.
    """
    lines: dict[str, int] = {}
    examined = 0
    for batch in _lines(held_out):
        for line in batch:
            examined += len(line) + 1
            if len(stripped := line.strip()) >= MINIMUM_CHARACTERS:
                lines[stripped] = lines.get(stripped, 0) + len(line) + 1
        if examined >= _EXAMINED:
            break
    found: set[str] = set()
    if lines:
        for batch in _lines(train):
            found.update(lines.keys() & {line.strip() for line in batch})
    return sum(lines[line] for line in found) / max(1, examined)


def _lines(documents: Iterable[Iterable[str]]) -> Iterator[list[str]]:
    """The lines of documents, many at once; of one that is too long, what comes with its end is a line."""
    for pieces in documents:
        begun = ""
        for piece in pieces:
            *complete, begun = (begun + piece).split("\n")
            yield complete
            if len(begun) > _MAX_LINE_LENGTH:
                yield [begun]
                begun = ""
        yield [begun]
