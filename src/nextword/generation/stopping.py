"""Stop strings, wherever token boundaries fall."""

from __future__ import annotations

from collections.abc import Sequence

from nextword.errors import ConfigError


class StopStrings:
    """Lets text through until one of the stop strings appears; what might become one is held back.

    Args:
        stops: The strings; an empty sequence lets everything through.

    Raises:
        ConfigError: One of them is empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        if any(not stop for stop in stops):
            raise ConfigError("a stop string is empty")
        self._stops = tuple(stops)
        self._buffer = ""
        self.found = False
        """Whether a stop string has appeared; nothing comes out after that."""

    def feed(self, text: str) -> str:
        """The text that is safe to show now, without the stop string and what follows it."""
        if not self._stops:
            return text
        if self.found:
            return ""
        self._buffer += text
        # The stop string that is complete first ends the text (of two, the longer), wherever the pieces are cut.
        ends = [(place + len(stop), place) for stop in self._stops if (place := self._buffer.find(stop)) >= 0]
        if ends:
            self.found = True
            emitted, self._buffer = self._buffer[: min(ends)[1]], ""
            return emitted
        keep = self._partial_match_length()
        emitted, self._buffer = self._buffer[: len(self._buffer) - keep], self._buffer[len(self._buffer) - keep :]
        return emitted

    def flush(self) -> str:
        """What was held back, now that no more text comes."""
        emitted, self._buffer = self._buffer, ""
        return emitted

    def _partial_match_length(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max(len(stop) for stop in self._stops) - 1
        for length in range(min(longest, len(self._buffer)), 0, -1):
            if any(stop.startswith(self._buffer[-length:]) for stop in self._stops):
                return length
        return 0
