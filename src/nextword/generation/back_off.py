"""When to stop guessing for a while: a guess that is wrong costs time."""

from __future__ import annotations


class BackOff:
    """Pauses after two misses in a row, for twice as long after each one more.

    Args:
        first: Guesses that the first pause leaves out.
        longest: Guesses left out at most before it is tried again.
    """

    def __init__(self, first: int, longest: int) -> None:
        self._first, self._longest, self._misses, self._pause = first, longest, 0, 0

    def pauses(self) -> bool:
        """Whether the next guess is left out."""
        paused = self._pause > 0
        self._pause -= paused
        return paused

    def update(self, *, hit: bool) -> None:
        """Whether a guess was of use."""
        self._misses = 0 if hit else self._misses + 1
        self._pause = 0 if self._misses < 2 else min(self._first << (self._misses - 2), self._longest)
