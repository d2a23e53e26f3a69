"""What every ordinary text must pass: it was not read before, and gives nothing away that the model is measured by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from duplicates import Duplicates
from overlap import Openings

from nextword.measuring.cloze import shipped_openings


class Sieve:
    """Lets paragraphs through, and counts what it holds back.

    Attributes:
        openings: The development set.
    """

    def __init__(self) -> None:
        """Starts with nothing read."""
        self.openings = Openings.of(shipped_openings())
        self._duplicates = Duplicates()
        self._overlaps = 0
        self._read = {"paragraphs": 0, "bytes": 0}

    def passed(self, texts: Iterable[str], alike: bool = False) -> Iterator[str]:
        """Yields the paragraphs that pass.

        Args:
            texts: Paragraphs.
            alike: Whether they are meant to be like others that came before.
        """
        for text in texts:
            self._read["paragraphs"] += 1
            self._read["bytes"] += len(text.encode("utf-8"))
            if self.openings.within(text):
                self._overlaps += 1
            elif alike or not self._duplicates.seen(text):
                yield text

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns what was read and held back since it was last asked."""
        duplicates = self._duplicates
        dropped = {"overlaps": self._overlaps, "duplicates": duplicates.exact, "near_duplicates": duplicates.near}
        counts = {"read": self._read, "dropped": dropped}
        self._read, self._overlaps, duplicates.exact, duplicates.near = {"paragraphs": 0, "bytes": 0}, 0, 0, 0
        return counts
